#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <stop_token>
#include <utility>

#include "common/check/check.h"
#include "common/sync/mutex.h"

namespace cloudscale {

// A queue with a fixed capacity between producers that must never block and one or more consumers.
// When full, the oldest element makes room and is counted: telemetry may be dropped, a stalled
// reader must not grow memory. Thread safety: thread-safe.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) { CS_CHECK(capacity > 0); }

  // Returns false when an element was dropped to make room.
  bool PushDroppingOldest(T value) {
    bool kept_all = true;
    {
      MutexLock lock(&mutex_);
      if (items_.size() == capacity_) {
        items_.pop_front();
        ++dropped_;
        kept_all = false;
      }
      items_.push_back(std::move(value));
    }
    changed_.NotifyOne();
    return kept_all;
  }

  // Returns false, leaving the queue as it is, when it is full.
  [[nodiscard]] bool TryPush(T value) {
    {
      MutexLock lock(&mutex_);
      if (items_.size() == capacity_) {
        return false;
      }
      items_.push_back(std::move(value));
    }
    changed_.NotifyOne();
    return true;
  }

  // Blocks for an element; nullopt when `stop` is requested.
  std::optional<T> Pop(std::stop_token stop) {
    MutexLock lock(&mutex_);
    while (items_.empty()) {
      if (!changed_.Wait(&mutex_, stop)) {
        return std::nullopt;
      }
    }
    return Take();
  }

  // Waits at most `timeout` of real time.
  std::optional<T> PopFor(absl::Duration timeout, std::stop_token stop) {
    MutexLock lock(&mutex_);
    if (items_.empty()) {
      changed_.WaitFor(&mutex_, timeout, stop);
    }
    if (items_.empty()) {
      return std::nullopt;
    }
    return Take();
  }

  std::optional<T> TryPop() {
    MutexLock lock(&mutex_);
    if (items_.empty()) {
      return std::nullopt;
    }
    return Take();
  }

  [[nodiscard]] size_t size() const {
    MutexLock lock(&mutex_);
    return items_.size();
  }
  [[nodiscard]] int64_t dropped_count() const {
    MutexLock lock(&mutex_);
    return dropped_;
  }

 private:
  std::optional<T> Take() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::optional<T> value(std::move(items_.front()));
    items_.pop_front();
    return value;
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cloudscale
