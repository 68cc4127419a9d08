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
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/support/server_callback.h"

namespace cloudscale::rpc {

// Fans messages out to the readers of a Watch… stream. `Response` has the fields sequence,
// is_heartbeat and dropped_count. Messages are numbered over all readers, so a reader that filters
// sees gaps; what it really lost is in dropped_count. The newest `kept` messages are held for
// readers that resume. A slow reader loses its oldest messages beyond `queue_length`.
// Thread safety: thread-safe; no method waits for a reader. Made by `Create`, and kept alive by its
// streams.
template <typename Response>
class WatchHub : public std::enable_shared_from_this<WatchHub<Response>> {
 public:
  // What a reader gets of a message; nullopt: nothing.
  using Select = std::function<std::optional<Response>(const Response&)>;

  struct Options {
    size_t kept = 256;
    size_t queue_length = 64;
  };
  static std::shared_ptr<WatchHub> Create(Options options) {
    return std::shared_ptr<WatchHub>(new WatchHub(options));
  }

  // A new stream, to be returned from the handler. It ends itself when the reader goes away, and
  // with UNAVAILABLE at `Close`.
  grpc::ServerWriteReactor<Response>* Open(std::optional<int64_t> resume_from,
                                           absl::Duration heartbeat_period, Select select) {
    auto* stream = new Stream(this->shared_from_this(), options_.queue_length, heartbeat_period,
                              std::move(select));
    bool is_closed = false;
    {
      MutexLock lock(&mutex_);
      is_closed = is_closed_;
      streams_.insert(stream);
      const int64_t first_kept = last_sequence_ - static_cast<int64_t>(recent_.size()) + 1;
      if (resume_from.has_value() && *resume_from < first_kept) {
        stream->NoteLost(first_kept - std::max<int64_t>(*resume_from, 1));
      }
      for (const auto& message : recent_) {
        if (resume_from.has_value() && message->sequence() >= *resume_from) {
          stream->Deliver(*message);
        }
      }
    }
    stream->Begin();
    if (is_closed) {
      stream->End();
    }
    return stream;
  }

  void Publish(Response message) {
    MutexLock lock(&mutex_);
    message.set_sequence(++last_sequence_);
    recent_.push_back(std::make_shared<const Response>(std::move(message)));
    while (recent_.size() > options_.kept) {
      recent_.pop_front();
    }
    for (Stream* stream : streams_) {
      stream->Deliver(*recent_.back());
    }
  }

  // To be called a few times a second: sends the heartbeats that are due.
  void Beat(MonoTime now) {
    MutexLock lock(&mutex_);
    for (Stream* stream : streams_) {
      stream->Beat(now, last_sequence_);
    }
  }

  // Ends all streams and refuses new ones. Idempotent.
  void Close() {
    MutexLock lock(&mutex_);
    is_closed_ = true;
    for (Stream* stream : streams_) {
      stream->End();
    }
  }

  [[nodiscard]] size_t size() const {
    MutexLock lock(&mutex_);
    return streams_.size();
  }

 private:
  class Stream final : public grpc::ServerWriteReactor<Response> {
   public:
    Stream(std::shared_ptr<WatchHub> hub, size_t queue_length, absl::Duration heartbeat_period,
           Select select)
        : hub_(std::move(hub)),
          queue_length_(queue_length),
          heartbeat_period_(heartbeat_period),
          select_(std::move(select)) {}

    // Shows the reader that the call was taken.
    void Begin() {
      MutexLock lock(&mutex_);
      if (!has_written_ && !is_writing_) {
        this->StartSendInitialMetadata();
      }
    }

    void NoteLost(int64_t count) {
      MutexLock lock(&mutex_);
      lost_ += count;
    }

    void Deliver(const Response& message) {
      MutexLock lock(&mutex_);
      if (is_ending_) {
        return;
      }
      std::optional<Response> selected = select_(message);
      if (!selected.has_value()) {
        return;
      }
      if (queue_.size() >= queue_length_) {
        queue_.pop_front();
        ++lost_;
      }
      queue_.push_back(*std::move(selected));
      WriteNext();
    }

    void Beat(MonoTime now, int64_t last_sequence) {
      MutexLock lock(&mutex_);
      if (has_written_ || !last_write_.has_value()) {
        last_write_ = now;
        has_written_ = false;
      }
      if (is_ending_ || is_writing_ || now - *last_write_ < heartbeat_period_) {
        return;
      }
      Response beat;
      beat.set_sequence(last_sequence);
      beat.set_is_heartbeat(true);
      queue_.push_back(std::move(beat));
      WriteNext();
    }

    void End() {
      MutexLock lock(&mutex_);
      EndWith(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the service is stopping"));
    }

    void OnWriteDone(bool ok) override {
      MutexLock lock(&mutex_);
      is_writing_ = false;
      if (!ok) {
        EndWith(grpc::Status(grpc::StatusCode::CANCELLED, "the reader went away"));
      } else {
        WriteNext();
      }
    }

    void OnCancel() override {
      MutexLock lock(&mutex_);
      EndWith(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
    }

    void OnDone() override {
      hub_->Remove(this);
      delete this;
    }

   private:
    ~Stream() override = default;

    void EndWith(grpc::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      if (!is_ending_) {
        is_ending_ = true;
        status_ = std::move(status);
        queue_.clear();
      }
      WriteNext();
    }

    void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      if (is_writing_ || is_finished_) {
        return;
      }
      if (is_ending_) {
        is_finished_ = true;
        this->Finish(status_);
      } else if (!queue_.empty()) {
        current_ = std::move(queue_.front());
        queue_.pop_front();
        current_.set_dropped_count(std::exchange(lost_, 0));
        is_writing_ = true;
        has_written_ = true;
        this->StartWrite(&current_);
      }
    }

    const std::shared_ptr<WatchHub> hub_;
    const size_t queue_length_;
    const absl::Duration heartbeat_period_;
    const Select select_;
    Mutex mutex_;  // taken after the hub's
    std::deque<Response> queue_ ABSL_GUARDED_BY(mutex_);
    Response current_;
    grpc::Status status_ ABSL_GUARDED_BY(mutex_);
    std::optional<MonoTime> last_write_ ABSL_GUARDED_BY(mutex_);
    int64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
    bool has_written_ ABSL_GUARDED_BY(mutex_) = false;  // since the last Beat
    bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
    bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
    bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
  };

  explicit WatchHub(Options options) : options_(options) {}

  void Remove(Stream* stream) {
    MutexLock lock(&mutex_);
    streams_.erase(stream);
  }

  const Options options_;
  mutable Mutex mutex_;
  std::deque<std::shared_ptr<const Response>> recent_ ABSL_GUARDED_BY(mutex_);
  std::set<Stream*> streams_ ABSL_GUARDED_BY(mutex_);
  int64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace cloudscale::rpc
