#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "cloudscale/predictor/v1/predictor_service.pb.h"
#include "common/sync/mutex.h"
#include "grpcpp/support/server_callback.h"
#include "services/predictor/rpc/convert.h"
#include "services/predictor/rpc/runtime.h"

namespace cloudscale::predictor {

// One host's telemetry: samples in, forecasts out. Batches are taken in as they are read, in one
// message that is reused. Answers wait in a queue of `kMaxQueued`, where a slow reader loses the
// oldest; acknowledgements alone are sent every `kAcknowledgeEvery` batches and when it gets quiet.
//
// Keeps itself alive until gRPC is done with it. Thread safety: thread-safe.
class TelemetryStream final
    : public grpc::ServerBidiReactor<v1::StreamTelemetryRequest, v1::StreamTelemetryResponse>,
      public ForecastSink,
      public std::enable_shared_from_this<TelemetryStream> {
 public:
  static constexpr size_t kMaxQueued = 4;
  static constexpr int kAcknowledgeEvery = 16;
  static constexpr absl::Duration kHeartbeatAfter = absl::Seconds(5);  // real time

  // Starts reading. `runtime` must outlive the stream.
  static grpc::ServerBidiReactor<v1::StreamTelemetryRequest, v1::StreamTelemetryResponse>* Create(
      Runtime* runtime);

  void SendForecasts(v1::ForecastBatch batch) override;
  void KeepAlive() override;
  void Close(const absl::Status& status) override;

 private:
  explicit TelemetryStream(Runtime* runtime);
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  absl::Status TakeIn();
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Runtime* const runtime_;
  const std::unique_ptr<Clock> real_clock_;
  std::shared_ptr<TelemetryStream> self_;

  // Touched only by the read reaction, which never runs twice at a time.
  v1::StreamTelemetryRequest request_;
  BatchReader reader_;
  std::string host_id_;

  Mutex mutex_;
  v1::StreamTelemetryResponse writing_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::StreamTelemetryResponse> queue_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  int64_t taken_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unacknowledged_ ABSL_GUARDED_BY(mutex_) = 0;
  MonoTime last_write_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cloudscale::predictor
