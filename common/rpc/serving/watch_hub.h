#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "grpcpp/support/server_callback.h"

namespace cloudscale::rpc {

// What a reader of a Watch… stream asks for.
struct WatchOptions {
  // Sends again what is still kept from this sequence on. One beyond the newest + 1 comes from a
  // server before this one; such a reader starts anew.
  std::optional<int64_t> resume_from;
  absl::Duration heartbeat_period = absl::Seconds(5);
  // Shortest time between two messages, in the time given to `Publish`; those between are skipped.
  absl::Duration min_period = absl::ZeroDuration();
  // Told of messages that the reader lost, and of the end of the stream. Called while the hub
  // works: `on_dropped` must not call the hub at all, `on_closed` may call `size`.
  std::function<void(int64_t lost)> on_dropped;
  std::function<void()> on_closed;
};

// Fans messages out to the readers of Watch… streams. Messages are shared between readers and
// numbered from 1 over all of them, so a reader that filters sees gaps; what it really lost is in
// dropped_count. The newest `kept` are held for readers that resume. A slow reader loses its oldest
// messages beyond `queue_length`.
// Thread safety: thread-safe; no method waits for a reader. Made by `Create`, and kept alive by its
// streams.
template <typename Message>
class WatchHub : public std::enable_shared_from_this<WatchHub<Message>> {
 public:
  // Whether a reader gets a message at all; empty: it gets all.
  using Filter = std::function<bool(const Message&)>;
  // Makes the response; sequence and dropped_count are set afterwards. Runs when it is written.
  template <typename Response>
  using Fill = std::function<void(const Message&, Response*)>;

  struct Options {
    size_t kept = 256;
    size_t queue_length = 64;
  };
  static std::shared_ptr<WatchHub> Create(Options options) {
    return std::shared_ptr<WatchHub>(new WatchHub(options));
  }

  // A new stream, to be returned from the handler. It ends itself when the reader goes away, and
  // with UNAVAILABLE at `Close`. `Response` has sequence, is_heartbeat and dropped_count.
  template <typename Response>
  grpc::ServerWriteReactor<Response>* Open(WatchOptions options, Filter filter,
                                           Fill<Response> fill) {
    auto* stream = new Stream<Response>(this->shared_from_this(), options_.queue_length,
                                        std::move(options), std::move(filter), std::move(fill));
    stream->Begin();
    MutexLock lock(&mutex_);
    if (is_closed_) {
      stream->End();
      return stream;
    }
    streams_.insert(stream);
    const std::optional<int64_t> from = stream->resume_from();
    if (from.has_value() && *from <= last_sequence_ + 1) {
      const int64_t first_kept = last_sequence_ - static_cast<int64_t>(recent_.size()) + 1;
      stream->NoteLost(std::max<int64_t>(0, first_kept - std::max<int64_t>(*from, 1)));
      for (const Entry& entry : recent_) {
        if (entry.sequence >= *from) {
          stream->Deliver(entry);
        }
      }
    }
    return stream;
  }
  // Readers that get the messages as they are.
  grpc::ServerWriteReactor<Message>* Open(WatchOptions options, Filter filter) {
    return Open<Message>(std::move(options), std::move(filter),
                         [](const Message& message, Message* out) { *out = message; });
  }

  // `now` is the time of the message's source.
  void Publish(std::shared_ptr<const Message> message, MonoTime now) {
    MutexLock lock(&mutex_);
    recent_.push_back(Entry{++last_sequence_, now, std::move(message)});
    const Entry entry = recent_.back();
    while (recent_.size() > options_.kept) {
      recent_.pop_front();
    }
    for (StreamBase* stream : streams_) {
      stream->Deliver(entry);
    }
  }
  void Publish(Message message, MonoTime now) {
    Publish(std::make_shared<const Message>(std::move(message)), now);
  }

  // Sends the heartbeats that are due; they come late by up to the time between two calls.
  void Beat(MonoTime now) {
    MutexLock lock(&mutex_);
    for (StreamBase* stream : streams_) {
      stream->Beat(now, last_sequence_);
    }
  }

  // Ends all streams and refuses new ones. Idempotent.
  void Close() {
    MutexLock lock(&mutex_);
    is_closed_ = true;
    for (StreamBase* stream : streams_) {
      stream->End();
    }
  }

  [[nodiscard]] size_t size() const {
    MutexLock lock(&mutex_);
    return streams_.size();
  }

 private:
  struct Entry {
    int64_t sequence = 0;
    MonoTime at;
    std::shared_ptr<const Message> message;
  };

  // Called with the hub's lock held.
  class StreamBase {
   public:
    virtual ~StreamBase() = default;
    virtual void Deliver(const Entry& entry) = 0;
    virtual void Beat(MonoTime now, int64_t last_sequence) = 0;
    virtual void End() = 0;
  };

  template <typename Response>
  class Stream final : public grpc::ServerWriteReactor<Response>, public StreamBase {
   public:
    Stream(std::shared_ptr<WatchHub> hub, size_t queue_length, WatchOptions options, Filter filter,
           Fill<Response> fill)
        : hub_(std::move(hub)),
          queue_length_(queue_length),
          options_(std::move(options)),
          filter_(std::move(filter)),
          fill_(std::move(fill)) {}

