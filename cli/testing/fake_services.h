#pragma once

#include <string>
#include <vector>

#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"

namespace cloudscale::cli::testing {

inline constexpr char kWebUuid[] = "11111111-0000-4000-8000-000000000001";
inline constexpr int64_t kSlaStart = 1767225600;  // 2026-01-01 00:00:00 UTC
inline constexpr char kDbUuid[] = "22222222-0000-4000-8000-000000000002";

// Services with fixed answers that remember the last change asked for. Two VMs: `web-1`, `db-1`.
class FakeMonitor : public monitor::v1::MonitorService::Service {
 public:
  grpc::Status GetStatus(grpc::ServerContext*, const monitor::v1::GetStatusRequest*,
                         monitor::v1::GetStatusResponse* response) override;
  grpc::Status ListVms(grpc::ServerContext*, const monitor::v1::ListVmsRequest* request,
                       monitor::v1::ListVmsResponse* response) override;
  grpc::Status GetVm(grpc::ServerContext*, const monitor::v1::GetVmRequest* request,
                     monitor::v1::GetVmResponse* response) override;
  grpc::Status ListSamples(grpc::ServerContext*, const monitor::v1::ListSamplesRequest*,
                           monitor::v1::ListSamplesResponse* response) override;
};

class FakePredictor : public predictor::v1::PredictorService::Service {
 public:
  grpc::Status GetForecast(grpc::ServerContext*, const predictor::v1::GetForecastRequest* request,
                           predictor::v1::GetForecastResponse* response) override;
};

class FakeScaler : public scaler::v1::ScalerService::Service {
 public:
  grpc::Status GetStatus(grpc::ServerContext*, const scaler::v1::GetStatusRequest*,
                         scaler::v1::GetStatusResponse* response) override;
  grpc::Status ListVmStates(grpc::ServerContext*, const scaler::v1::ListVmStatesRequest*,
                            scaler::v1::ListVmStatesResponse* response) override;
  grpc::Status ExplainVm(grpc::ServerContext*, const scaler::v1::ExplainVmRequest* request,
                         scaler::v1::ExplainVmResponse* response) override;
  grpc::Status GetPolicy(grpc::ServerContext*, const scaler::v1::GetPolicyRequest* request,
                         scaler::v1::GetPolicyResponse* response) override;
  // `cpu.max` above 64 is refused with a violation; an etag other than `v1` with ABORTED.
  grpc::Status UpdatePolicy(grpc::ServerContext*, const scaler::v1::UpdatePolicyRequest* request,
                            scaler::v1::UpdatePolicyResponse* response) override;
  grpc::Status SetMode(grpc::ServerContext*, const scaler::v1::SetModeRequest* request,
                       scaler::v1::SetModeResponse* response) override;
  grpc::Status SetPause(grpc::ServerContext*, const scaler::v1::SetPauseRequest* request,
                        scaler::v1::SetPauseResponse* response) override;
  grpc::Status RestoreOriginals(grpc::ServerContext*,
                                const scaler::v1::RestoreOriginalsRequest* request,
                                scaler::v1::RestoreOriginalsResponse* response) override;
  grpc::Status ListActions(grpc::ServerContext*, const scaler::v1::ListActionsRequest*,
                           scaler::v1::ListActionsResponse* response) override;
  // Two pages.
  grpc::Status ListDecisions(grpc::ServerContext*, const scaler::v1::ListDecisionsRequest* request,
                             scaler::v1::ListDecisionsResponse* response) override;
  // A heartbeat and three decisions, then it ends.
  grpc::Status WatchDecisions(
      grpc::ServerContext*, const scaler::v1::WatchDecisionsRequest*,
      grpc::ServerWriter<scaler::v1::WatchDecisionsResponse>* writer) override;

