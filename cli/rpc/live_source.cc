#include "cli/rpc/live_source.h"

#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

using scaler::v1::ScalerService;

// Actions that one summary reads at most; beyond it says that it is not complete.
constexpr int kMaxActions = 10'000;

LiveResource ToLive(const scaler::v1::ResourceStatus& status) {
  LiveResource live;
  live.usage = CLOUDSCALE_CLI_OPTIONAL(status, usage);
  live.demand = CLOUDSCALE_CLI_OPTIONAL(status, demand);
  live.forecast = CLOUDSCALE_CLI_OPTIONAL(status, forecast);
  live.allocation = CLOUDSCALE_CLI_OPTIONAL(status, allocation);
  live.recommended = CLOUDSCALE_CLI_OPTIONAL(status, recommended);
  live.padding = status.padding().total();
  live.static_peak = status.static_peak();
  live.saved_seconds = status.saved_seconds();
  live.under_estimate_count = status.under_estimate_count();
  live.step_count = status.step_count();
  live.is_warm = status.is_warm();
  live.model = status.model();
  live.quality = EnumText(status.quality());
  return live;
}

LiveVm ToLive(const scaler::v1::VmStatus& status) {
  LiveVm vm;
  vm.uuid = status.vm_uuid();
  vm.name = status.name();
  vm.mode = EnumText(status.mode());
  vm.is_paused = IsPaused(status.pause());
  vm.is_migrating = !status.migration_id().empty();
  vm.reason =
      status.last_reason().empty() ? ReasonText(status.cpu().reason()) : status.last_reason();
  vm.violation_count = status.violation_count();
  vm.cpu = ToLive(status.cpu());
  vm.memory = ToLive(status.memory());
  return vm;
}

LiveTotals ToLive(const scaler::v1::FleetTotals& t) {
  return {.capacity_cores = t.cpu_capacity_cores(),
          .demand_cores = t.cpu_demand_cores(),
          .usage_cores = t.cpu_usage_cores(),
          .granted_cores = t.granted_cpu_cores(),
          .headroom_cores = t.cpu_headroom_cores(),
          .reserved_cores = t.reserved_cpu_cores(),
          .static_peak_cores = t.static_peak_cores(),
          .saved_core_seconds = t.saved_core_seconds(),
          .granted_core_seconds = t.granted_core_seconds(),
          .granted_memory_bytes = t.granted_memory_bytes(),
          .memory_capacity_bytes = t.memory_capacity_bytes(),
          .memory_headroom_bytes = t.memory_headroom_bytes(),
          .vm_count = t.vm_count(),
          .managed_vm_count = t.managed_vm_count(),
          .decision_count = t.decision_count(),
          .action_count = t.action_count(),
          .failed_action_count = t.failed_action_count(),
          .under_estimate_count = t.under_estimate_count(),
          .step_count = t.step_count(),
          .violation_count = t.violation_count(),
          .retrain_request_count = t.retrain_request_count()};
}

}  // namespace

absl::StatusOr<LiveSample> ReadLiveSample(Session& session) {
  scaler::v1::GetStatusResponse status;
  CS_RETURN_IF_ERROR(session.Call(Peer::kScaler, &ScalerService::Stub::GetStatus,
                                  scaler::v1::GetStatusRequest(), &status));
  scaler::v1::ListVmStatesResponse states;
  CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kScaler, &ScalerService::Stub::ListVmStates,
                                          scaler::v1::ListVmStatesRequest(), &states));
  LiveSample sample;
  sample.host_id = status.host_id();
  sample.mode = EnumText(status.mode());
  sample.is_paused = IsPaused(status.pause());
  sample.is_warm = status.is_warm();
  if (status.is_fail_static()) {
    sample.fail_static_reason =
        status.fail_static_reason().empty() ? "fail-static" : status.fail_static_reason();
  }
  sample.sequence = status.sequence();
  if (status.has_last_step_at()) {
    sample.step_time = rpc::FromProto(status.last_step_at());
  }
  sample.pending_action_count = status.pending_action_count();
  sample.totals = ToLive(status.totals());
  for (const auto& link : status.links()) {
    sample.links.push_back({link.peer(), EnumText(link.health()), link.detail()});
  }
  for (const auto& vm : states.vms()) {
    sample.vms.push_back(ToLive(vm));
  }
  return sample;
}

absl::Status ReadActionCounts(Session& session, absl::Time start, TopSummary* summary) {
  scaler::v1::ListActionsRequest request;
  *request.mutable_start_time() = rpc::ToProto(start);
  scaler::v1::ListActionsResponse actions;
  CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kScaler, &ScalerService::Stub::ListActions, request,
                                          &actions, kMaxActions));
  summary->are_actions_complete = actions.actions_size() < kMaxActions;
  for (const auto& action : actions.actions()) {
    ActionCounts& counts = summary->actions[EnumText(action.kind())];
    ++counts.count;
    if (action.state() == scaler::v1::ACTION_STATE_FAILED ||
        action.state() == scaler::v1::ACTION_STATE_INFEASIBLE) {
      ++counts.failed_count;
    }
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::cli
