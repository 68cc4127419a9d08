#pragma once

#include <optional>

#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/status/violations.h"
#include "common/sync/mutex.h"
#include "services/sla/rpc/sla_service.h"

namespace cloudscale::sla {

// One client's stream of latency reports. The next message is read only when the one before is
// taken, so a fast client is slowed by its own stream and not by our memory.
// Thread safety: thread-safe; deletes itself.
class ReportStream final : public grpc::ServerReadReactor<v1::ReportLatenciesRequest> {
 public:
  ReportStream(SlaServiceImpl& service, v1::ReportLatenciesResponse* response)
      : service_(service), response_(response) {}

  void Begin() { StartRead(&request_); }
  // Ends the stream because the service stops.
  void Close();

  void OnReadDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // On the engine's thread.
  void Take();
  void TakeOne(const v1::LatencyReport& report, int index);
  void Refuse(const FieldViolation& fault);
  void FinishWith(const absl::Status& status);

  SlaServiceImpl& service_;
  v1::ReportLatenciesResponse* const response_;
  v1::ReportLatenciesRequest request_;
  Mutex mutex_;
  bool is_busy_ ABSL_GUARDED_BY(mutex_) = false;  // the engine has the message
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> ending_ ABSL_GUARDED_BY(mutex_);  // once the engine is done
};

}  // namespace cloudscale::sla
