#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/types.h"

namespace cloudscale::hypervisor {

// The VM a command is for. `incarnation` is what the decision was made on; a different one now
// answers ABORTED. Empty = any.
struct VmTarget {
  std::string uuid;
  std::string incarnation;
};

// Changes what VMs may consume. Only the scaler links this half of a backend.
//
// All targets are absolute, so every call is idempotent: setting what already holds is OK and
// changes nothing. Common codes: NOT_FOUND no such VM; ABORTED other incarnation;
// FAILED_PRECONDITION its state forbids it; INVALID_ARGUMENT not a legal value; OUT_OF_RANGE above
// the VM's maximum; UNIMPLEMENTED the backend cannot (see `capabilities`); UNAVAILABLE no
// hypervisor; DEADLINE_EXCEEDED outcome unknown: read back before anything else. Thread safety:
// confined to one thread at a time.
class VmActuator {
 public:
  virtual ~VmActuator() = default;

  [[nodiscard]] virtual Capabilities capabilities() const = 0;

  // What holds now, read from the hypervisor, never from memory.
  virtual absl::StatusOr<Allocation> ReadAllocation(const VmTarget& vm) = 0;

  // Cap in cores over all vCPUs, rounded up to the backend's granularity; nullopt lifts the cap.
  virtual absl::Status SetCpuCap(const ActuationPermit& permit, const VmTarget& vm,
                                 std::optional<double> cores) = 0;

  // 1 to 10000; 100 is normal.
  virtual absl::Status SetCpuWeight(const ActuationPermit& permit, const VmTarget& vm,
                                    int64_t weight) = 0;

  // Returns when the request is placed; the guest may follow later or never. nullopt lifts the
  // limit, and so does all that the VM may have.
  virtual absl::Status SetMemoryTarget(const ActuationPermit& permit, const VmTarget& vm,
                                       std::optional<int64_t> bytes) = 0;

  // Online vCPUs, 1 to the VM's maximum.
  virtual absl::Status SetVcpuCount(const ActuationPermit& permit, const VmTarget& vm,
                                    int64_t count) = 0;
};

// Where a live migration stands.
enum class MigrationStage { kNone, kPreCopy, kStopAndCopy, kDone, kFailed, kCancelled };

struct MigrationProgress {
  MigrationStage stage = MigrationStage::kNone;
  int64_t transferred_bytes = 0;
  int64_t remaining_bytes = 0;
  std::optional<double> dirty_bytes_per_second;
  std::optional<absl::Duration> downtime;  // known once done
  std::string error;                       // set when failed
};

// Moves VMs between hosts. Exactly one copy runs at any time, whatever happens; a failed or
// cancelled move leaves it on the source. Codes as in `VmActuator`. Thread safety: confined to one
// thread at a time.
class VmMigrator {
 public:
  virtual ~VmMigrator() = default;

  // Begins; ALREADY_EXISTS when one is running for the VM.
  virtual absl::Status StartMigration(const ActuationPermit& permit, const VmTarget& vm,
                                      const std::string& target_host_id) = 0;
  virtual absl::StatusOr<MigrationProgress> GetMigrationProgress(const VmTarget& vm) = 0;
  // Idempotent; FAILED_PRECONDITION when it is too late to turn back.
  virtual absl::Status CancelMigration(const ActuationPermit& permit, const VmTarget& vm) = 0;
};

}  // namespace cloudscale::hypervisor