  scaler::v1::UpdatePolicyRequest last_update;
  scaler::v1::SetModeRequest last_mode;
  scaler::v1::SetPauseRequest last_pause;
  std::vector<bool> restores;  // validate_only of each call
  scaler::v1::ActionState restore_state = scaler::v1::ACTION_STATE_SUCCEEDED;
};

class FakeSla : public sla::v1::SlaService::Service {
 public:
  // Two objectives, `shop-p95` and `shop-errors`, with a bad hour in a good day.
  grpc::Status GetCompliance(grpc::ServerContext*, const sla::v1::GetComplianceRequest* request,
                             sla::v1::GetComplianceResponse* response) override;
  grpc::Status GetComplianceSeries(grpc::ServerContext*,
                                   const sla::v1::GetComplianceSeriesRequest* request,
                                   sla::v1::GetComplianceSeriesResponse* response) override;
  // Counts and keeps reports; refuses those of application `nobody`, and a report without an
  // application by ending the stream.
  grpc::Status ReportLatencies(grpc::ServerContext*,
                               grpc::ServerReader<sla::v1::ReportLatenciesRequest>* reader,
                               sla::v1::ReportLatenciesResponse* response) override;

  std::vector<sla::v1::LatencyReport> reports;
  sla::v1::GetComplianceRequest last_compliance;
  sla::v1::GetComplianceSeriesRequest last_series;
};

// Two servers `web/web-1`, `web/web-2`; keeps the last request of each kind.
class FakeLbctl : public lbctl::v1::BalancerService::Service {
 public:
  grpc::Status SetWeight(grpc::ServerContext*, const lbctl::v1::SetWeightRequest* request,
                         lbctl::v1::SetWeightResponse* response) override;
  // NOT_FOUND for `web/none`.
  grpc::Status SetServerState(grpc::ServerContext*, const lbctl::v1::SetServerStateRequest* request,
                              lbctl::v1::SetServerStateResponse* response) override;
  // Leaves `sessions_left`.
  grpc::Status DrainServer(grpc::ServerContext*, const lbctl::v1::DrainServerRequest* request,
                           lbctl::v1::DrainServerResponse* response) override;
  grpc::Status SetServerAddress(grpc::ServerContext*,
                                const lbctl::v1::SetServerAddressRequest* request,
                                lbctl::v1::SetServerAddressResponse* response) override;
  grpc::Status AddServer(grpc::ServerContext*, const lbctl::v1::AddServerRequest* request,
                         lbctl::v1::AddServerResponse* response) override;
  grpc::Status RemoveServer(grpc::ServerContext*, const lbctl::v1::RemoveServerRequest* request,
                            lbctl::v1::RemoveServerResponse* response) override;
  grpc::Status ApplyPlan(grpc::ServerContext*, const lbctl::v1::ApplyPlanRequest* request,
                         lbctl::v1::ApplyPlanResponse* response) override;
  // `drifts` of them.
  grpc::Status ListDrift(grpc::ServerContext*, const lbctl::v1::ListDriftRequest* request,
                         lbctl::v1::ListDriftResponse* response) override;
  grpc::Status Reconcile(grpc::ServerContext*, const lbctl::v1::ReconcileRequest* request,
                         lbctl::v1::ReconcileResponse* response) override;
  // A heartbeat and three messages, then it ends.
  grpc::Status WatchStats(grpc::ServerContext*, const lbctl::v1::WatchStatsRequest* request,
                          grpc::ServerWriter<lbctl::v1::WatchStatsResponse>* writer) override;
  grpc::Status GetStatus(grpc::ServerContext*, const lbctl::v1::GetStatusRequest*,
                         lbctl::v1::GetStatusResponse* response) override;

  lbctl::v1::SetWeightRequest weight;
  lbctl::v1::SetServerStateRequest state;
  lbctl::v1::DrainServerRequest drain;
  lbctl::v1::SetServerAddressRequest address;
  lbctl::v1::AddServerRequest add;
  lbctl::v1::RemoveServerRequest remove;
  lbctl::v1::ApplyPlanRequest plan;
  lbctl::v1::ReconcileRequest reconcile;
  lbctl::v1::WatchStatsRequest watch;
  int sessions_left = 0;
  int drifts = 0;
};

}  // namespace cloudscale::cli::testing
