#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "common/rpc/writer_queue.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"

namespace cloudscale::scaler {

// All open streams of one Watch… method. `Response` has `sequence`, `is_heartbeat` and
// `dropped_count`. Numbers what is published from 1, keeps the newest `kept` messages for readers
// that resume, and sends heartbeats. A slow reader loses its oldest messages (see
// `QueuedWriteReactor`). Streams may outlive the hub. Thread safety: thread-safe.
template <typename Response>
class WatchHub {
 public:
  using Filter = std::function<bool(const Response&)>;
  struct Options {
    std::optional<int64_t> resume_from;
    absl::Duration heartbeat_period = absl::Seconds(5);
    absl::Duration min_period = absl::ZeroDuration();  // between two messages
    Filter filter;                                     // empty = all
  };

  WatchHub(size_t kept, size_t queue_length)
      : state_(std::make_shared<State>(kept)), queue_length_(queue_length) {}
  ~WatchHub() { Close(); }
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // The reactor to return from the handler.
  grpc::ServerWriteReactor<Response>* Open(Options options, MonoTime now) {
    auto* reader = new Reader(queue_length_, state_, std::move(options), now);
    MutexLock lock(&state_->mutex);
    if (state_->is_closed) {
      reader->FinishWith(grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down"));
      return reader;
    }
    state_->readers.emplace(reader, true);
    if (reader->options.resume_from) {
      const int64_t oldest = state_->last_sequence - static_cast<int64_t>(state_->kept.size()) + 1;
      reader->lost =
          std::max<int64_t>(0, oldest - std::max<int64_t>(1, *reader->options.resume_from));
      for (const auto& message : state_->kept) {
        if (message->sequence() >= *reader->options.resume_from) {
          reader->Deliver(*message, now);
        }
      }
    }
    return reader;
  }

  void Publish(Response message, MonoTime now) {
    MutexLock lock(&state_->mutex);
    message.set_sequence(++state_->last_sequence);
    auto shared = std::make_shared<const Response>(std::move(message));
    if (state_->kept_size > 0) {
      state_->kept.push_back(shared);
      if (state_->kept.size() > state_->kept_size) {
        state_->kept.pop_front();
      }
    }
    for (auto& [reader, unused] : state_->readers) {
      reader->Deliver(*shared, now);
    }
  }

  // Call about once a second of real time.
  void Beat(MonoTime now) {
    MutexLock lock(&state_->mutex);
    for (auto& [reader, unused] : state_->readers) {
      if (now - reader->last_sent >= reader->options.heartbeat_period) {
        Response beat;
        beat.set_is_heartbeat(true);
        beat.set_sequence(state_->last_sequence);
        reader->last_sent = now;
        reader->Push(std::move(beat));
      }
    }
  }

  void Close() {
    MutexLock lock(&state_->mutex);
    state_->is_closed = true;
    for (auto& [reader, unused] : state_->readers) {
      reader->FinishWith(grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down"));
    }
  }

 private:
  class Reader;
  struct State {
    explicit State(size_t size) : kept_size(size) {}
    const size_t kept_size;
    mutable Mutex mutex;
    std::map<Reader*, bool> readers;
    std::deque<std::shared_ptr<const Response>> kept;
    int64_t last_sequence = 0;
    bool is_closed = false;
  };

  // Fields are guarded by the state's mutex.
  class Reader final : public rpc::QueuedWriteReactor<Response> {
   public:
    Reader(size_t queue_length, std::shared_ptr<State> state, Options o, MonoTime now)
        : rpc::QueuedWriteReactor<Response>(queue_length),
          options(std::move(o)),
          last_sent(now),
          state_(std::move(state)) {}

    void Deliver(const Response& message, MonoTime now) {
      if ((options.filter && !options.filter(message)) ||
          (last_data && now - *last_data < options.min_period)) {
        return;
      }
      Response copy = message;
      const int64_t dropped = this->dropped_count();
      copy.set_dropped_count(lost + dropped - reported_);
      lost = 0;
      reported_ = dropped;
      last_data = now;
      last_sent = now;
      this->Push(std::move(copy));
    }

    Options options;
    MonoTime last_sent;
    std::optional<MonoTime> last_data;
    int64_t lost = 0;

   protected:
    void OnClosed() override {
      MutexLock lock(&state_->mutex);
      state_->readers.erase(this);
    }

   private:
    ~Reader() override = default;
    std::shared_ptr<State> state_;
    int64_t reported_ = 0;
  };

  std::shared_ptr<State> state_;
  const size_t queue_length_;
};

}  // namespace cloudscale::scaler
