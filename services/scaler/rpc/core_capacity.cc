// Granted capacity, told to the load balancer, and the shrinks that wait for its answer.
#include "common/logging/log.h"
#include "services/scaler/rpc/convert.h"
#include "services/scaler/rpc/scaler_core.h"

namespace cloudscale::scaler {

void ScalerCore::OnCapacityAnswer(int64_t number, std::set<std::string> followed, MonoTime until) {
  gate_.SetFollowed(std::move(followed), until);
  gate_.OnAnswered(number);
  CarryDueShrinks();
}

void ScalerCore::CarryDueShrinks() {
  const std::vector<PlannedAction> due = gate_.TakeDue(clock_.MonoNow());
  for (const PlannedAction& action : due) {
    if (!ReadyToAct() || engine_.vms().count(action.vm_uuid) == 0) {
      continue;  // the next step decides anew
    }
    ActionOrder order;
    order.decision_id = action.decision_id;
    order.vm_uuid = action.vm_uuid;
    order.kind = KindOf(action.resource);
    order.target = action.target;
    order.expected_before = action.expected_before;
    order.reasons = action.reasons;
    const absl::StatusOr<ActionRecord> done = Carry(order);  // tells, counts and logs
    if (done.ok() && done->state == ActionState::kSucceeded) {
      last_changes_[action.vm_uuid] = {action.reasons.empty() ? "" : action.reasons.front().text,
                                       clock_.WallNow()};
    }
  }
  const ShrinkGate::Counters& c = gate_.counters();
  const auto set = [&](const char* result, int64_t count) {
    metrics_.Set("cloudscale_scaler_announced_shrinks", {{"result", result}},
                 static_cast<double>(count));
  };
  set("answered", c.answered);
  set("timed_out", c.timed_out);
  set("withdrawn", c.withdrawn);
  if (!due.empty()) {
    ReportCapacity();
    PublishSnapshot();
  }
}

std::optional<double> ScalerCore::GrantedCores(const VmObservation& vm) const {
  const std::optional<double> maximum = VmMaximum(vm, Resource::kCpu);
  if (const auto it = set_since_sample_.find(vm.uuid); it != set_since_sample_.end()) {
    return it->second ? it->second : maximum;
  }
  const auto entry = engine_.vms().find(vm.uuid);
  const std::optional<double> known = entry == engine_.vms().end()
                                          ? std::nullopt
                                          : entry->second.of(Resource::kCpu).last_allocation();
  return known ? known : PresentAllocation(vm, Resource::kCpu);
}

void ScalerCore::ReportCapacity() {
  if (!sinks_.capacity || observation_ == nullptr) {
    return;
  }
  CapacityReport report{.number = ++report_number_, .vms = {}};
  for (const VmObservation& vm : observation_->vms) {
    const std::optional<double> granted = GrantedCores(vm);
    if (vm.state != VmRunState::kRunning || !granted || *granted <= 0) {
      continue;  // not known
    }
    VmGrant grant{.vm_uuid = vm.uuid, .granted_cores = *granted, .coming_cores = std::nullopt};
    if (const auto it = gate_.announced().find(vm.uuid); it != gate_.announced().end()) {
      grant.coming_cores = it->second;
    }
    report.vms.push_back(std::move(grant));
  }
  gate_.OnReported(report.number);
  sinks_.capacity(std::move(report));
}

}  // namespace cloudscale::scaler
