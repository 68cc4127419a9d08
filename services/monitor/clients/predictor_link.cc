#include "services/monitor/clients/predictor_link.h"

#include <algorithm>
#include <utility>

#include "common/logging/log.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::monitor {

using predictor::v1::StreamTelemetryRequest;
using predictor::v1::StreamTelemetryResponse;

// One connection. Lives on the stack of RunStream until OnDone. Writes are started from here or
// from Push; both go through `Pump`, which keeps one write under way.
class PredictorLink::Stream final
    : public grpc::ClientBidiReactor<StreamTelemetryRequest, StreamTelemetryResponse> {
 public:
  Stream(PredictorLink& link, predictor::v1::PredictorService::Stub& stub) : link_(link) {
    // Fails at once when nobody listens, so that the reason is known and our own backoff rules.
    stub.async()->StreamTelemetry(&context_, this);
    // Held for writes that Push starts from outside of the reactions; released when reading ends.
    AddHold();
    StartRead(&response_);
    StartCall();
  }

  // Starts the next write unless one is under way.
  void Pump() {
    MutexLock lock(&mutex_);
    if (is_writing_ || !is_open_) {
      return;
    }
    bool has_more = false;
    current_ = link_.NextToSend(has_more);
    if (current_ != nullptr) {
      is_writing_ = true;
      grpc::WriteOptions options;
      // While catching up, several batches may share a packet.
      if (has_more) {
        options.set_buffer_hint();
      }
      StartWrite(&current_->request, options);
    }
  }

  void Cancel() { context_.TryCancel(); }

  // Waits for the end of the stream; cancels it when `stop` is requested.
  absl::Status Wait(std::stop_token stop) {
    MutexLock lock(&mutex_);
    while (!done_.has_value()) {
      if (!changed_.Wait(&mutex_, stop)) {
        Cancel();
        while (!done_.has_value()) {
          changed_.Wait(&mutex_, std::stop_token());
        }
      }
    }
    return rpc::FromGrpcStatus(*done_);
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mutex_);
      is_writing_ = false;
      current_.reset();
      is_open_ = is_open_ && ok;
    }
    Pump();
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      link_.TakeAnswer(response_);
      StartRead(&response_);
      return;
    }
    {
      MutexLock lock(&mutex_);
      is_open_ = false;
    }
    RemoveHold();
  }

  void OnDone(const grpc::Status& status) override {
    MutexLock lock(&mutex_);
    done_ = status;
    changed_.NotifyAll();
  }

 private:
  PredictorLink& link_;
  grpc::ClientContext context_;
  StreamTelemetryResponse response_;
  Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<Pending> current_ ABSL_GUARDED_BY(mutex_);
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool is_open_ ABSL_GUARDED_BY(mutex_) = true;
  std::optional<grpc::Status> done_ ABSL_GUARDED_BY(mutex_);
};

PredictorLink::PredictorLink(Config config, uint64_t seed, OnForecasts on_forecasts)
    : config_(std::move(config)),
      on_forecasts_(std::move(on_forecasts)),
      clock_(MakeRealClock()),
      backoff_(Rng(seed).Fork("predictor_link"), config_.backoff) {}

PredictorLink::~PredictorLink() { Stop(); }

void PredictorLink::Start(std::shared_ptr<grpc::Channel> channel) {
  channel_ = std::move(channel);
  if (!config_.address.empty() && channel_ != nullptr) {
    thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
  }
}

void PredictorLink::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

void PredictorLink::Push(predictor::v1::TelemetryBatch batch) {
  if (config_.address.empty()) {
    return;
  }
  auto pending = std::make_shared<Pending>();
  pending->sequence = batch.header().sequence();
  *pending->request.mutable_batch() = std::move(batch);
  Stream* stream = nullptr;
  {
    MutexLock lock(&mutex_);
    if (pending_.size() >= config_.max_pending) {
      stats_.dropped += pending_.front()->was_sent ? 0 : 1;
      pending_.pop_front();
      next_ -= next_ > 0 ? 1 : 0;
    }
    pending_.push_back(std::move(pending));
    stream = stream_;
    pumping_ += stream != nullptr ? 1 : 0;
  }
  if (stream == nullptr) {
    return;
  }
  // Without the link's lock, because the stream takes it from below its own. The stream cannot go
  // away meanwhile: RunStream clears `stream_` and then waits for `pumping_`.
  stream->Pump();
  MutexLock lock(&mutex_);
  if (--pumping_ == 0) {
    changed_.NotifyAll();
  }
}

