#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/fake/fake_types.h"
#include "hypervisor/fake/fake_vm.h"
#include "hypervisor/fake/pre_copy.h"
#include "hypervisor/types.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::fake {

// Deterministic model of one host and its VMs: weighted work-conserving sharing of the cores,
// caps that throttle, demand that stays hidden under a cap, balloons, restarts, live migration, and
// faults on demand. It moves only by `AdvanceTo`; the same calls give the same numbers everywhere.
// `FakeHostReader`, `FakeVmActuator` and `FakeVmMigrator` are its faces to the rest.
//
// Bounds: 4096 VMs; the newest 10000 actions; the newest 1000 migrations. Thread safety:
// thread-safe. Two hosts that migrate to each other may be used from different threads.
class FakeHost {
 public:
  static constexpr size_t kMaxVms = 4096;
  static constexpr size_t kMaxActions = 10000;
  static constexpr size_t kMaxMigrations = 1000;

  // Time of the model begins at `start`; options out of range are programmer errors.
  FakeHost(FakeHostOptions options, MonoTime start);

  [[nodiscard]] const std::string& host_id() const { return options_.host_id; }
  [[nodiscard]] const Capabilities& capabilities() const { return options_.capabilities; }
  [[nodiscard]] MonoTime now() const;

  // Moves the model; a time in the past changes nothing.
  void AdvanceTo(MonoTime time);

  // --- VMs. `uuid` of an unknown VM answers NOT_FOUND everywhere below. ---

  // Its work begins now. ALREADY_EXISTS; INVALID_ARGUMENT for a spec out of range;
  // RESOURCE_EXHAUSTED.
  absl::Status AddVm(FakeVmSpec spec);
  absl::Status RemoveVm(const std::string& uuid);
  // New incarnation, counters and allocation as at the start, kBooting for the VM's boot time.
  absl::Status RestartVm(const std::string& uuid);
  absl::Status SetVmState(const std::string& uuid, VmState state);
  // A vanished VM is neither read nor found nor running until it reappears.
  absl::Status SetVanished(const std::string& uuid, bool vanished);
  // Every VM restarts and the host tells another boot id.
  void Restart();

  // --- Faults. ---

  absl::Status SetActuationFault(const std::string& uuid, const ActuationFault& fault);
  absl::Status SetReadFault(const std::string& uuid, const ReadFault& fault);
  // The next `count` readings of the host, or changing calls for any VM, answer `status`.
  void FailNextReads(int64_t count, absl::Status status);
  void FailNextActions(int64_t count, absl::Status status);
  // Somebody else sets the allocation, past every actuator.
  absl::Status ChangeForeign(const std::string& uuid, const Allocation& allocation);
  // From now on any changing call ends the process; for runs that must not act (promise P11).
  void ForbidChanges();
  // The running migration of the VM fails now. FAILED_PRECONDITION when none runs.
  absl::Status FailMigration(const std::string& uuid, const std::string& error);

  // --- The truth, for tests and summaries. ---

  [[nodiscard]] absl::StatusOr<GroundTruth> Truth(const std::string& uuid) const;
  [[nodiscard]] std::map<std::string, GroundTruth> AllTruth() const;
  [[nodiscard]] absl::StatusOr<Allocation> TrueAllocation(const std::string& uuid) const;
  // Changing calls, oldest first.
  [[nodiscard]] std::vector<ActionRecord> Actions() const;

  // --- What the faces are made of; codes as in the interfaces. ---

  absl::StatusOr<HostReading> Read(absl::Time wall_time);
  absl::StatusOr<Allocation> ReadAllocation(const VmTarget& target);
  absl::Status Change(const ActuationPermit& permit, const VmTarget& target,
                      const VmChange& change);
  // `destination` must outlive the migration. FAILED_PRECONDITION: the VM does not run, or the
  // destination is this host, has the VM already or lacks memory for it.
  absl::Status StartMigration(const ActuationPermit& permit, const VmTarget& target,
                              FakeHost* destination);
  absl::StatusOr<MigrationProgress> GetMigrationProgress(const VmTarget& target) const;
  absl::Status CancelMigration(const ActuationPermit& permit, const VmTarget& target);

 private:
  struct Migration {
    PreCopy copy;
    FakeHost* destination;
    int64_t reserved_bytes;
    uint64_t order;
  };
  struct Arrival {
    FakeHost* destination;
    std::unique_ptr<FakeVm> vm;
    int64_t reserved_bytes;
    MonoTime at;
  };
  struct Release {  // of memory that a failed move had reserved
    FakeHost* destination;
    std::string uuid;
  };

  void Step(absl::Duration dt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StepMigrations(absl::Duration dt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndMigration(const std::string& uuid, Migration& migration)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Fails the running migration of the VM, if there is one.
  void AbandonMigration(const std::string& uuid, const std::string& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Record(const ActuationPermit& permit, const std::string& uuid, std::string what,
              const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  FakeVm* Find(const std::string& uuid) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<FakeVm*> Resolve(const VmTarget& target) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TryChange(const VmTarget& target, const VmChange& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t FreeMemory() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Hands over what left or failed since; takes the other hosts' locks, so none may be held.
  void Deliver() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Reserve(const std::string& uuid, int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  void Unreserve(const std::string& uuid) ABSL_LOCKS_EXCLUDED(mutex_);
  void Accept(Arrival arrival) ABSL_LOCKS_EXCLUDED(mutex_);

  const FakeHostOptions options_;
  mutable Mutex mutex_;
  MonoTime now_ ABSL_GUARDED_BY(mutex_);
  int64_t boot_number_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<std::string, std::unique_ptr<FakeVm>> vms_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Migration> migrations_ ABSL_GUARDED_BY(mutex_);
  uint64_t migration_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, int64_t> reserved_ ABSL_GUARDED_BY(mutex_);  // for arriving VMs
  std::vector<Arrival> departed_ ABSL_GUARDED_BY(mutex_);
  std::vector<Release> releases_ ABSL_GUARDED_BY(mutex_);
  std::deque<ActionRecord> actions_ ABSL_GUARDED_BY(mutex_);
  int64_t failing_reads_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status read_failure_ ABSL_GUARDED_BY(mutex_);
  int64_t failing_actions_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status action_failure_ ABSL_GUARDED_BY(mutex_);
  bool forbids_changes_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace cloudscale::hypervisor::fake
