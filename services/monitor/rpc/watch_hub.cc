#include "services/monitor/rpc/watch_hub.h"

namespace cloudscale::monitor {

void WatchHub::Publish(std::shared_ptr<const v1::ObservationBatch> batch) {
  MutexLock lock(&mutex_);
  const Published message{.sequence = ++last_sequence_, .batch = std::move(batch)};
  recent_.push_back(message);
  if (recent_.size() > kept_) {
    recent_.pop_front();
  }
  for (WatchSink* sink : sinks_) {
    sink->Deliver(message);
  }
}

void WatchHub::Beat(MonoTime now) {
  MutexLock lock(&mutex_);
  for (WatchSink* sink : sinks_) {
    sink->Beat(now, last_sequence_);
  }
}

void WatchHub::Open(WatchSink* sink, std::optional<int64_t> resume_from,
                    const std::function<void(int64_t)>& set_expected) {
  MutexLock lock(&mutex_);
  if (closed_.has_value()) {
    sink->Close(*closed_);
    return;
  }
  // A number from the future is one of a server before this one: nothing is known of what the
  // reader missed then, so it starts anew.
  const bool resumes = resume_from.has_value() && *resume_from <= last_sequence_ + 1;
  const int64_t last_seen = resumes ? *resume_from - 1 : last_sequence_;
  set_expected(last_seen);
  sinks_.insert(sink);
  for (const Published& message : recent_) {
    if (message.sequence > last_seen) {
      sink->Deliver(message);
    }
  }
}

void WatchHub::Remove(WatchSink* sink) {
  MutexLock lock(&mutex_);
  sinks_.erase(sink);
}

void WatchHub::CloseAll(const grpc::Status& status) {
  MutexLock lock(&mutex_);
  closed_ = status;
  for (WatchSink* sink : sinks_) {
    sink->Close(status);
  }
}

size_t WatchHub::size() const {
  MutexLock lock(&mutex_);
  return sinks_.size();
}

}  // namespace cloudscale::monitor
