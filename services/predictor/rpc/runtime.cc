#include "services/predictor/rpc/runtime.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/status/macros.h"
#include "services/predictor/rpc/convert.h"
#include "services/predictor/state_codec.h"

namespace cloudscale::predictor {
namespace {

// Real time between looks at silent streams.
constexpr absl::Duration kKeepAlivePeriod = absl::Milliseconds(200);
// Series copied per hold of the engine's lock.
constexpr int kCheckpointChunk = 16;
// However fast a replay's clock runs, the disk is not asked more often than this (real time).
constexpr absl::Duration kMinCheckpointPeriod = absl::Seconds(1);

}  // namespace

Runtime::Runtime(std::unique_ptr<PredictorEngine> engine, Config config, Clock& clock,
                 MetricSink& metrics)
    : config_(std::move(config)),
      options_(engine->options()),
      clock_(clock),
      metrics_(metrics),
      engine_(std::move(engine)) {
  statistics_.started_at = clock.WallNow();
}

absl::Status Runtime::Start() {
  if (!config_.state_path.empty()) {
    CS_ASSIGN_OR_RETURN(auto store, CheckpointStore::Open(config_.state_path, clock_.WallNow()));
    CS_RETURN_IF_ERROR(Restore(*store));
    // Only now: a checkpoint deletes what was not restored.
    store_ = std::move(store);
    checkpointer_ = std::jthread([this](std::stop_token stop) { CheckpointLoop(stop); });
  }
  forecaster_ = std::jthread([this](std::stop_token stop) { ForecastLoop(stop); });
  MutexLock lock(&mutex_);
  statistics_.is_serving = true;
  return absl::OkStatus();
}

absl::Status Runtime::Restore(CheckpointStore& store) {
  CS_ASSIGN_OR_RETURN(const std::vector<SavedSeries> all, store.Load(clock_.WallNow()));
  int64_t restored = 0;
  int64_t refused = 0;
  for (const SavedSeries& saved : all) {
    absl::Status status;
    if (auto state = DecodeState(saved.state); state.ok()) {
      MutexLock lock(&engine_mutex_);
      status = engine_->Import(saved.id, *state, /*apply=*/true).status();
    } else {
      status = state.status();
    }
    if (status.ok()) {
      ++restored;
      continue;
    }
    if (++refused == 1) {
      LogLine(LogLevel::kError, "series_state_unusable")
          .Field("vm", saved.id.vm_uuid)
          .Field("host", saved.id.host_id)
          .Field("status", status);
    }
  }
  if (refused > 0) {
    CS_RETURN_IF_ERROR(store.KeepCopy(clock_.WallNow()));
  }
  LogLine(LogLevel::kInfo, "predictor_state_restored")
      .Field("path", config_.state_path)
      .Field("series", restored)
      .Field("cold_instead", refused);
  return absl::OkStatus();
}

void Runtime::Stop() {
  std::map<std::string, Stream> streams;
  {
    MutexLock lock(&mutex_);
    if (is_stopping_) {
      return;
    }
    is_stopping_ = true;
    statistics_.is_serving = false;
    streams.swap(streams_);
  }
  for (auto& [host_id, stream] : streams) {
    stream.sink->Close(absl::UnavailableError("the predictor is stopping"));
  }
  for (std::jthread* thread : {&forecaster_, &checkpointer_}) {
    if (thread->joinable()) {
      thread->request_stop();
      thread->join();
    }
  }
  if (store_ != nullptr) {
    WriteCheckpoint();
  }
}

absl::Status Runtime::Readiness() const {
  MutexLock lock(&mutex_);
  return statistics_.is_serving
             ? absl::OkStatus()
             : absl::UnavailableError(is_stopping_ ? "stopping" : "state is not restored yet");
}

Runtime::Statistics Runtime::statistics() const {
  MutexLock lock(&mutex_);
  Statistics result = statistics_;
  result.stream_count = static_cast<int64_t>(streams_.size());
  return result;
}

absl::Status Runtime::Attach(const std::string& host_id, std::shared_ptr<ForecastSink> sink) {
  std::shared_ptr<ForecastSink> before;
  {
    MutexLock lock(&mutex_);
    if (is_stopping_) {
      return absl::UnavailableError("the predictor is stopping");
    }
    const auto it = streams_.find(host_id);
    if (it == streams_.end() && static_cast<int64_t>(streams_.size()) >= config_.max_streams) {
      return absl::ResourceExhaustedError(absl::StrCat("host ", host_id, ": ", streams_.size(),
                                                       " hosts are connected, which is the limit"));
    }
    Stream& stream = streams_[host_id];
    before = std::exchange(stream.sink, std::move(sink));
  }
  if (before != nullptr) {
    before->Close(
        absl::AbortedError(absl::StrCat("another stream for host ", host_id, " took over")));
  }
  return absl::OkStatus();
}

void Runtime::Detach(const std::string& host_id, const ForecastSink* sink) {
  MutexLock lock(&mutex_);
  const auto it = streams_.find(host_id);
  if (it != streams_.end() && it->second.sink.get() == sink) {
    streams_.erase(it);
  }
}

absl::Status Runtime::Ingest(const ObservationBatch& batch) {
  const MonoTime received_at = clock_.MonoNow();
  PredictorEngine::IngestResult result;
  {
    MutexLock lock(&engine_mutex_);
    CS_ASSIGN_OR_RETURN(result, engine_->Ingest(batch, received_at));
  }
  if (result.is_repeated) {
    metrics_.Count("cloudscale_predictor_repeated_batches_total", {}, 1);
  }
  if (result.refused_vm_count > 0) {
    metrics_.Count("cloudscale_predictor_refused_vm_samples_total", {},
                   static_cast<double>(result.refused_vm_count));
  }
  if (!result.has_due) {
    return absl::OkStatus();
  }
  {
    MutexLock lock(&mutex_);
    const auto it = streams_.find(std::string(batch.host_id));
    if (it == streams_.end()) {
      return absl::OkStatus();
    }
    it->second.sequence = batch.sequence;
    if (it->second.is_due) {
      return absl::OkStatus();  // the round that is waiting will see this batch too
    }
    it->second.is_due = true;
    due_hosts_.push_back(it->first);
  }
  changed_.NotifyOne();
  return absl::OkStatus();
}

void Runtime::CountRefusedBatch() {
  metrics_.Count("cloudscale_predictor_refused_batches_total", {}, 1);
  MutexLock lock(&mutex_);
  ++statistics_.refused_batch_count;
}

void Runtime::ForecastLoop(std::stop_token stop) {
  Workspace workspace(options_.parameters);
  PredictorEngine::Due due;
  while (!stop.stop_requested()) {
    std::string host_id;
    {
      MutexLock lock(&mutex_);
      if (due_hosts_.empty()) {
        changed_.WaitFor(&mutex_, kKeepAlivePeriod, stop);
      }
      if (!due_hosts_.empty()) {
        host_id = std::move(due_hosts_.front());
        due_hosts_.pop_front();
        const auto it = streams_.find(host_id);
        if (it != streams_.end()) {
          it->second.is_due = false;
        }
      }
    }
    if (!host_id.empty()) {
      ForecastHost(host_id, workspace, due);
    }
    KeepStreamsAlive();
  }
}

void Runtime::ForecastHost(const std::string& host_id, Workspace& workspace,
                           PredictorEngine::Due& due) {
  const MonoTime start = clock_.MonoNow();
  v1::ForecastBatch batch;
  int64_t count = 0;
  std::optional<PublishedForecast> forecast;
  const auto add = [&] {
    if (forecast) {
      ToProto(options_, *forecast,
              forecast->id.vm_uuid.empty() ? batch.add_host_forecasts() : batch.add_forecasts());
      ++count;
    }
    if (forecast && forecast->is_promotion) {
      metrics_.Count("cloudscale_predictor_promotions_total", {}, 1);
      LogLine(LogLevel::kInfo, "model_promoted")
          .Field("vm", forecast->id.vm_uuid)
          .Field("host", forecast->id.host_id)
          .Field("resource", forecast->id.resource == Resource::kCpu ? "cpu" : "memory")
          .Field("model", forecast->forecast.model->name());
    }
  };
  // What becomes due meanwhile waits for the next round, so that the answer is bounded in size and
  // time even where steps end faster than they are forecast.
  size_t left = 0;
  bool has_next = WithEngine([&](PredictorEngine& engine) {
    left = engine.due_count(host_id);
    return left > 0 && engine.NextDue(host_id, due);
  });
  while (has_next) {
    ComputeForecast(options_, workspace, due.job);
    const absl::Time now = clock_.WallNow();
    --left;
    {
      MutexLock lock(&engine_mutex_);
      forecast = engine_->Commit(due, now);
      has_next = left > 0 && engine_->NextDue(host_id, due);
    }
    add();
  }
  due.series.reset();
  RequeueIfDue(host_id);
  if (count == 0) {
    return;
  }
  std::shared_ptr<ForecastSink> sink;
  {
    MutexLock lock(&mutex_);
    const auto it = streams_.find(host_id);
    if (it != streams_.end()) {
      sink = it->second.sink;
      batch.set_acknowledged_sequence(it->second.sequence);
    }
  }
  if (sink != nullptr) {
    sink->SendForecasts(std::move(batch));
  }
  metrics_.Count("cloudscale_predictor_forecasts_total", {}, static_cast<double>(count));
  metrics_.ObserveSeconds("cloudscale_predictor_forecast_round_seconds", {},
                          absl::ToDoubleSeconds((clock_.MonoNow() - start) / clock_.speed()));
}

void Runtime::RequeueIfDue(const std::string& host_id) {
  if (WithEngine([&](PredictorEngine& engine) { return engine.due_count(host_id); }) == 0) {
    return;
  }
  MutexLock lock(&mutex_);
  const auto it = streams_.find(host_id);
  if (it != streams_.end() && !it->second.is_due) {
    it->second.is_due = true;
    due_hosts_.push_back(host_id);
  }
}

void Runtime::KeepStreamsAlive() {
  std::vector<std::shared_ptr<ForecastSink>> sinks;
  {
    MutexLock lock(&mutex_);
    for (const auto& [host_id, stream] : streams_) {
      sinks.push_back(stream.sink);
    }
  }
  for (const auto& sink : sinks) {
    sink->KeepAlive();
  }
}

void Runtime::CheckpointLoop(std::stop_token stop) {
  const absl::Duration period =
      std::max(config_.checkpoint_period, kMinCheckpointPeriod * clock_.speed());
  while (clock_.SleepUntil(clock_.MonoNow() + period, stop)) {
    WriteCheckpoint();
  }
}

void Runtime::WriteCheckpoint() {
  std::vector<SavedSeries> all;
  PredictorEngine::Position position;
  bool has_more = true;
  while (has_more) {
    std::vector<std::pair<SeriesId, SeriesState>> chunk;
    {
      MutexLock lock(&engine_mutex_);
      has_more = false;
      engine_->Visit(position, [&](const Series& series) {
        if (chunk.size() >= kCheckpointChunk) {
          has_more = true;
          return false;
        }
        chunk.emplace_back(series.id(), series.ToState());
        return true;
      });
    }
    for (auto& [id, state] : chunk) {
      position = PositionOf(id);
      all.push_back({std::move(id), EncodeState(state)});
    }
  }
  const absl::Time now = clock_.WallNow();
  const absl::Status status = store_->Save(all, now);
  if (!status.ok()) {
    LogLine(LogLevel::kWarning, "checkpoint_failed")
        .Field("path", config_.state_path)
        .Field("status", status);
    metrics_.Count("cloudscale_predictor_checkpoint_failures_total", {}, 1);
    return;
  }
  metrics_.Set("cloudscale_predictor_series", {}, static_cast<double>(all.size()));
  MutexLock lock(&mutex_);
  statistics_.checkpointed_at = now;
}

}  // namespace cloudscale::predictor
