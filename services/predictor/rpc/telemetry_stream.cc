#include "services/predictor/rpc/telemetry_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/status_conversion.h"
#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::predictor {

grpc::ServerBidiReactor<v1::StreamTelemetryRequest, v1::StreamTelemetryResponse>*
TelemetryStream::Create(Runtime* runtime) {
  std::shared_ptr<TelemetryStream> stream(new TelemetryStream(runtime));
  stream->self_ = stream;
  stream->StartRead(&stream->request_);
  return stream.get();
}

TelemetryStream::TelemetryStream(Runtime* runtime)
    : runtime_(runtime), real_clock_(MakeRealClock()), last_write_(real_clock_->MonoNow()) {}

absl::Status TelemetryStream::TakeIn() {
  CS_ASSIGN_OR_RETURN(const ObservationBatch batch, reader_.Read(request_.batch()));
  if (host_id_.empty()) {
    CS_RETURN_IF_ERROR(runtime_->Attach(std::string(batch.host_id), shared_from_this()));
    host_id_ = std::string(batch.host_id);
  } else if (batch.host_id != host_id_) {
    Violations violations;
    violations.Add("batch.header.host_id", batch.host_id,
                   absl::StrCat("'", host_id_, "' on all of one stream"));
    return violations.ToStatus();
  }
  return runtime_->Ingest(batch);
}

void TelemetryStream::OnReadDone(bool ok) {
  if (!ok) {
    // The peer has nothing more to say; what waits for it is still sent.
    MutexLock lock(&mutex_);
    if (!end_.has_value()) {
      end_ = absl::OkStatus();
      if (unacknowledged_ > 0) {
        queue_.emplace_back();
      }
    }
    WriteNext();
    return;
  }
  const absl::Status status = TakeIn();
  if (!status.ok()) {
    runtime_->CountRefusedBatch();
  }
  MutexLock lock(&mutex_);
  if (!status.ok()) {
    FinishLocked(status);
    return;
  }
  if (end_.has_value()) {
    return;
  }
  taken_sequence_ = request_.batch().header().sequence();
  if (++unacknowledged_ >= kAcknowledgeEvery && queue_.empty()) {
    queue_.emplace_back();  // its sequence is filled in when it is written
    WriteNext();
  }
  StartRead(&request_);
}

void TelemetryStream::SendForecasts(v1::ForecastBatch batch) {
  MutexLock lock(&mutex_);
  if (end_.has_value()) {
    return;
  }
  if (queue_.size() >= kMaxQueued) {
    queue_.pop_front();
  }
  *queue_.emplace_back().mutable_batch() = std::move(batch);
  WriteNext();
}

void TelemetryStream::KeepAlive() {
  MutexLock lock(&mutex_);
  if (end_.has_value() || is_writing_ || !queue_.empty()) {
    return;
  }
  if (unacknowledged_ > 0) {
    queue_.emplace_back();
  } else if (real_clock_->MonoNow() - last_write_ >= kHeartbeatAfter) {
    queue_.emplace_back().set_is_heartbeat(true);
  }
  WriteNext();
}

void TelemetryStream::Close(const absl::Status& status) {
  MutexLock lock(&mutex_);
  FinishLocked(status);
}

void TelemetryStream::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  is_writing_ = false;
  if (!ok) {
    FinishLocked(absl::CancelledError("the reader went away"));
  }
  WriteNext();
}

void TelemetryStream::OnCancel() {
  MutexLock lock(&mutex_);
  FinishLocked(absl::CancelledError("cancelled"));
}

void TelemetryStream::OnDone() {
  if (!host_id_.empty()) {
    runtime_->Detach(host_id_, this);
  }
  self_.reset();  // may delete this
}

void TelemetryStream::FinishLocked(const absl::Status& status) {
  end_ = end_.value_or(status);
  queue_.clear();
  WriteNext();
}

void TelemetryStream::WriteNext() {
  if (is_writing_ || is_finished_) {
    return;
  }
  if (queue_.empty()) {
    if (end_.has_value()) {
      is_finished_ = true;
      Finish(rpc::ToGrpcStatus(*end_));
    }
    return;
  }
  writing_ = std::move(queue_.front());
  queue_.pop_front();
  if (!writing_.is_heartbeat()) {
    writing_.mutable_batch()->set_acknowledged_sequence(taken_sequence_);
    unacknowledged_ = 0;
  }
  is_writing_ = true;
  last_write_ = real_clock_->MonoNow();
  StartWrite(&writing_);
}

}  // namespace cloudscale::predictor
