#include "services/scaler/action_executor.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"

namespace cloudscale::scaler {
namespace {

constexpr char kFencingKey[] = "fencing_token";
constexpr char kOriginalPrefix[] = "original/";
constexpr char kSetPrefix[] = "set/";
constexpr double kMiB = 1024.0 * 1024.0;

std::string SetKey(const std::string& vm_uuid, ActionKind kind) {
  return absl::StrCat(kSetPrefix, vm_uuid, "/", static_cast<int>(kind));
}
std::string OriginalKey(const std::string& vm_uuid, ActionKind kind) {
  return absl::StrCat(kOriginalPrefix, vm_uuid, "/", static_cast<int>(kind));
}

struct VmKind {
  std::string vm_uuid;
  ActionKind kind;
};
std::optional<VmKind> ParseKey(absl::string_view key, absl::string_view prefix) {
  key.remove_prefix(prefix.size());
  const size_t slash = key.rfind('/');
  int number = 0;
  if (slash == absl::string_view::npos || !absl::SimpleAtoi(key.substr(slash + 1), &number) ||
      number < 1 || number > 4) {
    return std::nullopt;
  }
  return VmKind{std::string(key.substr(0, slash)), static_cast<ActionKind>(number)};
}

std::optional<double> ToDouble(std::optional<int64_t> x) {
  return x ? std::make_optional(static_cast<double>(*x)) : std::nullopt;
}

std::optional<double> ValueOf(const hypervisor::Allocation& a, ActionKind kind) {
  switch (kind) {
    case ActionKind::kSetCpuCap:
      return a.cpu_cap_cores;
    case ActionKind::kSetCpuWeight:
      return ToDouble(a.cpu_weight);
    case ActionKind::kSetMemoryTarget:
      return ToDouble(a.memory_target_bytes);
    case ActionKind::kSetVcpuCount:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::string ValueToText(std::optional<double> value) {
  return value ? absl::StrFormat("%.17g", *value) : "-";
}

std::optional<double> ValueFromText(const std::string& text) {
  double value = 0;
  return absl::SimpleAtod(text, &value) ? std::make_optional(value) : std::nullopt;
}

ActionExecutor::ActionExecutor(Clock& clock, Journal& journal, hypervisor::VmActuator& actuator,
                               Config config, Hook hook)
    : clock_(clock),
      journal_(journal),
      actuator_(actuator),
      config_(std::move(config)),
      hook_(std::move(hook)) {}

absl::StatusOr<int64_t> ActionExecutor::NextFencingToken(Journal& journal) {
  CS_ASSIGN_OR_RETURN(const auto state, journal.ListState(kFencingKey));
  int64_t token = 0;
  if (const auto it = state.find(kFencingKey);
      it != state.end() && !absl::SimpleAtoi(it->second, &token)) {
    return absl::DataLossError(absl::StrCat("the stored fencing token is damaged: ", it->second));
  }
  ++token;
  CS_RETURN_IF_ERROR(journal.PutState({{kFencingKey, absl::StrCat(token)}}));
  return token;
}

bool ActionExecutor::Same(ActionKind kind, std::optional<double> a, std::optional<double> b) const {
  if (!a || !b) {
    return a.has_value() == b.has_value();
  }
  double grain = 0.5;
  if (kind == ActionKind::kSetCpuCap) {
    grain = actuator_.capabilities().cpu_cap_granularity_cores;
  } else if (kind == ActionKind::kSetMemoryTarget) {
    grain = kMiB;  // pages and balloon units
  }
  return std::abs(*a - *b) <= grain * 1.001;
}

absl::StatusOr<std::optional<double>> ActionExecutor::ReadValue(const std::string& vm_uuid,
                                                                ActionKind kind) {
  CS_ASSIGN_OR_RETURN(const hypervisor::Allocation a,
                      actuator_.ReadAllocation({.uuid = vm_uuid, .incarnation = ""}));
  return ValueOf(a, kind);
}

absl::Status ActionExecutor::Apply(const hypervisor::ActuationPermit& permit,
                                   const ActionRecord& record, std::optional<double> value) {
  const hypervisor::VmTarget vm{.uuid = record.vm_uuid, .incarnation = ""};
  switch (record.kind) {
    case ActionKind::kSetCpuCap:
      return actuator_.SetCpuCap(permit, vm, value);
    case ActionKind::kSetCpuWeight:
      return actuator_.SetCpuWeight(permit, vm, static_cast<int64_t>(value.value_or(100)));
    case ActionKind::kSetMemoryTarget:
      return actuator_.SetMemoryTarget(
          permit, vm,
          value ? std::make_optional(static_cast<int64_t>(std::llround(*value))) : std::nullopt);
    case ActionKind::kSetVcpuCount:
      break;
  }
  return absl::UnimplementedError("this kind of action cannot be carried out");
}

absl::Status ActionExecutor::Write(ActionRecord& record, JournalStage stage, ActionState state) {
  record.stage = stage;
  record.state = state;
  record.updated_at = clock_.WallNow();
  ++record.version;
  return journal_.Put(record, {});
}

absl::Status ActionExecutor::End(ActionRecord& record, ActionState state, std::string error) {
  record.stage = JournalStage::kDone;
  record.state = state;
  record.error = std::move(error);
  record.updated_at = clock_.WallNow();
  ++record.version;
  std::vector<StateChange> changes;
  if (state == ActionState::kSucceeded || state == ActionState::kRolledBack) {
    changes.emplace_back(SetKey(record.vm_uuid, record.kind), ValueToText(record.observed));
  }
  return journal_.Put(record, changes);
}

ActionRecord ActionExecutor::MakeRecord(const ActionOrder& order) {
  ActionRecord r;
  r.action_id = order.action_id.empty()
                    ? absl::StrFormat("act-%d-%d", config_.fencing_token, next_number_++)
                    : order.action_id;
  r.request_id = order.request_id;
  r.decision_id = order.decision_id;
  r.host_id = config_.host_id;
  r.vm_uuid = order.vm_uuid;
  r.kind = order.kind;
  r.target = order.target;
  r.fencing_token = config_.fencing_token;
  r.reasons = order.reasons;
  r.created_at = r.updated_at = clock_.WallNow();
  r.undo_of = order.undo_of;
  r.actor = order.actor;
  return r;
}

absl::StatusOr<ActionRecord> ActionExecutor::Execute(const ActionOrder& order,
                                                     bool acting_allowed) {
  needs_recovery_ = false;
  ActionRecord record = MakeRecord(order);
  const auto permit =
      hypervisor::ActuationPermit::Grant(acting_allowed, config_.fencing_token, record.action_id);
  if (!permit) {
    return absl::PermissionDeniedError(
        absl::StrCat("acting on vm ", order.vm_uuid, " is not allowed in the present mode"));
  }
  if (unsettled_.count(order.vm_uuid) > 0) {
    return absl::UnavailableError(
        absl::StrCat("an earlier action on vm ", order.vm_uuid, " is not settled yet"));
  }
  absl::Status unread;
  const absl::Status kept = KeepOriginals({order.vm_uuid}, &unread);
  needs_recovery_ = !kept.ok();
  CS_RETURN_IF_ERROR(kept);
  CS_RETURN_IF_ERROR(WithContext("read the original size", unread));
  CS_ASSIGN_OR_RETURN(record.before, ReadValue(order.vm_uuid, order.kind));
  if (order.expected_before && !Same(order.kind, record.before, *order.expected_before)) {
    foreign_value_ = record.before;
    return absl::AbortedError(absl::StrCat("vm ", order.vm_uuid, " has ",
                                           ValueToText(record.before), " where ",
                                           ValueToText(*order.expected_before), " was expected"));
  }
  // Whatever fails from here on leaves the journal or the effect in doubt.
  needs_recovery_ = true;
  CS_RETURN_IF_ERROR(CarryOut(*permit, record));
  needs_recovery_ = false;
  return record;
}

absl::Status ActionExecutor::CarryOut(const hypervisor::ActuationPermit& permit,
                                      ActionRecord& record) {
  Reach(Point::kBeforeIntent);
  CS_RETURN_IF_ERROR(Write(record, JournalStage::kIntent, ActionState::kRunning));
  Reach(Point::kAfterIntent);
  record.attempt_count = 1;
  CS_RETURN_IF_ERROR(Write(record, JournalStage::kApply, ActionState::kRunning));
  Reach(Point::kBeforeCall);
  const absl::Status applied = Apply(permit, record, record.target);
  Reach(Point::kAfterCall);
  // Also after an error: a call that timed out may have worked.
  const auto observed = ReadValue(record.vm_uuid, record.kind);
  if (!observed.ok()) {
    // Unknown effect; stays open at APPLY and is settled by the next `Recover`.
    record.error = std::string(observed.status().message());
    return WithContext("read back", observed.status());
  }
  record.has_observed = true;
  record.observed = *observed;
  CS_RETURN_IF_ERROR(Write(record, JournalStage::kVerify, ActionState::kVerifying));
  Reach(Point::kAfterVerify);
  if (Same(record.kind, record.observed, record.target)) {
    CS_RETURN_IF_ERROR(End(record, ActionState::kSucceeded, ""));
  } else if (!applied.ok() && Same(record.kind, record.observed, record.before)) {
    CS_RETURN_IF_ERROR(End(record, ActionState::kFailed, std::string(applied.ToString())));
  } else {
    CS_RETURN_IF_ERROR(
        SettleMismatch(permit, record,
                       absl::StrCat("read back ", ValueToText(record.observed), " instead of ",
                                    ValueToText(record.target), applied.ok() ? "" : "; ",
                                    applied.ok() ? "" : std::string(applied.message()))));
  }
  Reach(Point::kAfterDone);
  return absl::OkStatus();
}

// One undo, never two: a hypervisor that does not do as told is left to people.
absl::Status ActionExecutor::SettleMismatch(const hypervisor::ActuationPermit& permit,
                                            ActionRecord& record, const std::string& error) {
  const absl::Status undone = Apply(permit, record, record.before);
  const auto observed = ReadValue(record.vm_uuid, record.kind);
  if (observed.ok()) {
    record.observed = *observed;
    if (Same(record.kind, *observed, record.before)) {
      return End(record, ActionState::kRolledBack, error);
    }
  }
  return End(record, ActionState::kFailed,
             absl::StrCat(error, "; the undo failed too",
                          undone.ok() ? "" : absl::StrCat(": ", undone.message())));
}

absl::Status ActionExecutor::Recover(std::vector<ActionRecord>* settled) {
  CS_ASSIGN_OR_RETURN(std::vector<ActionRecord> open, journal_.ListOpen());
  std::set<std::string> unsettled;
  absl::Status result;
  for (ActionRecord& record : open) {
    const absl::StatusOr<bool> is_settled = Settle(record);
    if (!is_settled.ok()) {
      unsettled.insert(record.vm_uuid);
      result.Update(WithContext(absl::StrCat("recover ", record.action_id), is_settled.status()));
    } else if (!*is_settled) {
      unsettled.insert(record.vm_uuid);
    } else if (settled != nullptr) {
      settled->push_back(record);
    }
  }
  unsettled_ = std::move(unsettled);
  return result;
}

absl::StatusOr<bool> ActionExecutor::Settle(ActionRecord& record) {
  const auto end = [&](ActionState state, std::string error) -> absl::StatusOr<bool> {
    CS_RETURN_IF_ERROR(End(record, state, std::move(error)));
    return true;
  };
  if (record.stage == JournalStage::kIntent) {
    return end(ActionState::kFailed, "crashed before it was handed to the hypervisor");
  }
  const auto observed = ReadValue(record.vm_uuid, record.kind);
  if (absl::IsNotFound(observed.status())) {
    return end(ActionState::kFailed, "the vm is gone");
  }
  if (!observed.ok()) {
    return false;
  }
  record.has_observed = true;
  record.observed = *observed;
  if (Same(record.kind, record.observed, record.target)) {
    return end(ActionState::kSucceeded, "");
  }
  if (Same(record.kind, record.observed, record.before)) {
    return end(ActionState::kFailed, "not applied before the crash");
  }
  return end(ActionState::kFailed,
             absl::StrCat("after the crash the hypervisor has ", ValueToText(record.observed)));
}

absl::Status ActionExecutor::RecordOriginals(const std::vector<std::string>& vm_uuids) {
  absl::Status unread;
  return KeepOriginals(vm_uuids, &unread);
}

absl::Status ActionExecutor::KeepOriginals(const std::vector<std::string>& vm_uuids,
                                           absl::Status* unread) {
  std::vector<StateChange> changes;
  std::vector<std::string> seen;
  for (const std::string& uuid : vm_uuids) {
    if (has_original_.count(uuid) > 0) {
      continue;
    }
    CS_ASSIGN_OR_RETURN(const auto known,
                        journal_.ListState(absl::StrCat(kOriginalPrefix, uuid, "/")));
    if (known.empty()) {
      const auto allocation = actuator_.ReadAllocation({.uuid = uuid, .incarnation = ""});
      if (!allocation.ok()) {
        unread->Update(allocation.status());
        continue;
      }
      for (const ActionKind kind : {ActionKind::kSetCpuCap, ActionKind::kSetMemoryTarget}) {
        changes.emplace_back(OriginalKey(uuid, kind), ValueToText(ValueOf(*allocation, kind)));
      }
    }
    seen.push_back(uuid);
  }
  if (!changes.empty()) {
    CS_RETURN_IF_ERROR(journal_.PutState(changes));
  }
  has_original_.insert(seen.begin(), seen.end());
  return absl::OkStatus();
}

void ActionExecutor::ForgetVmsExcept(const std::function<bool(const std::string&)>& is_known) {
  std::erase_if(has_original_, [&](const std::string& uuid) { return !is_known(uuid); });
}

absl::StatusOr<ActionOrder> ActionExecutor::PlanUndo(const std::string& action_id) {
  CS_ASSIGN_OR_RETURN(const ActionRecord done, journal_.Get(action_id));
  if (done.state != ActionState::kSucceeded) {
    return absl::FailedPreconditionError(
        absl::StrCat("action ", action_id, " did not succeed, nothing to undo"));
  }
  CS_ASSIGN_OR_RETURN(const std::optional<double> now, ReadValue(done.vm_uuid, done.kind));
  if (!Same(done.kind, now, done.observed)) {
    return absl::FailedPreconditionError(absl::StrCat("stale: vm ", done.vm_uuid, " has ",
                                                      ValueToText(now), " now, the action set ",
                                                      ValueToText(done.observed)));
  }
  ActionOrder order;
  order.vm_uuid = done.vm_uuid;
  order.kind = done.kind;
  order.target = done.before;
  order.expected_before = now;
  order.reasons = {{ReasonCode::kRolledBack, absl::StrCat("undo of ", action_id)}};
  order.undo_of = action_id;
  return order;
}

absl::StatusOr<ActionExecutor::LastSet> ActionExecutor::LoadLastSet() {
  CS_ASSIGN_OR_RETURN(const auto state, journal_.ListState(kSetPrefix));
  LastSet out;
  for (const auto& [key, value] : state) {
    if (const auto parsed = ParseKey(key, kSetPrefix)) {
      out[{parsed->vm_uuid, parsed->kind}] = ValueFromText(value);
    }
  }
  return out;
}

absl::StatusOr<std::vector<ActionExecutor::Restore>> ActionExecutor::PlanRestore(
    const std::vector<std::string>& vm_uuids) {
  CS_ASSIGN_OR_RETURN(const LastSet last_set, LoadLastSet());
  CS_ASSIGN_OR_RETURN(const auto originals, journal_.ListState(kOriginalPrefix));
  std::vector<Restore> out;
  for (const auto& [key, ours] : last_set) {
    const auto& [uuid, kind] = key;
    if (!vm_uuids.empty() && std::find(vm_uuids.begin(), vm_uuids.end(), uuid) == vm_uuids.end()) {
      continue;
    }
    const auto original = originals.find(OriginalKey(uuid, kind));
    if (original == originals.end()) {
      continue;
    }
    const std::optional<double> target = ValueFromText(original->second);
    Restore restore;
    restore.order.vm_uuid = uuid;
    restore.order.kind = kind;
    restore.order.target = target;
    restore.order.reasons = {{ReasonCode::kRestored, "original size restored"}};
    const auto now = ReadValue(uuid, kind);
    if (!now.ok()) {
      restore.skipped_because = std::string(now.status().ToString());
    } else if (Same(kind, *now, target)) {
      continue;
    } else if (!Same(kind, *now, ours)) {
      restore.skipped_because =
          absl::StrCat("somebody else set ", ValueToText(*now), " after our ", ValueToText(ours));
    } else {
      restore.order.expected_before = *now;
    }
    out.push_back(std::move(restore));
  }
  return out;
}

}  // namespace cloudscale::scaler
