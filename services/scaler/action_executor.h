#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/time/clock.h"
#include "hypervisor/vm_actuator.h"
#include "services/scaler/decision.h"
#include "services/scaler/journal.h"

namespace cloudscale::scaler {

// A change that somebody or something wants now.
struct ActionOrder {
  std::string action_id;   // empty = the executor names it
  std::string request_id;  // empty for automatic ones
  std::string decision_id;
  std::string vm_uuid;
  ActionKind kind = ActionKind::kSetCpuCap;
  std::optional<double> target;
  // What must hold now, else somebody else was here and nothing is done. Absent = no check.
  std::optional<std::optional<double>> expected_before;
  std::vector<Reason> reasons;
  std::string undo_of;
  std::string actor = "scaler";
};

// Carries changes out so that after any crash each is done once or not at all and the journal says
// which (P4): read the hypervisor, journal INTENT with the before-image, journal APPLY, set the
// absolute target, read back, journal VERIFY, journal DONE. A read-back that differs is undone once
// to the before-image. The order of the two writes around the call is what makes recovery
// decidable: INTENT alone means "never called"; APPLY means "look".
//
// Originals: the allocation of a VM at first sight is kept until `RestoreOriginals`; nothing is
// changed before it is durable.
//
// Thread safety: confined to one thread at a time (as its actuator).
class ActionExecutor {
 public:
  struct Config {
    std::string host_id;
    int64_t fencing_token = 1;  // grows with each start; part of every action id
  };
  // Points at which tests stop or kill the process.
  enum class Point {
    kBeforeIntent,
    kAfterIntent,
    kBeforeCall,
    kAfterCall,
    kAfterVerify,
    kAfterDone,
  };
  using Hook = std::function<void(Point)>;

  // All references outlive the executor. `hook` may be empty.
  ActionExecutor(Clock& clock, Journal& journal, hypervisor::VmActuator& actuator, Config config,
                 Hook hook = {});

  // Reserves the next fencing token durably. Call once per start, before the constructor.
  static absl::StatusOr<int64_t> NextFencingToken(Journal& journal);

  // Settles what a crash left open by reading the hypervisor first; idempotent. Fills in `settled`
  // when not null. An action of a VM that cannot be read stays open and `Execute` refuses that VM
  // until a later call settles it; the others go on. The journal's errors: call again before
  // acting.
  absl::Status Recover(std::vector<ActionRecord>* settled);
  // VMs with an action that the last `Recover` could not settle.
  [[nodiscard]] const std::set<std::string>& unsettled_vms() const { return unsettled_; }

  // Keeps the present allocations of these VMs as their originals, unless already kept. A VM that
  // cannot be read is left out; the next call, or `Execute` before it changes the VM, tries again.
  absl::Status RecordOriginals(const std::vector<std::string>& vm_uuids);
  // Forgets what is remembered about other VMs; the journal keeps it.
  void ForgetVmsExcept(const std::function<bool(const std::string&)>& is_known);

  // Does it. `acting_allowed` false (observe, recommend, paused) never reaches the hypervisor:
  // PERMISSION_DENIED (P11). The result is the ended record, also when it failed (see `state` and
  // `error`). Status errors: the record could not be made at all. ABORTED: something else than
  // `expected_before` holds (P19); `foreign_value` then tells what. Nothing is journalled then.
  // UNAVAILABLE or the hypervisor's error: this VM cannot be read, its original size cannot be kept
  // (P16) or an earlier action on it is not settled.
  absl::StatusOr<ActionRecord> Execute(const ActionOrder& order, bool acting_allowed);
  [[nodiscard]] std::optional<double> foreign_value() const { return foreign_value_; }
  // True when the last `Execute` failed in the journal or left the effect unknown: `Recover` before
  // acting again on any VM. False when it concerned its VM alone.
  [[nodiscard]] bool needs_recovery() const { return needs_recovery_; }

  // The order that puts back what `action_id` changed. FAILED_PRECONDITION when it did not succeed,
  // is itself undone, or when something else holds now (stale).
  absl::StatusOr<ActionOrder> PlanUndo(const std::string& action_id);

  struct Restore {
    ActionOrder order;
    std::string skipped_because;  // empty = to be done
  };
  // One entry per value that we changed and that differs from its original. A value that somebody
  // else changed since is skipped with the reason. Empty `vm_uuids` = all.
  absl::StatusOr<std::vector<Restore>> PlanRestore(const std::vector<std::string>& vm_uuids);

  // Values that we set last and that were verified, by VM and kind.
  using LastSet = std::map<std::pair<std::string, ActionKind>, std::optional<double>>;
  absl::StatusOr<LastSet> LoadLastSet();

  // True when the two values are the same within the backend's grain.
  [[nodiscard]] bool Same(ActionKind kind, std::optional<double> a, std::optional<double> b) const;

 private:
  absl::StatusOr<std::optional<double>> ReadValue(const std::string& vm_uuid, ActionKind kind);
  absl::Status Apply(const hypervisor::ActuationPermit& permit, const ActionRecord& record,
                     std::optional<double> value);
  absl::Status Write(ActionRecord& record, JournalStage stage, ActionState state);
  absl::Status End(ActionRecord& record, ActionState state, std::string error);
  absl::Status SettleMismatch(const hypervisor::ActuationPermit& permit, ActionRecord& record,
                              const std::string& error);
  absl::Status CarryOut(const hypervisor::ActuationPermit& permit, ActionRecord& record);
  // False when the VM cannot be read now.
  absl::StatusOr<bool> Settle(ActionRecord& record);
  // `unread` gets the first error of a VM that cannot be read; the status is the journal's.
  absl::Status KeepOriginals(const std::vector<std::string>& vm_uuids, absl::Status* unread);
  ActionRecord MakeRecord(const ActionOrder& order);
  void Reach(Point point) const {
    if (hook_) {
      hook_(point);
    }
  }

  Clock& clock_;
  Journal& journal_;
  hypervisor::VmActuator& actuator_;
  const Config config_;
  const Hook hook_;
  int64_t next_number_ = 1;
  std::set<std::string> has_original_;  // known to be durable
  std::set<std::string> unsettled_;
  bool needs_recovery_ = false;
  std::optional<double> foreign_value_;
};

// A value as written into the state: "-" = no limit.
[[nodiscard]] std::string ValueToText(std::optional<double> value);
[[nodiscard]] std::optional<double> ValueFromText(const std::string& text);

}  // namespace cloudscale::scaler
