#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "common/time/clock.h"

namespace cloudscale {

// `std::mutex` with Abseil's annotations. Not `absl::Mutex`, because the packaged Abseil is not
// instrumented and ThreadSanitizer then reports races that are none.
class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// Waits need the mutex held; they release it while waiting, so conditions go into a loop or the
// stop-aware overload.
class CondVar {
 public:
  void NotifyAll() { cond_.notify_all(); }
  void NotifyOne() { cond_.notify_one(); }

  // Waits for a notification or until `stop` is requested; returns false when stopped.
  bool Wait(Mutex* mutex, std::stop_token stop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock lock(mutex->mutex_, std::adopt_lock);
    bool woken = false;
    cond_.wait(lock, stop, [&woken] { return std::exchange(woken, true); });
    lock.release();
    return !stop.stop_requested();
  }

  // Waits for a notification, `timeout` of real time, or `stop`.
  bool WaitFor(Mutex* mutex, absl::Duration timeout, std::stop_token stop)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock lock(mutex->mutex_, std::adopt_lock);
    bool woken = false;
    cond_.wait_for(lock, stop, absl::ToChronoNanoseconds(timeout),
                   [&woken] { return std::exchange(woken, true); });
    lock.release();
    return !stop.stop_requested();
  }

 private:
  std::condition_variable_any cond_;
};

}  // namespace cloudscale