    // Shows the reader that the call was taken, before any message is there.
    void Begin() { this->StartSendInitialMetadata(); }

    [[nodiscard]] std::optional<int64_t> resume_from() const { return options_.resume_from; }

    void NoteLost(int64_t count) {
      MutexLock lock(&mutex_);
      lost_ += count;
    }

    void Deliver(const Entry& entry) override {
      MutexLock lock(&mutex_);
      if (is_ending_ || (filter_ && !filter_(*entry.message)) ||
          (last_taken_.has_value() && entry.at - *last_taken_ < options_.min_period)) {
        return;
      }
      last_taken_ = entry.at;
      if (queue_.size() >= queue_length_) {
        queue_.pop_front();
        ++lost_;
      }
      queue_.push_back(entry);
      WriteNext();
    }

    void Beat(MonoTime now, int64_t last_sequence) override {
      MutexLock lock(&mutex_);
      if (has_written_ || !last_write_.has_value()) {
        last_write_ = now;
        has_written_ = false;
      }
      if (is_ending_ || is_writing_ || now - *last_write_ < options_.heartbeat_period) {
        return;
      }
      response_.Clear();
      response_.set_sequence(last_sequence);
      response_.set_is_heartbeat(true);
      SetDropped();
      Write();
      last_write_ = now;
      has_written_ = false;
    }

    void End() override {
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
      if (options_.on_closed) {
        options_.on_closed();
      }
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
        const Entry entry = std::move(queue_.front());
        queue_.pop_front();
        response_.Clear();
        fill_(*entry.message, &response_);
        response_.set_sequence(entry.sequence);
        SetDropped();
        Write();
      }
    }

    void SetDropped() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      response_.set_dropped_count(lost_);
      if (lost_ > 0 && options_.on_dropped) {
        options_.on_dropped(lost_);
      }
      lost_ = 0;
    }

    void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      is_writing_ = true;
      has_written_ = true;
      this->StartWrite(&response_);
    }

    const std::shared_ptr<WatchHub> hub_;
    const size_t queue_length_;
    const WatchOptions options_;
    const Filter filter_;
    const Fill<Response> fill_;
    Mutex mutex_;  // taken after the hub's
    std::deque<Entry> queue_ ABSL_GUARDED_BY(mutex_);
    Response response_;  // gRPC reads it while a write is under way
    grpc::Status status_ ABSL_GUARDED_BY(mutex_);
    std::optional<MonoTime> last_taken_ ABSL_GUARDED_BY(mutex_);
    std::optional<MonoTime> last_write_ ABSL_GUARDED_BY(mutex_);
    int64_t lost_ ABSL_GUARDED_BY(mutex_) = 0;
    bool has_written_ ABSL_GUARDED_BY(mutex_) = false;  // since the last Beat
    bool is_writing_ ABSL_GUARDED_BY(mutex_) = false;
    bool is_ending_ ABSL_GUARDED_BY(mutex_) = false;
    bool is_finished_ ABSL_GUARDED_BY(mutex_) = false;
  };

  explicit WatchHub(Options options) : options_(options) {}

  void Remove(StreamBase* stream) {
    MutexLock lock(&mutex_);
    streams_.erase(stream);
  }

  const Options options_;
  mutable Mutex mutex_;
  std::deque<Entry> recent_ ABSL_GUARDED_BY(mutex_);
  std::set<StreamBase*> streams_ ABSL_GUARDED_BY(mutex_);
  int64_t last_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// A stream that is refused: the only thing that it ever sends is its status.
template <typename Response>
class RefusedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  explicit RefusedStream(const absl::Status& status) { this->Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

// Options of a Watch… request from its fields resume_from (1 or more), heartbeat_period (1 s to 60
// s) and, where it has one, min_period (0.1 s to 60 s); faults go to `violations`.
template <typename Request>
WatchOptions ParseWatch(const Request& request, Violations& violations) {
  WatchOptions options;
  const auto check = [&](absl::string_view field, absl::Duration value, absl::Duration low,
                         absl::Duration high) {
    if (value < low || value > high) {
      violations.Add(field, absl::FormatDuration(value),
                     absl::StrCat(absl::FormatDuration(low), " to ", absl::FormatDuration(high)));
    }
  };
  if (request.has_resume_from()) {
    options.resume_from = request.resume_from();
    if (request.resume_from() < 1) {
      violations.Add("resume_from", absl::StrCat(request.resume_from()), "1 or more");
    }
  }
  if (request.has_heartbeat_period()) {
    options.heartbeat_period = FromProto(request.heartbeat_period());
    check("heartbeat_period", options.heartbeat_period, absl::Seconds(1), absl::Seconds(60));
  }
  if constexpr (requires { request.min_period(); }) {
    if (request.has_min_period()) {
      options.min_period = FromProto(request.min_period());
      check("min_period", options.min_period, absl::Milliseconds(100), absl::Seconds(60));
    }
  }
  return options;
}

}  // namespace cloudscale::rpc
