// Acting: automatic actions, recommendations, and what people ask for.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/status/macros.h"
#include "services/scaler/rpc/convert.h"
#include "services/scaler/rpc/request_checks.h"
#include "services/scaler/rpc/scaler_core.h"

namespace cloudscale::scaler {
namespace {

constexpr size_t kMaxEndedPending = 1000;
// A recommendation is about the next step; after a few it is about the past.
constexpr int kPendingSteps = 3;
constexpr size_t kMaxReason = 500;

std::optional<Resource> ResourceOf(ActionKind kind) {
  switch (kind) {
    case ActionKind::kSetCpuCap:
      return Resource::kCpu;
    case ActionKind::kSetMemoryTarget:
      return Resource::kMemory;
    default:
      return std::nullopt;
  }
}

absl::Status CheckEtag(const std::string& etag, const ActionRecord& record) {
  if (!etag.empty() && etag != absl::StrCat(record.version)) {
    return absl::AbortedError(absl::StrCat("action ", record.action_id, " has etag ",
                                           record.version, ", the request has ", etag));
  }
  return absl::OkStatus();
}

}  // namespace

void ScalerCore::NoteFailStatic(const absl::Status& status) {
  if (fail_static_reason_.empty()) {
    LogLine(LogLevel::kError, "fail_static").Field("reason", status);
    metrics_.Count("cloudscale_scaler_fail_static_total", {}, 1);
  }
  fail_static_reason_ = std::string(status.ToString());
  needs_recovery_ = true;
}

bool ScalerCore::ReadyToAct() {
  if (!needs_recovery_ && executor_->unsettled_vms().empty()) {
    return true;
  }
  std::vector<ActionRecord> settled;
  const absl::Status recovered = executor_->Recover(&settled);
  for (const ActionRecord& record : settled) {
    LogLine(LogLevel::kInfo, "action_settled_after_crash")
        .Field("action", record.action_id)
        .Field("vm", record.vm_uuid)
        .Field("state", static_cast<int>(record.state));
    if (const auto r = ResourceOf(record.kind);
        r && record.state == ActionState::kSucceeded && record.has_observed) {
      if (engine_.vms().count(record.vm_uuid) == 0) {
        engine_.RestoreLastSet(record.vm_uuid, *r, record.observed);
      }
      engine_.OnActionEnded({record.vm_uuid, *r, ActionFeedback::Result::kDone, record.before,
                             record.observed, clock_.MonoNow()});
    }
    Tell(record);
  }
  if (!recovered.ok()) {
    NoteFailStatic(recovered);
    return false;
  }
  needs_recovery_ = false;
  fail_static_reason_.clear();
  return true;
}

void ScalerCore::Tell(const ActionRecord& record) {
  if (sinks_.action) {
    sinks_.action(ToProto(record));
  }
}

absl::StatusOr<ActionRecord> ScalerCore::Carry(const ActionOrder& order) {
  const std::optional<Resource> resource = ResourceOf(order.kind);
  if (resource == Resource::kCpu) {
    gate_.Withdraw(order.vm_uuid);  // a shrink that waits was decided before this
  }
  absl::StatusOr<ActionRecord> done = executor_->Execute(order, /*acting_allowed=*/true);
  const MonoTime now = clock_.MonoNow();
  if (!done.ok()) {
    ++failed_action_count_;
    if (absl::IsAborted(done.status()) && resource) {
      engine_.OnActionEnded({order.vm_uuid, *resource, ActionFeedback::Result::kForeign,
                             std::nullopt, executor_->foreign_value(), now});
      LogLine(LogLevel::kWarning, "foreign_change")
          .Field("vm", order.vm_uuid)
          .Field("error", done.status());
    } else if (absl::IsNotFound(done.status())) {
      LogLine(LogLevel::kInfo, "vm_gone").Field("vm", order.vm_uuid);
    } else {
      if (resource) {
        engine_.OnActionEnded({order.vm_uuid, *resource, ActionFeedback::Result::kFailed,
                               std::nullopt, std::nullopt, now});
      }
      if (executor_->needs_recovery()) {
        // The journal could not be written, or the outcome is unknown: look before anything else.
        NoteFailStatic(done.status());
      } else {
        LogLine(LogLevel::kWarning, "vm_cannot_be_acted_on")
            .Field("vm", order.vm_uuid)
            .Field("error", done.status());
      }
    }
    return done;
  }
  ++action_count_;
  const bool is_done = done->state == ActionState::kSucceeded;
  failed_action_count_ += is_done ? 0 : 1;
  metrics_.Count("cloudscale_scaler_actions_total", {{"result", is_done ? "done" : "failed"}}, 1);
  if (is_done && resource == Resource::kCpu) {
    set_since_sample_[order.vm_uuid] = done->observed;
  }
  if (resource) {
    engine_.OnActionEnded(
        {order.vm_uuid, *resource,
         is_done ? ActionFeedback::Result::kDone : ActionFeedback::Result::kFailed, done->before,
         done->observed, now});
  }
  LogLine(is_done ? LogLevel::kInfo : LogLevel::kWarning, "action")
      .Field("id", done->action_id)
      .Field("vm", done->vm_uuid)
      .Field("kind", static_cast<int>(done->kind))
      .Field("before", ValueToText(done->before))
      .Field("target", ValueToText(done->target))
      .Field("reason", done->reasons.empty() ? "" : done->reasons.front().text)
      .Field("error", done->error);
  Tell(*done);
  return done;
}

void ScalerCore::Act(const PlannedAction& action, Decision& decision) {
  ActionOrder order;
  order.decision_id = action.decision_id;
  order.vm_uuid = action.vm_uuid;
  order.kind = KindOf(action.resource);
  order.target = action.target;
  order.expected_before = action.expected_before;
  order.reasons = action.reasons;
  const absl::StatusOr<ActionRecord> done = Carry(order);
  if (done.ok() && done->state == ActionState::kSucceeded) {
    decision.action_id = done->action_id;
    return;
  }
  decision.outcome = Outcome::kFailed;
  if (done.ok()) {
    decision.action_id = done->action_id;
    decision.reasons.insert(decision.reasons.begin(), {ReasonCode::kVerifyFailed, done->error});
  } else {
    decision.reasons.insert(decision.reasons.begin(),
                            {absl::IsAborted(done.status()) ? ReasonCode::kForeignChange
                                                            : ReasonCode::kHypervisorRefused,
                             std::string(done.status().message())});
  }
}

void ScalerCore::Recommend(const StepResult& result) {
  const absl::Time now = clock_.WallNow();
  std::map<SeriesKey, const PlannedAction*> wanted;
  for (const PlannedAction& a : result.recommendations) {
    wanted[{a.vm_uuid, Index(a.resource)}] = &a;
  }
  std::vector<SeriesKey> gone;
  for (const auto& [key, record] : pending_) {
    const auto it = wanted.find(key);
    if (it == wanted.end() || !executor_->Same(record.kind, record.target, it->second->target) ||
        !executor_->Same(record.kind, record.before, it->second->expected_before)) {
      gone.push_back(key);
    }
  }
  for (const SeriesKey& key : gone) {
    EndPending(key, ActionState::kSuperseded, "");
  }
  for (const auto& [key, action] : wanted) {
    if (const auto it = pending_.find(key); it != pending_.end()) {
      it->second.expires_at = now + kPendingSteps * config_.engine.step;
      continue;
    }
    ActionRecord r;
    r.action_id = absl::StrCat("rec-", fencing_token_, "-", next_pending_++);
    r.decision_id = action->decision_id;
    r.host_id = config_.host_id;
    r.vm_uuid = action->vm_uuid;
    r.kind = KindOf(action->resource);
    r.target = action->target;
    r.before = action->expected_before;
    r.fencing_token = fencing_token_;
    r.reasons = action->reasons;
    r.created_at = r.updated_at = now;
    r.expires_at = now + kPendingSteps * config_.engine.step;
    r.actor = "scaler";
    Tell(r);
    pending_[key] = std::move(r);
  }
}

void ScalerCore::EndPending(const SeriesKey& key, ActionState state,
                            const std::string& superseded_by) {
  const auto it = pending_.find(key);
  ActionRecord record = std::move(it->second);
  pending_.erase(it);
  record.state = state;
  record.superseded_by = superseded_by;
  record.updated_at = clock_.WallNow();
  ++record.version;
  Tell(record);
  ended_pending_.push_back(std::move(record));
  if (ended_pending_.size() > kMaxEndedPending) {
    ended_pending_.pop_front();
  }
}

std::map<ScalerCore::SeriesKey, ActionRecord>::iterator ScalerCore::FindPending(
    const std::string& action_id) {
  return std::find_if(pending_.begin(), pending_.end(),
                      [&](const auto& p) { return p.second.action_id == action_id; });
}

absl::StatusOr<ActionRecord> ScalerCore::FindAction(const std::string& action_id) {
  if (const auto it = FindPending(action_id); it != pending_.end()) {
    return it->second;
  }
  absl::StatusOr<ActionRecord> journalled = journal_->Get(action_id);
  if (!absl::IsNotFound(journalled.status())) {
    return journalled;
  }
  for (const ActionRecord& r : ended_pending_) {
    if (r.action_id == action_id) {
      return r;
    }
  }
  return journalled;
}

absl::Status ScalerCore::GetAction(const v1::GetActionRequest& in, v1::GetActionResponse* out) {
  CS_ASSIGN_OR_RETURN(const ActionRecord record, FindAction(in.action_id()));
  *out->mutable_action() = ToProto(record);
  return absl::OkStatus();
}

absl::Status ScalerCore::ApproveAction(const v1::ApproveActionRequest& in,
                                       v1::ApproveActionResponse* out) {
  CS_ASSIGN_OR_RETURN(const ActionRecord record, FindAction(in.action_id()));
  if (record.state == ActionState::kSuperseded) {
    return absl::AbortedError(absl::StrCat("action ", in.action_id(), " was superseded"));
  }
  const auto it = FindPending(in.action_id());
  if (it == pending_.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("action ", in.action_id(), " is not pending"));
  }
  CS_RETURN_IF_ERROR(CheckEtag(in.etag(), record));
  if (record.expires_at && *record.expires_at <= clock_.WallNow()) {
    return absl::AbortedError(absl::StrCat("action ", in.action_id(), " has expired"));
  }
  if (in.validate_only()) {
    *out->mutable_action() = ToProto(record);
    return absl::OkStatus();
  }
  if (!ReadyToAct()) {
    return absl::UnavailableError(absl::StrCat("fail-static: ", fail_static_reason_));
  }
  ActionOrder order;
  order.action_id = record.action_id;
  order.request_id = in.request_id();
  order.decision_id = record.decision_id;
  order.vm_uuid = record.vm_uuid;
  order.kind = record.kind;
  order.target = record.target;
  order.expected_before = record.before;
  order.reasons = record.reasons;
  order.reasons.push_back({ReasonCode::kOperator, "approved"});
  order.actor = "operator";
  CS_ASSIGN_OR_RETURN(const ActionRecord done, Carry(order));
  pending_.erase(it);
  *out->mutable_action() = ToProto(done);
  return absl::OkStatus();
}

