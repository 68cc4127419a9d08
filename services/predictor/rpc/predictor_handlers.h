#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/sync/mutex.h"
#include "services/predictor/rpc/request_log.h"
#include "services/predictor/rpc/runtime.h"

namespace cloudscale::predictor {

// The gRPC face of the predictor: checks requests, asks the runtime, converts answers. No handler
// blocks. Thread safety: thread-safe.
class PredictorHandlers final : public v1::PredictorService::CallbackService {
 public:
  // `runtime` must outlive the handlers.
  explicit PredictorHandlers(Runtime* runtime) : runtime_(runtime) {}

  grpc::ServerBidiReactor<v1::StreamTelemetryRequest, v1::StreamTelemetryResponse>* StreamTelemetry(
      grpc::CallbackServerContext* context) override;

#define CLOUDSCALE_UNARY(Method)                                             \
  grpc::ServerUnaryReactor* Method(grpc::CallbackServerContext* context,     \
                                   const v1::Method##Request* request,       \
                                   v1::Method##Response* response) override; \
  absl::Status Do(const v1::Method##Request& request, v1::Method##Response& response)
  CLOUDSCALE_UNARY(GetStatus);
  CLOUDSCALE_UNARY(GetForecast);
  CLOUDSCALE_UNARY(ListForecasts);
  CLOUDSCALE_UNARY(ListModels);
  CLOUDSCALE_UNARY(SelectModel);
  CLOUDSCALE_UNARY(GetAccuracy);
  CLOUDSCALE_UNARY(ListAccuracy);
  CLOUDSCALE_UNARY(UpdateTargets);
  CLOUDSCALE_UNARY(Retrain);
  CLOUDSCALE_UNARY(ExportState);
  CLOUDSCALE_UNARY(ImportState);
#undef CLOUDSCALE_UNARY

 private:
  // Answers a repeated request from the log, else runs `apply` and remembers its answer. Changes
  // are made one at a time, so that of two equal requests at once only one acts.
  template <typename Request, typename Response, typename Apply>
  absl::Status Once(RequestLog<Response>& log, const Request& request, Response& response,
                    Apply apply);

  Runtime* const runtime_;

  Mutex changes_mutex_;
  RequestLog<v1::SelectModelResponse> selections_ ABSL_GUARDED_BY(changes_mutex_);
  RequestLog<v1::UpdateTargetsResponse> targets_ ABSL_GUARDED_BY(changes_mutex_);
  RequestLog<v1::RetrainResponse> retrains_ ABSL_GUARDED_BY(changes_mutex_);
  RequestLog<v1::ImportStateResponse> imports_ ABSL_GUARDED_BY(changes_mutex_);
};

}  // namespace cloudscale::predictor
