#include "cli/testing/fake_services.h"

#include "absl/strings/str_cat.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"

namespace cloudscale::cli::testing {
namespace {

constexpr int64_t kStart = 1'700'000'000;

google::protobuf::Timestamp At(int64_t seconds) {
  return rpc::ToProto(absl::FromUnixSeconds(kStart + seconds));
}

void FillDecision(int number, scaler::v1::Decision* d) {
  d->set_decision_id(absl::StrCat("host-a/", number));
  d->set_vm_uuid(kWebUuid);
  d->set_vm_name("web-1");
  d->set_resource(common::v1::RESOURCE_CPU);
  d->set_mode(scaler::v1::MODE_AUTO);
  d->set_outcome(scaler::v1::DECISION_OUTCOME_APPLIED);
  d->mutable_header()->set_sequence(number);
  *d->mutable_decided_at() = At(number);
  d->set_usage(1.4);
  d->set_demand(1.5);
  d->set_sample_quality(common::v1::SAMPLE_QUALITY_FRESH);
  d->set_forecast(1.6);
  d->set_forecast_quantile_ratio(0.95);
  d->set_model("markov");
  *d->mutable_forecast_age() = rpc::ToProto(absl::Seconds(3));
  auto* burst = d->mutable_padding()->add_parts();
  burst->set_kind(common::v1::PADDING_KIND_BURST);
  burst->set_value(0.3);
  d->mutable_padding()->set_total(0.3);
  d->set_raw_wish(1.9);
  auto* clamp = d->add_clamps();
  clamp->set_kind(scaler::v1::CLAMP_KIND_STEP_DOWN);
  clamp->set_before(1.9);
  clamp->set_after(2.0);
  clamp->set_detail("at most 50 % down per step");
  clamp = d->add_clamps();
  clamp->set_kind(scaler::v1::CLAMP_KIND_ROUNDING);
  clamp->set_before(2.0);
  clamp->set_after(2.0);
  d->set_target(2.0);
  d->set_previous(4.0);
  auto* reason = d->add_reasons();
  reason->set_code(scaler::v1::REASON_CODE_FORECAST);
  reason->set_text("follows the forecast");
  auto* counter = d->add_counters();
  counter->set_rule("shrink_quiet_steps");
  counter->set_current(2);
  counter->set_required(3);
  d->set_alpha(1.0);
  d->set_action_id("action-7");
}

void FillTotals(scaler::v1::FleetTotals* t) {
  t->set_cpu_capacity_cores(8.0);
  t->set_granted_cpu_cores(3.0);
  t->set_cpu_headroom_cores(5.0);
  t->set_cpu_demand_cores(2.5);
  t->set_static_peak_cores(6.0);
  t->set_saved_core_seconds(30.0);
  t->set_granted_core_seconds(70.0);
  t->set_vm_count(2);
  t->set_step_count(100);
  t->set_under_estimate_count(2);
}

}  // namespace

grpc::Status FakeMonitor::GetStatus(grpc::ServerContext*, const monitor::v1::GetStatusRequest*,
                                    monitor::v1::GetStatusResponse* response) {
  response->set_host_id("host-a");
  response->set_is_serving(true);
  response->set_sequence(42);
  *response->mutable_sampling_period() = rpc::ToProto(absl::Seconds(1));
  return grpc::Status::OK;
}

// One VM a page, so that paging is exercised wherever VMs are listed.
grpc::Status FakeMonitor::ListVms(grpc::ServerContext*, const monitor::v1::ListVmsRequest* request,
                                  monitor::v1::ListVmsResponse* response) {
  const bool is_first = request->page_token().empty();
  auto* vm = response->add_vms();
  vm->set_vm_uuid(is_first ? kWebUuid : kDbUuid);
  vm->set_name(is_first ? "web-1" : "db-1");
  vm->mutable_latest()->set_cpu_usage_cores(1.4);
  vm->mutable_latest()->set_state(monitor::v1::VM_STATE_RUNNING);
  if (is_first) {
    response->set_next_page_token("2");
  }
  return grpc::Status::OK;
}

grpc::Status FakeMonitor::GetVm(grpc::ServerContext*, const monitor::v1::GetVmRequest* request,
                                monitor::v1::GetVmResponse* response) {
  if (request->vm_uuid() != kWebUuid) {
    return {grpc::NOT_FOUND, absl::StrCat("no VM ", request->vm_uuid())};
  }
  response->mutable_vm()->set_vm_uuid(kWebUuid);
  *response->mutable_vm()->mutable_header()->mutable_sample_time() = At(60);
  return grpc::Status::OK;
}

grpc::Status FakeMonitor::ListSamples(grpc::ServerContext*, const monitor::v1::ListSamplesRequest*,
                                      monitor::v1::ListSamplesResponse* response) {
  for (int i = 0; i <= 60; ++i) {
    auto* sample = response->add_samples();
    *sample->mutable_header()->mutable_sample_time() = At(i);
    sample->mutable_sample()->set_cpu_demand_cores(1.0 + i / 100.0);
    sample->mutable_sample()->set_cpu_cap_cores(2.0);
  }
  return grpc::Status::OK;
}

grpc::Status FakePredictor::GetForecast(grpc::ServerContext*,
                                        const predictor::v1::GetForecastRequest* request,
                                        predictor::v1::GetForecastResponse* response) {
  auto* forecast = response->mutable_forecast();
  forecast->set_vm_uuid(request->vm_uuid());
  forecast->set_resource(request->resource());
  forecast->set_model("markov");
  forecast->set_is_warm(true);
  forecast->set_reason("no period found");
  *forecast->mutable_made_at() = At(60);
  for (const int horizon : {10, 100}) {
    auto* h = forecast->add_horizons();
    *h->mutable_horizon() = rpc::ToProto(absl::Seconds(horizon));
    for (const double ratio : {0.5, 0.95}) {
      auto* q = h->add_quantiles();
      q->set_ratio(ratio);
      q->set_value(1.0 + ratio);
    }
    h->set_expected(1.6);
  }
  return grpc::Status::OK;
}

grpc::Status FakeScaler::GetStatus(grpc::ServerContext*, const scaler::v1::GetStatusRequest*,
                                   scaler::v1::GetStatusResponse* response) {
  response->mutable_build()->set_service("cloudscaled");
  response->mutable_build()->set_version("9.9.9");
  response->set_host_id("host-a");
  response->set_mode(scaler::v1::MODE_AUTO);
  response->set_is_warm(true);
  response->set_sequence(42);
  *response->mutable_last_step_at() = At(42);
  FillTotals(response->mutable_totals());
  return grpc::Status::OK;
}

grpc::Status FakeScaler::ListVmStates(grpc::ServerContext*, const scaler::v1::ListVmStatesRequest*,
                                      scaler::v1::ListVmStatesResponse* response) {
  for (const bool is_web : {true, false}) {
    auto* vm = response->add_vms();
    vm->set_vm_uuid(is_web ? kWebUuid : kDbUuid);
    vm->set_name(is_web ? "web-1" : "db-1");
    vm->set_mode(scaler::v1::MODE_AUTO);
    vm->mutable_cpu()->set_demand(1.5);
    vm->mutable_cpu()->set_allocation(2.0);
    vm->mutable_cpu()->set_quality(common::v1::SAMPLE_QUALITY_FRESH);
    vm->mutable_cpu()->set_static_peak(3.0);
    vm->set_last_reason("follows the forecast");
  }
  return grpc::Status::OK;
}

grpc::Status FakeScaler::ExplainVm(grpc::ServerContext*,
                                   const scaler::v1::ExplainVmRequest* request,
                                   scaler::v1::ExplainVmResponse* response) {
  if (request->vm_uuid() != kWebUuid) {
    return {grpc::NOT_FOUND, "no such VM"};
  }
  response->mutable_status()->set_vm_uuid(kWebUuid);
  response->mutable_status()->set_name("web-1");
  response->mutable_status()->set_mode(scaler::v1::MODE_AUTO);
  FillDecision(1, response->add_decisions());
  return grpc::Status::OK;
}

grpc::Status FakeScaler::GetPolicy(grpc::ServerContext*,
                                   const scaler::v1::GetPolicyRequest* request,
                                   scaler::v1::GetPolicyResponse* response) {
  auto* policy = response->mutable_policy();
  policy->set_vm_uuid(request->vm_uuid());
  policy->set_etag("v1");
  policy->mutable_cpu()->set_max(4.0);
  (*policy->mutable_labels())["tier"] = "web";
  auto* source = policy->add_sources();
  source->set_field("cpu.max");
  source->set_level(scaler::v1::POLICY_LEVEL_VM);
  return grpc::Status::OK;
}

grpc::Status FakeScaler::UpdatePolicy(grpc::ServerContext*,
                                      const scaler::v1::UpdatePolicyRequest* request,
                                      scaler::v1::UpdatePolicyResponse* response) {
  last_update = *request;
  if (request->policy().cpu().max() > 64.0) {
    Violations violations;
    violations.Add("policy.cpu.max", absl::StrCat(request->policy().cpu().max()),
                   "0 < value <= 64 cores");
    return rpc::ToGrpcStatus(violations.ToStatus());
  }
  if (request->policy().etag() != "v1") {
    return {grpc::ABORTED, "the policy has changed"};
  }
  *response->mutable_policy() = request->policy();
  *response->mutable_effective() = request->policy();
  return grpc::Status::OK;
}

grpc::Status FakeScaler::SetMode(grpc::ServerContext*, const scaler::v1::SetModeRequest* request,
                                 scaler::v1::SetModeResponse* response) {
  last_mode = *request;
  response->set_previous_mode(scaler::v1::MODE_OBSERVE);
  response->set_mode(request->mode());
  response->set_effective_mode(scaler::v1::MODE_RECOMMEND);
  return grpc::Status::OK;
}

grpc::Status FakeScaler::SetPause(grpc::ServerContext*, const scaler::v1::SetPauseRequest* request,
                                  scaler::v1::SetPauseResponse* response) {
  last_pause = *request;
  *response->mutable_pause() = request->pause();
  *response->mutable_effective() = request->pause();
  return grpc::Status::OK;
}

grpc::Status FakeScaler::RestoreOriginals(grpc::ServerContext*,
                                          const scaler::v1::RestoreOriginalsRequest* request,
                                          scaler::v1::RestoreOriginalsResponse* response) {
  restores.push_back(request->validate_only());
  auto* action = response->add_actions();
  action->set_vm_uuid(kWebUuid);
  action->set_kind(scaler::v1::ACTION_KIND_SET_CPU_CAP);
  action->mutable_target()->set_cpu_cap_cores(0.0);
  action->set_state(restore_state);
  return grpc::Status::OK;
}

grpc::Status FakeScaler::ListActions(grpc::ServerContext*, const scaler::v1::ListActionsRequest*,
                                     scaler::v1::ListActionsResponse* response) {
  for (const auto state : {scaler::v1::ACTION_STATE_SUCCEEDED, scaler::v1::ACTION_STATE_FAILED}) {
    auto* action = response->add_actions();
    action->set_vm_uuid(kWebUuid);
    action->set_kind(scaler::v1::ACTION_KIND_SET_CPU_CAP);
    action->set_state(state);
    action->mutable_target()->set_cpu_cap_cores(2.0);
  }
  return grpc::Status::OK;
}

grpc::Status FakeScaler::ListDecisions(grpc::ServerContext*,
                                       const scaler::v1::ListDecisionsRequest* request,
                                       scaler::v1::ListDecisionsResponse* response) {
  const bool is_first = request->page_token().empty();
  FillDecision(is_first ? 2 : 1, response->add_decisions());
  if (is_first) {
    response->set_next_page_token("2");
  }
  return grpc::Status::OK;
}

grpc::Status FakeScaler::WatchDecisions(
    grpc::ServerContext*, const scaler::v1::WatchDecisionsRequest*,
    grpc::ServerWriter<scaler::v1::WatchDecisionsResponse>* writer) {
  scaler::v1::WatchDecisionsResponse heartbeat;
  heartbeat.set_is_heartbeat(true);
  writer->Write(heartbeat);
  for (int i = 1; i <= 3; ++i) {
    scaler::v1::WatchDecisionsResponse message;
    message.set_sequence(i);
    FillDecision(i, message.mutable_decision());
    writer->Write(message);
  }
  return grpc::Status::OK;
}

grpc::Status FakeSla::GetCompliance(grpc::ServerContext*,
                                    const sla::v1::GetComplianceRequest* request,
                                    sla::v1::GetComplianceResponse* response) {
  last_compliance = *request;
  for (const char* id : {"shop-errors", "shop-p95"}) {
    if (!request->objective_id().empty() && request->objective_id() != id) {
      continue;
    }
    auto* c = response->add_compliances();
    c->set_objective_id(id);
    c->set_application("shop");
    c->mutable_start_time()->set_seconds(kSlaStart);
    c->mutable_end_time()->set_seconds(kSlaStart + int64_t{24} * 3600);
    c->set_window_count(240);
    c->set_good_window_count(235);
    c->set_compliance_ratio(235.0 / 240);
    c->set_target_ratio(0.99);
    c->set_budget_remaining_ratio(-1.08);
    c->set_request_count(24000);
    c->set_error_count(7);
    c->mutable_latency_p95()->set_nanos(180000000);
    c->set_violation_count(1);
    c->mutable_violation_time()->set_seconds(1800);
  }
  return grpc::Status::OK;
}

grpc::Status FakeSla::GetComplianceSeries(grpc::ServerContext*,
                                          const sla::v1::GetComplianceSeriesRequest* request,
                                          sla::v1::GetComplianceSeriesResponse* response) {
  last_series = *request;
  auto* objective = response->mutable_objective();
  objective->set_objective_id(request->objective_id());
  objective->set_application("shop");
  objective->mutable_terms()->set_target_ratio(0.99);
  objective->mutable_terms()->mutable_window()->set_seconds(60);
  if (request->objective_id() == "shop-p95") {
    objective->mutable_terms()->mutable_latency()->mutable_threshold()->set_nanos(200000000);
    objective->mutable_terms()->mutable_latency()->set_percentile_ratio(0.95);
  } else {
    objective->mutable_terms()->mutable_errors()->set_max_error_ratio(0.01);
  }
  response->mutable_bucket_duration()->set_seconds(3600);
  for (int hour = 0; hour < 24; ++hour) {
    auto* bucket = response->add_buckets();
    bucket->mutable_start_time()->set_seconds(kSlaStart + int64_t{hour} * 3600);
    bucket->set_window_count(10);
    bucket->set_good_window_count(hour == 12 ? 5 : 10);
    bucket->set_request_count(1000);
    bucket->mutable_latency_p95()->set_nanos(hour == 12 ? 400000000 : 100000000);
    if (request->objective_id() == "shop-p95") {
      *bucket->mutable_latency_promised() = bucket->latency_p95();
    }
  }
  return grpc::Status::OK;
}

grpc::Status FakeSla::ReportLatencies(grpc::ServerContext*,
                                      grpc::ServerReader<sla::v1::ReportLatenciesRequest>* reader,
                                      sla::v1::ReportLatenciesResponse* response) {
  sla::v1::ReportLatenciesRequest request;
  while (reader->Read(&request)) {
    for (const auto& report : request.reports()) {
      if (report.application().empty()) {
        return {grpc::FAILED_PRECONDITION, "a report without application"};
      }
      if (report.application() == "nobody") {
        response->set_refused_count(response->refused_count() + 1);
        auto* violation = response->add_violations();
        violation->set_field("reports[0].application");
        violation->set_value("nobody");
        violation->set_allowed("an application that an objective names");
        continue;
      }
      reports.push_back(report);
      response->set_accepted_count(response->accepted_count() + 1);
    }
  }
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::SetWeight(grpc::ServerContext*, const lbctl::v1::SetWeightRequest* request,
                                  lbctl::v1::SetWeightResponse* response) {
  weight = *request;
  response->set_previous_weight(100);
  response->mutable_server()->set_weight(request->absolute());
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::SetServerState(grpc::ServerContext*,
                                       const lbctl::v1::SetServerStateRequest* request,
                                       lbctl::v1::SetServerStateResponse* response) {
  state = *request;
  if (request->server() == "none") {
    return {grpc::StatusCode::NOT_FOUND, "no server 'none'; there are: web-1, web-2"};
  }
  response->set_previous_state(lbctl::v1::SERVER_STATE_DRAIN);
  response->mutable_server()->set_state(request->state());
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::DrainServer(grpc::ServerContext*,
                                    const lbctl::v1::DrainServerRequest* request,
                                    lbctl::v1::DrainServerResponse* response) {
  drain = *request;
  response->set_is_drained(sessions_left == 0);
  response->set_remaining_sessions(sessions_left);
  response->mutable_server()->set_state(lbctl::v1::SERVER_STATE_DRAIN);
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::SetServerAddress(grpc::ServerContext*,
                                         const lbctl::v1::SetServerAddressRequest* request,
                                         lbctl::v1::SetServerAddressResponse* response) {
  address = *request;
  response->set_previous_address("192.0.2.1");
  response->set_previous_port(80);
  response->mutable_server()->set_address(request->address());
  response->mutable_server()->set_port(request->port());
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::AddServer(grpc::ServerContext*, const lbctl::v1::AddServerRequest* request,
                                  lbctl::v1::AddServerResponse* response) {
  add = *request;
  response->mutable_server()->set_weight(request->weight());
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::RemoveServer(grpc::ServerContext*,
                                     const lbctl::v1::RemoveServerRequest* request,
                                     lbctl::v1::RemoveServerResponse*) {
  remove = *request;
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::ApplyPlan(grpc::ServerContext*, const lbctl::v1::ApplyPlanRequest* request,
                                  lbctl::v1::ApplyPlanResponse* response) {
  plan = *request;
  lbctl::v1::ServerChange& change = *response->add_changes();
  change.set_backend("web");
  change.set_server("web-1");
  change.set_weight_before(100);
  change.set_weight_after(10);
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::ListDrift(grpc::ServerContext*, const lbctl::v1::ListDriftRequest*,
                                  lbctl::v1::ListDriftResponse* response) {
  for (int i = 0; i < drifts; ++i) {
    lbctl::v1::Drift& drift = *response->add_drifts();
    drift.set_backend("web");
    drift.set_server("web-1");
    drift.set_field("weight");
    drift.set_desired("10");
    drift.set_actual("77");
    drift.set_cause(lbctl::v1::DRIFT_CAUSE_FOREIGN_CHANGE);
  }
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::Reconcile(grpc::ServerContext*, const lbctl::v1::ReconcileRequest* request,
                                  lbctl::v1::ReconcileResponse* response) {
  reconcile = *request;
  for (int i = 0; i < drifts; ++i) {
    response->add_remaining()->set_backend("web");
  }
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::WatchStats(grpc::ServerContext*,
                                   const lbctl::v1::WatchStatsRequest* request,
                                   grpc::ServerWriter<lbctl::v1::WatchStatsResponse>* writer) {
  watch = *request;
  lbctl::v1::WatchStatsResponse message;
  message.set_is_heartbeat(true);
  writer->Write(message);
  message.set_is_heartbeat(false);
  lbctl::v1::Backend& backend = *message.add_backends();
  backend.set_name("web");
  backend.add_servers()->set_name("web-1");
  for (int i = 1; i <= 3; ++i) {
    message.set_sequence(i);
    writer->Write(message);
  }
  return grpc::Status::OK;
}

grpc::Status FakeLbctl::GetStatus(grpc::ServerContext*, const lbctl::v1::GetStatusRequest*,
                                  lbctl::v1::GetStatusResponse* response) {
  lbctl::v1::CapacityFollow& follow = *response->add_capacity_follows();
  follow.set_backend("web");
  follow.set_outcome(lbctl::v1::FOLLOW_OUTCOME_CAPACITY_MISSING);
  follow.set_detail("web-2");
  return grpc::Status::OK;
}

}  // namespace cloudscale::cli::testing
