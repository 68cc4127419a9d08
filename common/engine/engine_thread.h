#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <thread>
#include <utility>

#include "absl/time/time.h"
#include "common/check/check.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"

namespace cloudscale {

// The one thread that owns a service's domain state: runs posted tasks in order and a tick at least
// once per period of the injected clock. Bounded: a full mailbox refuses, so that a caller learns
// of the overload instead of waiting. A stop runs what is queued, so that every caller gets its
// answer.
// Thread safety: Post from any thread; Start and Stop from one.
class EngineThread {
 public:
  EngineThread(Clock& clock, size_t capacity) : clock_(clock), capacity_(capacity) {
    CS_CHECK(capacity > 0);
  }
  ~EngineThread() { Stop(); }

  // `period` > 0, of the clock's time; called by the thread, so it may change over time.
  void Start(std::function<absl::Duration()> period, std::function<void()> tick) {
    {
      MutexLock lock(&mutex_);
      is_open_ = true;
    }
    thread_ = std::jthread([this, period = std::move(period), tick = std::move(tick)](
                               std::stop_token stop) { Run(stop, period, tick); });
  }

  // False when the mailbox is full or the thread is not running; the task is then not kept.
  [[nodiscard]] bool Post(std::function<void()> task) {
    {
      MutexLock lock(&mutex_);
      if (!is_open_ || tasks_.size() >= capacity_) {
        return false;
      }
      tasks_.push_back(std::move(task));
    }
    changed_.NotifyAll();
    return true;
  }

  // Refuses new tasks, runs the queued ones and ends. Idempotent.
  void Stop() {
    {
      MutexLock lock(&mutex_);
      is_open_ = false;
    }
    if (thread_.joinable()) {
      thread_.request_stop();
      thread_.join();
    }
  }

 private:
  // A clock that is moved by hand cannot wake us; this is how late its steps are noticed at most.
  static constexpr absl::Duration kMaxWait = absl::Milliseconds(50);

  void Run(std::stop_token stop, const std::function<absl::Duration()>& period,
           const std::function<void()>& tick) {
    MonoTime next_tick = clock_.MonoNow();
    while (true) {
      std::deque<std::function<void()>> batch;
      {
        MutexLock lock(&mutex_);
        while (tasks_.empty() && clock_.MonoNow() < next_tick && !stop.stop_requested()) {
          const absl::Duration left = (next_tick - clock_.MonoNow()) / clock_.speed();
          changed_.WaitFor(&mutex_, std::min(left, kMaxWait), stop);
        }
        batch.swap(tasks_);
        if (batch.empty() && stop.stop_requested()) {
          return;
        }
      }
      for (const auto& task : batch) {
        task();
      }
      // Counted from before the tick: time that passes during it must not put off the next one.
      const MonoTime now = clock_.MonoNow();
      if (now >= next_tick && !stop.stop_requested()) {
        tick();
        next_tick = now + period();
      }
    }
  }

  Clock& clock_;
  const size_t capacity_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool is_open_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace cloudscale
