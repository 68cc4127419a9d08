#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "common/engine/engine_thread.h"
#include "common/rpc/component.h"
#include "common/rpc/serving/watch_hub.h"
#include "common/status/violations.h"
#include "services/lbctl/rpc/lbctl_core.h"

namespace cloudscale::lbctl {

// The handlers: check the form of a request, answer reads from the newest snapshot and changes from
// the engine's thread. Thread safety: thread-safe. `core` and `engine` outlive this.
class BalancerServiceImpl final : public v1::BalancerService::CallbackService {
 public:
  using Hub = rpc::WatchHub<v1::WatchStatsResponse>;

  // `address`: of the balancer, for people.
  BalancerServiceImpl(LbctlCore& core, EngineThread& engine, std::shared_ptr<Hub> hub,
                      absl::Duration poll_period, std::string address);

  // What a poll found, for the readers of WatchStats.
  [[nodiscard]] static v1::WatchStatsResponse ToMessage(const BalancerView& view);

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* GetStatus(Context*, const v1::GetStatusRequest*, v1::GetStatusResponse*) override;
  Reactor* ListBackends(Context*, const v1::ListBackendsRequest*,
                        v1::ListBackendsResponse*) override;
  Reactor* ListServers(Context*, const v1::ListServersRequest*, v1::ListServersResponse*) override;
  Reactor* GetServer(Context*, const v1::GetServerRequest*, v1::GetServerResponse*) override;
  Reactor* SetWeight(Context*, const v1::SetWeightRequest*, v1::SetWeightResponse*) override;
  Reactor* SetServerState(Context*, const v1::SetServerStateRequest*,
                          v1::SetServerStateResponse*) override;
  Reactor* DrainServer(Context*, const v1::DrainServerRequest*, v1::DrainServerResponse*) override;
  Reactor* SetServerAddress(Context*, const v1::SetServerAddressRequest*,
                            v1::SetServerAddressResponse*) override;
  Reactor* AddServer(Context*, const v1::AddServerRequest*, v1::AddServerResponse*) override;
  Reactor* RemoveServer(Context*, const v1::RemoveServerRequest*,
                        v1::RemoveServerResponse*) override;
  Reactor* GetStats(Context*, const v1::GetStatsRequest*, v1::GetStatsResponse*) override;
  grpc::ServerWriteReactor<v1::WatchStatsResponse>* WatchStats(
      Context*, const v1::WatchStatsRequest*) override;
  Reactor* ApplyPlan(Context*, const v1::ApplyPlanRequest*, v1::ApplyPlanResponse*) override;
  Reactor* ListDrift(Context*, const v1::ListDriftRequest*, v1::ListDriftResponse*) override;
  Reactor* Reconcile(Context*, const v1::ReconcileRequest*, v1::ReconcileResponse*) override;
  Reactor* ReportCapacity(Context*, const v1::ReportCapacityRequest*,
                          v1::ReportCapacityResponse*) override;

 private:
  // A changing call: at most once per request_id, on the engine's thread.
  template <typename Request, typename Response>
  Reactor* Change(Context* context, const Violations& violations, const Request* request,
                  Response* response, std::function<absl::Status(BalancerControl&)> change);
  // Fills in the server as it is now; with `validate_only` as it would be.
  void FillServer(const ServerKey& key, const ServerInfo& after, v1::Server* out) const;
  void StartDrain(const v1::DrainServerRequest* request, v1::DrainServerResponse* response,
                  class DrainReactor* reactor);

  LbctlCore& core_;
  EngineThread& engine_;
  const std::shared_ptr<Hub> hub_;
  const absl::Duration poll_period_;
  const std::string address_;
  const absl::Time started_at_;
};

}  // namespace cloudscale::lbctl