absl::Status ScalerCore::SkipAction(const v1::SkipActionRequest& in, v1::SkipActionResponse* out) {
  if (in.reason().size() > kMaxReason) {
    Violations v;
    v.Add("reason", absl::StrCat(in.reason().size(), " characters"), "at most 500 characters");
    return v.ToStatus();
  }
  CS_ASSIGN_OR_RETURN(ActionRecord record, FindAction(in.action_id()));
  const auto it = FindPending(in.action_id());
  if (it == pending_.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("action ", in.action_id(), " is neither pending nor deferred"));
  }
  CS_RETURN_IF_ERROR(CheckEtag(in.etag(), record));
  if (!in.validate_only()) {
    it->second.reasons.push_back(
        {ReasonCode::kOperator, in.reason().empty() ? "skipped" : in.reason()});
    EndPending(it->first, ActionState::kSkipped, "");
    record = ended_pending_.back();
  }
  *out->mutable_action() = ToProto(record);
  return absl::OkStatus();
}

absl::Status ScalerCore::UndoAction(const v1::UndoActionRequest& in, v1::UndoActionResponse* out) {
  CS_ASSIGN_OR_RETURN(const ActionRecord record, FindAction(in.action_id()));
  CS_RETURN_IF_ERROR(CheckEtag(in.etag(), record));
  if (record.state != ActionState::kSucceeded) {
    return absl::FailedPreconditionError(
        absl::StrCat("action ", in.action_id(), " did not succeed, nothing to undo"));
  }
  CS_ASSIGN_OR_RETURN(ActionOrder order, executor_->PlanUndo(in.action_id()));
  order.request_id = in.request_id();
  order.actor = "operator";
  order.reasons.push_back({ReasonCode::kOperator, "asked for"});
  if (in.validate_only()) {
    ActionRecord planned = record;
    planned.action_id.clear();
    planned.undo_of = in.action_id();
    planned.state = ActionState::kPending;
    planned.stage = JournalStage::kNone;
    planned.target = order.target;
    *out->mutable_action() = ToProto(planned);
    return absl::OkStatus();
  }
  if (!ReadyToAct()) {
    return absl::UnavailableError(absl::StrCat("fail-static: ", fail_static_reason_));
  }
  CS_ASSIGN_OR_RETURN(const ActionRecord done, Carry(order));
  *out->mutable_action() = ToProto(done);
  return absl::OkStatus();
}

