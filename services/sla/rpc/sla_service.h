#pragma once

#include <memory>
#include <set>

#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/engine/engine_thread.h"
#include "common/rpc/component.h"
#include "common/rpc/serving/watch_hub.h"
#include "common/sync/mutex.h"
#include "services/sla/clients/corrections.h"
#include "services/sla/rpc/sla_core.h"

namespace cloudscale::sla {

class ReportStream;

// The handlers: check the form of a request, hand it to the engine's thread, answer from there.
// Thread safety: thread-safe. `core`, `engine`, `hub` and `corrections` outlive this.
class SlaServiceImpl final : public v1::SlaService::CallbackService {
 public:
  using Hub = rpc::WatchHub<v1::WatchViolationsResponse>;

  SlaServiceImpl(SlaCore& core, EngineThread& engine, std::shared_ptr<Hub> hub,
                 CorrectionSender& corrections, const rpc::Environment& environment);

  // Ends the open report streams and refuses new ones.
  void CloseStreams();

  using Context = grpc::CallbackServerContext;
  using Reactor = grpc::ServerUnaryReactor;
  Reactor* GetStatus(Context*, const v1::GetStatusRequest*, v1::GetStatusResponse*) override;
  Reactor* CreateObjective(Context*, const v1::CreateObjectiveRequest*,
                           v1::CreateObjectiveResponse*) override;
  Reactor* GetObjective(Context*, const v1::GetObjectiveRequest*,
                        v1::GetObjectiveResponse*) override;
  Reactor* ListObjectives(Context*, const v1::ListObjectivesRequest*,
                          v1::ListObjectivesResponse*) override;
  Reactor* UpdateObjective(Context*, const v1::UpdateObjectiveRequest*,
                           v1::UpdateObjectiveResponse*) override;
  Reactor* DeleteObjective(Context*, const v1::DeleteObjectiveRequest*,
                           v1::DeleteObjectiveResponse*) override;
  grpc::ServerReadReactor<v1::ReportLatenciesRequest>* ReportLatencies(
      Context*, v1::ReportLatenciesResponse*) override;
  grpc::ServerWriteReactor<v1::WatchViolationsResponse>* WatchViolations(
      Context*, const v1::WatchViolationsRequest*) override;
  Reactor* ListViolations(Context*, const v1::ListViolationsRequest*,
                          v1::ListViolationsResponse*) override;
  Reactor* GetCompliance(Context*, const v1::GetComplianceRequest*,
                         v1::GetComplianceResponse*) override;
  Reactor* GetComplianceSeries(Context*, const v1::GetComplianceSeriesRequest*,
                               v1::GetComplianceSeriesResponse*) override;
  Reactor* ListApplications(Context*, const v1::ListApplicationsRequest*,
                            v1::ListApplicationsResponse*) override;

 private:
  friend class ReportStream;
  void Forget(ReportStream* stream);

  SlaCore& core_;
  EngineThread& engine_;
  const std::shared_ptr<Hub> hub_;
  CorrectionSender& corrections_;
  const rpc::Environment& environment_;
  const absl::Time started_at_;
  Mutex mutex_;
  std::set<ReportStream*> streams_ ABSL_GUARDED_BY(mutex_);
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace cloudscale::sla
