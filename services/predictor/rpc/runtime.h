#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cloudscale/predictor/v1/predictor.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "services/predictor/engine.h"
#include "services/predictor/rpc/checkpoint_store.h"

namespace cloudscale::predictor {

// Where the forecasts of one host go. No method blocks.
class ForecastSink {
 public:
  virtual ~ForecastSink() = default;
  virtual void SendForecasts(v1::ForecastBatch batch) = 0;
  // Tells the peer what was taken if that has not been done yet, or shows that the stream lives
  // when it has been silent for long.
  virtual void KeepAlive() = 0;
  // Ends the stream with this error.
  virtual void Close(const absl::Status& status) = 0;
};

// The engine with its threads: samples are taken in by whoever brings them, under a lock that is
// only ever held for microseconds; one thread forecasts what has become due, taking the lock just
// to fetch inputs and to store results, so telemetry never waits for a forecast; one thread writes
// checkpoints. A host whose forecasts fall behind gets the newest only.
// Thread safety: thread-safe but for Start and Stop, which are called from one thread.
class Runtime {
 public:
  struct Config {
    int64_t max_streams = 256;
    std::string state_path;  // empty: nothing is kept
    absl::Duration checkpoint_period = absl::Seconds(60);
  };

  Runtime(std::unique_ptr<PredictorEngine> engine, Config config, Clock& clock,
          MetricSink& metrics);
  ~Runtime() { Stop(); }

  // Restores the checkpoint and starts the threads. Errors as CheckpointStore::Open.
  absl::Status Start();
  // Ends the streams, writes a last checkpoint. Idempotent.
  void Stop();
  // OK once state is restored.
  [[nodiscard]] absl::Status Readiness() const;

  // From now on `sink` gets the host's forecasts; one that did so before is closed with ABORTED.
  // RESOURCE_EXHAUSTED with too many streams, UNAVAILABLE when stopping.
  absl::Status Attach(const std::string& host_id, std::shared_ptr<ForecastSink> sink);
  void Detach(const std::string& host_id, const ForecastSink* sink);

  // Errors as PredictorEngine::Ingest.
  absl::Status Ingest(const ObservationBatch& batch);
  void CountRefusedBatch();

  // Calls `use` with the engine, under its lock.
  template <typename Use>
  auto WithEngine(Use use) ABSL_LOCKS_EXCLUDED(engine_mutex_) {
    MutexLock lock(&engine_mutex_);
    return use(*engine_);
  }

  struct Statistics {
    int64_t stream_count = 0;
    int64_t refused_batch_count = 0;
    std::optional<absl::Time> checkpointed_at;
    absl::Time started_at;
    bool is_serving = false;
  };
  [[nodiscard]] Statistics statistics() const;
  [[nodiscard]] Clock& clock() const { return clock_; }
  [[nodiscard]] const PredictorOptions& options() const { return options_; }

 private:
  struct Stream {
    std::shared_ptr<ForecastSink> sink;
    bool is_due = false;
    int64_t sequence = 0;  // of the batch taken in last
  };
  absl::Status Restore(CheckpointStore& store);
  void ForecastLoop(std::stop_token stop);
  void ForecastHost(const std::string& host_id, Workspace& workspace, PredictorEngine::Due& due);
  void RequeueIfDue(const std::string& host_id);
  void KeepStreamsAlive();
  void CheckpointLoop(std::stop_token stop);
  void WriteCheckpoint();

  const Config config_;
  const PredictorOptions options_;
  Clock& clock_;
  MetricSink& metrics_;
  // Set by Start once all it holds is restored or copied aside, then the checkpoint thread's.
  std::unique_ptr<CheckpointStore> store_;

  mutable Mutex engine_mutex_;
  std::unique_ptr<PredictorEngine> engine_ ABSL_GUARDED_BY(engine_mutex_);

  // Never held together with the lock above.
  mutable Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> due_hosts_ ABSL_GUARDED_BY(mutex_);
  Statistics statistics_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;

  std::jthread checkpointer_;
  std::jthread forecaster_;
};

}  // namespace cloudscale::predictor
