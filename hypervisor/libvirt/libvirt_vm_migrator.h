#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/bounded/bounded_calls.h"
#include "hypervisor/libvirt/handles.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::libvirt {

// Where VMs may be moved to and how.
struct MigrationOptions {
  struct Target {
    std::string uri;            // of its daemon, as the source daemon reaches it
    std::string migration_uri;  // where the memory goes, e.g. "tcp://10.0.0.2"; empty: by its name
  };
  std::string uri = "qemu:///system";     // of the source
  std::map<std::string, Target> targets;  // by host id
  // 0: as fast as it goes.
  int64_t bandwidth_bytes_per_second = 0;
  // Slows a guest down that writes memory faster than it is sent.
  bool is_auto_converge = true;
  // Once the first pass is over, runs on the target and fetches the rest: ends surely, but a broken
  // network then loses the VM.
  bool is_post_copy = false;
  // Moves VMs with disks that libvirt does not know to be shared.
  bool allows_unsafe_disks = false;
  absl::Duration call_limit = absl::Seconds(2);
};

// Live migration between libvirt daemons, which talk to each other: when this process dies, a move
// goes on, and one that comes after it can watch and cancel it. Limits, memory and the note of its
// target move with the VM. `incarnation` is another one on the target.
//
// StartMigration           FAILED_PRECONDITION for an unknown target, and when the VM does not run.
// GetMigrationProgress     kNone when no move of it is known. What is no longer on the source and
//                          was not started by this process is looked for on the targets.
// CancelMigration          FAILED_PRECONDITION once the target runs it.
// Thread safety: confined to one thread; each move has a thread of its own inside.
class LibvirtVmMigrator final : public VmMigrator {
 public:
  explicit LibvirtVmMigrator(MigrationOptions options);
  ~LibvirtVmMigrator() override;

  absl::Status StartMigration(const ActuationPermit& permit, const VmTarget& vm,
                              const std::string& target_host_id) override;
  absl::StatusOr<MigrationProgress> GetMigrationProgress(const VmTarget& vm) override;
  absl::Status CancelMigration(const ActuationPermit& permit, const VmTarget& vm) override;

 private:
  struct Move;  // shared with the thread that waits for it

  [[nodiscard]] absl::StatusOr<std::optional<MigrationProgress>> AskDaemon(const std::string& uuid);
  [[nodiscard]] absl::StatusOr<bool> RunsOnATarget(const std::string& uuid);

  const MigrationOptions options_;
  std::shared_ptr<BoundedCalls<Connection>> calls_;
  std::map<std::string, std::shared_ptr<Move>> moves_;  // by uuid; ended ones until the next start
};

// A running job as progress.
[[nodiscard]] MigrationProgress ProgressOf(const virTypedParameter* parameters, int count);

}  // namespace cloudscale::hypervisor::libvirt
