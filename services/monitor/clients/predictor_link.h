#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/backoff/backoff.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/channel.h"

namespace cloudscale::monitor {

// The telemetry stream to the predictor: batches out, forecasts back on the same stream.
//
// Batches are kept until the predictor acknowledges them and are sent again after a reconnect; it
// ignores what it has seen. What it refuses as invalid is dropped and counted. At most
// `max_pending` are kept: the oldest make room and are counted if they were never sent, so an
// absent predictor costs bounded memory and never holds up sampling. Reconnects back off
// exponentially with jitter. Thread safety: thread-safe; Start and Stop from one thread.
class PredictorLink {
 public:
  struct Config {
    std::string address;  // for the link state; empty = no predictor
    size_t max_pending = 60;
    Backoff::Config backoff;
    // A connected predictor that owes an answer for longer counts as degraded.
    absl::Duration degraded_after = absl::Seconds(10);
  };
  struct Stats {
    int64_t sent = 0;
    int64_t acknowledged = 0;  // batches
    int64_t dropped = 0;       // never sent, or refused
    int64_t connects = 0;
  };
  using OnForecasts = std::function<void(const predictor::v1::ForecastBatch&)>;

  // `on_forecasts` runs on gRPC's threads, one call at a time, and must not block.
  PredictorLink(Config config, uint64_t seed, OnForecasts on_forecasts);
  ~PredictorLink();

  // `channel` may be null when no address is configured.
  void Start(std::shared_ptr<grpc::Channel> channel);
  // Ends the stream and the thread. Idempotent.
  void Stop();

  // Queues a batch and returns at once.
  void Push(predictor::v1::TelemetryBatch batch);

  [[nodiscard]] common::v1::LinkState state() const;
  [[nodiscard]] Stats stats() const;
  // Batches not yet acknowledged.
  [[nodiscard]] size_t pending_count() const;

 private:
  class Stream;
  struct Pending {
    int64_t sequence = 0;
    bool was_sent = false;
    predictor::v1::StreamTelemetryRequest request;
  };

  void Run(std::stop_token stop);
  absl::Status RunStream(predictor::v1::PredictorService::Stub& stub, std::stop_token stop);
  // For the stream: the next request to write, null when there is none; `has_more` tells whether
  // another one waits behind it.
  std::shared_ptr<Pending> NextToSend(bool& has_more);
  void TakeAnswer(const predictor::v1::StreamTelemetryResponse& response);

  const Config config_;
  const OnForecasts on_forecasts_;
  const std::unique_ptr<Clock> clock_;  // real time: this is about sockets, not about samples
  std::shared_ptr<grpc::Channel> channel_;
  Backoff backoff_;

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<std::shared_ptr<Pending>> pending_ ABSL_GUARDED_BY(mutex_);
  size_t next_ ABSL_GUARDED_BY(mutex_) = 0;  // index in pending_ of the next one to send
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t pumping_ ABSL_GUARDED_BY(mutex_) = 0;        // threads inside stream_->Pump
  bool has_answered_ ABSL_GUARDED_BY(mutex_) = false;  // on the present stream
  std::optional<MonoTime> last_answer_ ABSL_GUARDED_BY(mutex_);
  std::optional<MonoTime> owed_since_ ABSL_GUARDED_BY(mutex_);
  std::string last_error_ ABSL_GUARDED_BY(mutex_);
  Stats stats_ ABSL_GUARDED_BY(mutex_);

  std::jthread thread_;  // last: stops before the rest goes
};

}  // namespace cloudscale::monitor
