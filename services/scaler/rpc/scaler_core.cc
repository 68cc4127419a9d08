#include "services/scaler/rpc/scaler_core.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/status/macros.h"
#include "services/scaler/rpc/convert.h"

namespace cloudscale::scaler {
namespace {

// Reading the sizes of a new fleet must not hold up its samples.
constexpr size_t kOriginalsPerSample = 64;
constexpr char kTokenKey[] = "reservation_token";
// Enough to fill any rate limit of one minute.
constexpr int64_t kActionsForRates = 2000;

}  // namespace

ScalerCore::ScalerCore(Config config, std::unique_ptr<Journal> journal,
                       std::unique_ptr<hypervisor::VmActuator> actuator, Clock& clock,
                       MetricSink& metrics, Sinks sinks)
    : config_(std::move(config)),
      journal_(std::move(journal)),
      actuator_(std::move(actuator)),
      clock_(clock),
      metrics_(metrics),
      sinks_(std::move(sinks)),
      started_at_(clock.WallNow()),
      engine_(config_.engine),
      gate_(config_.shrink_wait) {}

absl::StatusOr<std::unique_ptr<ScalerCore>> ScalerCore::Create(
    Config config, std::unique_ptr<Journal> journal,
    std::unique_ptr<hypervisor::VmActuator> actuator, Clock& clock, MetricSink& metrics,
    Sinks sinks) {
  const hypervisor::Capabilities caps = actuator->capabilities();
  config.engine.can_cap_cpu = caps.cpu_cap;
  config.engine.can_set_memory = caps.memory_target;
  config.engine.cpu_granularity_cores =
      std::max(config.engine.cpu_granularity_cores, caps.cpu_cap_granularity_cores);
  auto core = std::unique_ptr<ScalerCore>(new ScalerCore(std::move(config), std::move(journal),
                                                         std::move(actuator), clock, metrics,
                                                         std::move(sinks)));
  CS_RETURN_IF_ERROR(core->Init());
  return core;
}

absl::Status ScalerCore::Init() {
  CS_ASSIGN_OR_RETURN(policies_,
                      PolicyStore::Load(clock_, *journal_, config_.host_id, config_.base));
  engine_.SetPolicies(policies_->set());
  CS_ASSIGN_OR_RETURN(fencing_token_, ActionExecutor::NextFencingToken(*journal_));
  executor_ = std::make_unique<ActionExecutor>(
      clock_, *journal_, *actuator_,
      ActionExecutor::Config{.host_id = config_.host_id, .fencing_token = fencing_token_});
  CS_ASSIGN_OR_RETURN(const auto tokens, journal_->ListState(kTokenKey));
  int64_t next_token = 1;
  if (const auto it = tokens.find(kTokenKey); it != tokens.end()) {
    (void)absl::SimpleAtoi(it->second, &next_token);
  }
  reservations_ = std::make_unique<ReservationBook>(next_token);
  // First what a crash left open: a change that was made but not ended is ours, too. When it cannot
  // be settled now, acting waits for it.
  (void)ReadyToAct();
  CS_ASSIGN_OR_RETURN(const ActionExecutor::LastSet last_set, executor_->LoadLastSet());
  for (const auto& [key, value] : last_set) {
    if (key.second == ActionKind::kSetCpuCap) {
      engine_.RestoreLastSet(key.first, Resource::kCpu, value);
    } else if (key.second == ActionKind::kSetMemoryTarget) {
      engine_.RestoreLastSet(key.first, Resource::kMemory, value);
    }
  }
  CS_RETURN_IF_ERROR(RestoreRates());
  PublishSnapshot();
  return absl::OkStatus();
}

// Ages are taken against the newest action, not against the wall clock of now.
absl::Status ScalerCore::RestoreRates() {
  CS_ASSIGN_OR_RETURN(const std::vector<ActionRecord> newest,
                      journal_->ListNewest("", "", kActionsForRates));
  if (newest.empty()) {
    return absl::OkStatus();
  }
  std::vector<std::pair<std::string, absl::Duration>> ages;
  for (const ActionRecord& r : newest) {
    ages.emplace_back(r.vm_uuid, newest.front().created_at - r.created_at);
  }
  engine_.RestoreActionAges(ages, clock_.MonoNow());
  return absl::OkStatus();
}

void ScalerCore::OnObservation(HostObservation observation) {
  const StepTime now{clock_.MonoNow(), clock_.WallNow()};
  auto shared = std::make_shared<const HostObservation>(std::move(observation));
  observation_ = shared;
  std::vector<std::string> unseen;
  for (const VmObservation& vm : shared->vms) {
    if (engine_.vms().count(vm.uuid) == 0 && unseen.size() < kOriginalsPerSample) {
      unseen.push_back(vm.uuid);
    }
  }
  if (!unseen.empty()) {
    if (const absl::Status kept = executor_->RecordOriginals(unseen); !kept.ok()) {
      NoteFailStatic(kept);
    }
  }
  reservations_->Expire(now.mono);
  const ReservationBook::Room reserved = reservations_->Held();
  engine_.SetReserved(reserved.cpu_cores, reserved.memory_bytes);

  // Before the step, which would take a change of ours that is not settled for somebody else's.
  const bool may_act = ReadyToAct();
  set_since_sample_.clear();
  StepResult result = engine_.Step(now, shared);
  if (result.is_full_step) {
    last_step_at_ = now.wall;
  }
  std::map<std::string, size_t> by_id;
  for (size_t i = 0; i < result.decisions.size(); ++i) {
    by_id[result.decisions[i].decision_id] = i;
  }
  if (!may_act) {
    gate_.WithdrawAll();
  }
  const size_t held_before = gate_.held_count();
  ShrinkGate::Admission admission =
      may_act ? gate_.Admit(std::move(result.actions), result.is_full_step, now.mono)
              : ShrinkGate::Admission{.pass = std::move(result.actions), .held = {}};
  for (const PlannedAction& action : admission.held) {
    Decision& decision = result.decisions[by_id.at(action.decision_id)];
    decision.outcome = Outcome::kDeferred;
    decision.reasons.insert(
        decision.reasons.begin(),
        {ReasonCode::kLoadShifted,
         absl::StrCat("load leaves first: waits for the load balancer, at most ",
                      absl::FormatDuration(config_.shrink_wait))});
  }
  for (const PlannedAction& action : admission.pass) {
    Decision& decision = result.decisions[by_id.at(action.decision_id)];
    if (may_act && !needs_recovery_) {
      Act(action, decision);
    } else {
      decision.outcome = Outcome::kFailed;
      decision.reasons.insert(decision.reasons.begin(),
                              {ReasonCode::kFailStatic, fail_static_reason_});
    }
  }
  if (result.is_full_step) {
    Recommend(result);
  }
  for (Decision& decision : result.decisions) {
    const SeriesKey key{decision.vm_uuid, Index(decision.resource)};
    if (const auto it = pending_.find(key);
        decision.outcome == Outcome::kRecommended && it != pending_.end()) {
      decision.action_id = it->second.action_id;
    }
    auto kept = std::make_shared<const Decision>(std::move(decision));
    if (kept->wants_change()) {
      last_changes_[kept->vm_uuid] = {
          kept->reasons.front().text,
          kept->outcome == Outcome::kApplied ? now.wall : last_changes_[kept->vm_uuid].second};
    }
    if (sinks_.decision) {
      sinks_.decision(ToProto(*kept));
    }
    last_decisions_[key] = kept;
    decisions_.emplace_back(next_decision_++, std::move(kept));
  }
  while (decisions_.size() > config_.decision_history) {
    decisions_.pop_front();
  }
  for (const RetrainRequest& retrain : result.retrains) {
    if (sinks_.retrain) {
      sinks_.retrain(retrain);
    }
  }
  if (sinks_.targets && !result.targets.empty()) {
    sinks_.targets(result.targets);
  }
  for (auto it = last_decisions_.begin(); it != last_decisions_.end();) {
    it = engine_.vms().count(it->first.first) == 0 ? last_decisions_.erase(it) : std::next(it);
  }
  ForgetGoneVms();
  if (result.is_full_step || !admission.pass.empty() || gate_.held_count() != held_before) {
    ReportCapacity();
  }
  CarryDueShrinks();
  WriteMetrics(result);
  PublishSnapshot();
}

// What is kept by VM lives as long as the engine keeps the VM.
void ScalerCore::ForgetGoneVms() {
  const auto is_gone = [this](const auto& entry) { return engine_.vms().count(entry.first) == 0; };
  std::erase_if(last_changes_, is_gone);
  std::erase_if(violations_, is_gone);
  executor_->ForgetVmsExcept(
      [this](const std::string& uuid) { return engine_.vms().count(uuid) > 0; });
}

}  // namespace cloudscale::scaler
