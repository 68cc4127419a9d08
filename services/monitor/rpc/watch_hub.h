#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/time/time.h"
#include "cloudscale/monitor/v1/monitor.pb.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/support/server_callback.h"

namespace cloudscale::monitor {

// One published message: shared by all readers, numbered from 1 at each start of the server.
struct Published {
  int64_t sequence = 0;
  std::shared_ptr<const v1::ObservationBatch> batch;
};

// A reader of the hub, as the hub sees it. All methods are called with the hub's lock held, must
// not block and must not call the hub.
class WatchSink {
 public:
  virtual ~WatchSink() = default;
  virtual void Deliver(const Published& message) = 0;
  // Shows that the stream lives when nothing was delivered for the reader's heartbeat period.
  virtual void Beat(MonoTime now, int64_t last_sequence) = 0;
  virtual void Close(const grpc::Status& status) = 0;
};

// Hands every published batch to all open streams and keeps the newest few for readers that
// resume. Never blocks on a reader. Thread safety: thread-safe.
class WatchHub {
 public:
  // `kept` batches are kept for `resume_from`.
  explicit WatchHub(size_t kept) : kept_(kept) {}

  void Publish(std::shared_ptr<const v1::ObservationBatch> batch);
  void Beat(MonoTime now);

  // Adds a reader. With `resume_from` it first gets what is still kept from there on. Returns the
  // sequence before the first one that the reader will count as expected; `set_expected` is called
  // with it before anything is delivered. A hub that is closed closes the reader at once.
  void Open(WatchSink* sink, std::optional<int64_t> resume_from,
            const std::function<void(int64_t last_seen)>& set_expected);
  // After it returns the hub never touches `sink` again.
  void Remove(WatchSink* sink);

  // Ends all streams and refuses new ones.
  void CloseAll(const grpc::Status& status);

  [[nodiscard]] size_t size() const;

 private:
  const size_t kept_;
  mutable Mutex mutex_;
  std::deque<Published> recent_ ABSL_GUARDED_BY(mutex_);
  std::set<WatchSink*> sinks_ ABSL_GUARDED_BY(mutex_);
  int64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<grpc::Status> closed_ ABSL_GUARDED_BY(mutex_);
};

// One open Watch… stream. The queue holds references to shared batches, and what a reader lost is
// read off the gap in their sequence when the next one is written. `new` it; it deletes itself.
template <typename Response>
class WatchReactor final : public grpc::ServerWriteReactor<Response>, public WatchSink {
 public:
  using Fill = std::function<void(const v1::ObservationBatch& batch, Response* out)>;
  // Told of messages that the reader lost and of the end of the stream.
  struct Events {
    std::function<void(int64_t lost)> on_dropped;
    std::function<void()> on_closed;
  };

  WatchReactor(std::shared_ptr<WatchHub> hub, size_t capacity, absl::Duration heartbeat_period,
               Fill fill, Events events)
      : hub_(std::move(hub)),
        capacity_(capacity),
        heartbeat_period_(heartbeat_period),
        fill_(std::move(fill)),
        events_(std::move(events)) {}

  void Start(std::optional<int64_t> resume_from) {
    // Without it a client waits for the first batch to learn that the call was taken.
    this->StartSendInitialMetadata();
    hub_->Open(this, resume_from, [this](int64_t last_seen) {
      MutexLock lock(&mutex_);
      last_written_ = last_seen;
    });
  }

  void Deliver(const Published& message) override {
    MutexLock lock(&mutex_);
    if (finish_status_.has_value()) {
      return;
    }
    if (queue_.size() >= capacity_) {
      queue_.pop_front();
    }
    queue_.push_back(message);
    WriteNext();
  }

  void Beat(MonoTime now, int64_t last_sequence) override {
    MutexLock lock(&mutex_);
    if (!last_write_.has_value()) {
      last_write_ = now;
    }
    if (has_written_) {
      last_write_ = now;
      has_written_ = false;
    }
    if (finish_status_.has_value() || is_writing_ || !queue_.empty() ||
        now - *last_write_ < heartbeat_period_) {
      return;
    }
    response_.Clear();
    response_.set_sequence(last_sequence);
    response_.set_is_heartbeat(true);
    is_writing_ = true;
    has_written_ = true;
    this->StartWrite(&response_);
  }

  void Close(const grpc::Status& status) override {
    MutexLock lock(&mutex_);
    FinishWith(status);
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    is_writing_ = false;
    if (!ok) {
      FinishWith(grpc::Status(grpc::StatusCode::CANCELLED, "reader went away"));
    }
    WriteNext();
  }

  void OnCancel() override {
    MutexLock lock(&mutex_);
    FinishWith(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

  void OnDone() override {
    hub_->Remove(this);
    if (events_.on_closed) {
      events_.on_closed();
    }
    delete this;
  }

 private:
  ~WatchReactor() override = default;

  void FinishWith(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!finish_status_.has_value()) {
      finish_status_ = status;
      queue_.clear();
    }
    WriteNext();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (is_writing_ || is_finished_) {
      return;
    }
    if (finish_status_.has_value()) {
      is_finished_ = true;
      this->Finish(*finish_status_);
      return;
    }
    if (queue_.empty()) {
      return;
    }
    const Published message = std::move(queue_.front());
    queue_.pop_front();
    const int64_t lost = std::max<int64_t>(0, message.sequence - last_written_ - 1);
    last_written_ = message.sequence;
    response_.Clear();
    fill_(*message.batch, &response_);
    response_.set_sequence(message.sequence);
    response_.set_dropped_count(lost);
    if (lost > 0 && events_.on_dropped) {
      events_.on_dropped(lost);
    }
    is_writing_ = true;
    has_written_ = true;
    this->StartWrite(&response_);
  }

  const std::shared_ptr<WatchHub> hub_;
  const size_t capacity_;
  const absl::Duration heartbeat_period_;
  const Fill fill_;
  const Events events_;
  Mutex mutex_;
  std::deque<Published> queue_ ABSL_GUARDED_BY(mutex_);
  Response response_;
  int64_t last_written_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_written_ ABSL_GUARDED_BY(mutex_) = false;  // since the last Beat
  bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<MonoTime> last_write_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Status> finish_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cloudscale::monitor