absl::Status ScalerCore::RestoreOriginals(const v1::RestoreOriginalsRequest& in,
                                          v1::RestoreOriginalsResponse* out) {
  if (!in.validate_only() && !ReadyToAct()) {
    return absl::UnavailableError(absl::StrCat("fail-static: ", fail_static_reason_));
  }
  const std::vector<std::string> uuids(in.vm_uuids().begin(), in.vm_uuids().end());
  CS_ASSIGN_OR_RETURN(const std::vector<ActionExecutor::Restore> plan,
                      executor_->PlanRestore(uuids));
  if (!in.validate_only()) {
    // First nothing may change them again, then they are put back.
    std::map<std::string, bool> observe;
    for (const std::string& uuid : uuids) {
      observe[uuid] = true;
    }
    if (uuids.empty()) {
      CS_ASSIGN_OR_RETURN(const ActionExecutor::LastSet last_set, executor_->LoadLastSet());
      for (const auto& [key, value] : last_set) {
        observe[key.first] = true;
      }
    }
    for (const auto& [uuid, unused] : observe) {
      v1::Policy change;
      change.set_vm_uuid(uuid);
      change.set_mode(v1::MODE_OBSERVE);
      CS_RETURN_IF_ERROR(policies_->Update(change, nullptr, "restore", false).status());
    }
    PoliciesChanged();
  }
  for (const ActionExecutor::Restore& restore : plan) {
    ActionRecord record;
    record.host_id = config_.host_id;
    record.vm_uuid = restore.order.vm_uuid;
    record.kind = restore.order.kind;
    record.target = restore.order.target;
    record.reasons = restore.order.reasons;
    record.created_at = record.updated_at = clock_.WallNow();
    if (!restore.skipped_because.empty()) {
      record.state = ActionState::kSkipped;
      record.error = restore.skipped_because;
    } else if (!in.validate_only()) {
      ActionOrder order = restore.order;
      order.request_id = in.request_id();
      order.actor = "operator";
      const absl::StatusOr<ActionRecord> done = Carry(order);
      if (done.ok()) {
        record = *done;
      } else {
        record.state = ActionState::kFailed;
        record.error = std::string(done.status().ToString());
      }
    }
    *out->add_actions() = ToProto(record);
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::scaler
