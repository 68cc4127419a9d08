#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "common/check/check.h"
#include "common/sync/mutex.h"
#include "grpcpp/support/server_callback.h"

namespace cloudscale::rpc {

// A server stream that any thread can push into. The queue is bounded: when the reader is slow the
// oldest message makes room and is counted, so that one reader can never grow the server's memory.
//
// `new` it in the handler and return it; it deletes itself when gRPC is done with it. Whoever
// pushes must be told when that happens: override `OnClosed`, which is called exactly once, after
// which no Push may come. Typical use: the service keeps a set of open reactors under its own lock
// and removes the reactor in `OnClosed`. Thread safety: thread-safe. No method blocks. `OnClosed`
// is called without internal locks held.
template <typename Message>
class QueuedWriteReactor : public grpc::ServerWriteReactor<Message> {
 public:
  explicit QueuedWriteReactor(size_t capacity) : capacity_(capacity) { CS_CHECK(capacity > 0); }

  // Queues `message`; a no-op once finishing. Returns false when an older message was dropped for
  // it.
  bool Push(Message message) {
    bool kept_all = true;
    MutexLock lock(&mutex_);
    if (finish_status_.has_value() || cancelled_) {
      return true;
    }
    if (queue_.size() >= capacity_) {
      queue_.pop_front();
      ++dropped_;
      kept_all = false;
    }
    queue_.push_back(std::move(message));
    WriteNext();
    return kept_all;
  }

  // Ends the stream with `status` after the write under way; queued messages are discarded unless
  // `drain`. Idempotent: the first status wins.
  void FinishWith(grpc::Status status, bool drain = false) {
    MutexLock lock(&mutex_);
    if (finish_status_.has_value()) {
      return;
    }
    if (!drain) {
      queue_.clear();
    }
    finish_status_ = std::move(status);
    WriteNext();
  }

  // Messages dropped so far; put it into the next message so that the reader knows.
  [[nodiscard]] int64_t dropped_count() const {
    MutexLock lock(&mutex_);
    return dropped_;
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && !finish_status_.has_value()) {
      finish_status_ = grpc::Status(grpc::StatusCode::CANCELLED, "reader went away");
      queue_.clear();
    }
    WriteNext();
  }

  void OnCancel() override {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    queue_.clear();
    if (!finish_status_.has_value()) {
      finish_status_ = grpc::Status(grpc::StatusCode::CANCELLED, "cancelled");
    }
    WriteNext();
  }

  void OnDone() override {
    OnClosed();
    delete this;
  }

 protected:
  ~QueuedWriteReactor() override = default;

  // The stream is over; forget this reactor.
  virtual void OnClosed() = 0;

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) {
      return;
    }
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      this->StartWrite(&current_);
    } else if (finish_status_.has_value()) {
      finished_ = true;
      this->Finish(*finish_status_);
    }
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  std::deque<Message> queue_ ABSL_GUARDED_BY(mutex_);
  Message current_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> finish_status_ ABSL_GUARDED_BY(mutex_);
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cloudscale::rpc
