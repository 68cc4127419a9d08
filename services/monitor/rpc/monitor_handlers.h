#pragma once

#include <functional>

#include "absl/time/time.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "services/monitor/rpc/monitor_state.h"

namespace cloudscale::monitor {

// The handlers of MonitorService over the shared state. Nothing here blocks, changes a VM or asks
// the hypervisor. Thread safety: thread-safe.
class MonitorHandlers final : public v1::MonitorService::CallbackService {
 public:
  // `link` tells the present state of the connection to the predictor. All must outlive the
  // handlers, `metrics` also the streams.
  MonitorHandlers(MonitorState& state, MetricSink& metrics,
                  std::function<common::v1::LinkState()> link, absl::Time started_at);

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;
  grpc::ServerUnaryReactor* ListHosts(grpc::CallbackServerContext* context,
                                      const v1::ListHostsRequest* request,
                                      v1::ListHostsResponse* response) override;
  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext* context,
                                    const v1::GetHostRequest* request,
                                    v1::GetHostResponse* response) override;
  grpc::ServerUnaryReactor* ListVms(grpc::CallbackServerContext* context,
                                    const v1::ListVmsRequest* request,
                                    v1::ListVmsResponse* response) override;
  grpc::ServerUnaryReactor* GetVm(grpc::CallbackServerContext* context,
                                  const v1::GetVmRequest* request,
                                  v1::GetVmResponse* response) override;
  grpc::ServerUnaryReactor* ListSamples(grpc::CallbackServerContext* context,
                                        const v1::ListSamplesRequest* request,
                                        v1::ListSamplesResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchSnapshotsResponse>* WatchSnapshots(
      grpc::CallbackServerContext* context, const v1::WatchSnapshotsRequest* request) override;
  grpc::ServerWriteReactor<v1::WatchObservationsResponse>* WatchObservations(
      grpc::CallbackServerContext* context, const v1::WatchObservationsRequest* request) override;

 private:
  void FillHost(v1::Host* out) const;
  void FillVm(const v1::ObservationBatch& batch, const v1::VmSample& sample, v1::Vm* out) const;
  absl::Status DoListVms(const v1::ListVmsRequest& request, v1::ListVmsResponse* response) const;
  absl::Status DoGetVm(const v1::GetVmRequest& request, v1::GetVmResponse* response) const;
  absl::Status DoListSamples(const v1::ListSamplesRequest& request,
                             v1::ListSamplesResponse* response) const;
  std::string HostId() const;

  MonitorState& state_;
  MetricSink& metrics_;
  const std::function<common::v1::LinkState()> link_;
  const absl::Time started_at_;
};

}  // namespace cloudscale::monitor