std::shared_ptr<PredictorLink::Pending> PredictorLink::NextToSend(bool& has_more) {
  MutexLock lock(&mutex_);
  if (next_ >= pending_.size()) {
    return nullptr;
  }
  std::shared_ptr<Pending> next = pending_[next_++];
  has_more = next_ < pending_.size();
  stats_.sent += 1;
  next->was_sent = true;
  if (!owed_since_.has_value()) {
    owed_since_ = clock_->MonoNow();
  }
  return next;
}

void PredictorLink::TakeAnswer(const StreamTelemetryResponse& response) {
  bool is_first = false;
  {
    MutexLock lock(&mutex_);
    last_answer_ = clock_->MonoNow();
    is_first = !has_answered_;
    has_answered_ = true;
    last_error_.clear();
    backoff_.Reset();
    if (!response.is_heartbeat()) {
      const int64_t acknowledged = response.batch().acknowledged_sequence();
      while (next_ > 0 && pending_.front()->sequence <= acknowledged) {
        pending_.pop_front();
        --next_;
        ++stats_.acknowledged;
      }
      owed_since_.reset();
      if (next_ > 0) {
        owed_since_ = last_answer_;
      }
    }
  }
  if (is_first) {
    LogLine(LogLevel::kInfo, "predictor_connected").Field("address", config_.address);
  }
  if (!response.is_heartbeat()) {
    on_forecasts_(response.batch());
  }
}

absl::Status PredictorLink::RunStream(predictor::v1::PredictorService::Stub& stub,
                                      std::stop_token stop) {
  {
    // What was sent on the stream before but not acknowledged may be lost.
    MutexLock lock(&mutex_);
    next_ = 0;
    has_answered_ = false;
    owed_since_.reset();
    ++stats_.connects;
  }
  Stream stream(*this, stub);
  {
    MutexLock lock(&mutex_);
    stream_ = &stream;
  }
  stream.Pump();
  absl::Status status = stream.Wait(std::move(stop));
  MutexLock lock(&mutex_);
  stream_ = nullptr;
  while (pumping_ > 0) {
    changed_.Wait(&mutex_, std::stop_token());
  }
  if (absl::IsInvalidArgument(status)) {
    // It will not like them better the next time.
    stats_.dropped += static_cast<int64_t>(next_);
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(next_));
    next_ = 0;
  }
  for (const auto& pending : pending_) {
    // A stream that never answered took nothing.
    pending->was_sent = pending->was_sent && has_answered_;
  }
  has_answered_ = false;
  last_error_ = status.ok() ? "the predictor ended the stream" : status.ToString();
  return status;
}

void PredictorLink::Run(std::stop_token stop) {
  const auto stub = predictor::v1::PredictorService::NewStub(channel_);
  while (!stop.stop_requested()) {
    const absl::Status status = RunStream(*stub, stop);
    if (stop.stop_requested()) {
      return;
    }
    absl::Duration delay;
    {
      MutexLock lock(&mutex_);
      delay = backoff_.NextDelay();
    }
    LogLine(LogLevel::kWarning, "predictor_lost")
        .Field("address", config_.address)
        .Field("error", status)
        .Field("retry_in", absl::FormatDuration(delay));
    clock_->SleepUntil(clock_->MonoNow() + delay, stop);
  }
}

common::v1::LinkState PredictorLink::state() const {
  common::v1::LinkState state;
  state.set_peer("predictor");
  state.set_address(config_.address);
  MutexLock lock(&mutex_);
  const MonoTime now = clock_->MonoNow();
  if (config_.address.empty()) {
    state.set_health(common::v1::LINK_HEALTH_OFF);
    return state;
  }
  if (last_answer_.has_value()) {
    *state.mutable_last_answer_age() = rpc::ToProto(now - *last_answer_);
  }
  if (!has_answered_) {
    state.set_health(common::v1::LINK_HEALTH_CONNECTING);
    state.set_detail(last_error_.empty() ? "no answer yet" : last_error_);
  } else if (owed_since_.has_value() && now - *owed_since_ > config_.degraded_after) {
    state.set_health(common::v1::LINK_HEALTH_DEGRADED);
    state.set_detail("answers are late");
  } else {
    state.set_health(common::v1::LINK_HEALTH_UP);
  }
  return state;
}

PredictorLink::Stats PredictorLink::stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

size_t PredictorLink::pending_count() const {
  MutexLock lock(&mutex_);
  return pending_.size();
}

}  // namespace cloudscale::monitor
