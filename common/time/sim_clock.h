#pragma once

#include <condition_variable>
#include <map>
#include <mutex>

#include "common/time/clock.h"

namespace cloudscale {

// A clock that moves only when told to. Starts at 2026-01-01T00:00:00Z and MonoTime zero.
//
// `SleepUntil` blocks the calling thread until another thread advances past the deadline;
// single-threaded users just call `Advance`. Wall and monotonic time can be pulled apart with
// `JumpWall` to test clock steps. Thread safety: thread-safe.
class SimClock final : public Clock {
 public:
  SimClock();
  explicit SimClock(absl::Time wall_start);

  absl::Time WallNow() const override;
  MonoTime MonoNow() const override;
  bool SleepUntil(MonoTime deadline, std::stop_token stop) override;

  // Moves both times forward; `d` must not be negative.
  void Advance(absl::Duration d);

  // Steps the wall clock only, forward or back.
  void JumpWall(absl::Duration d);

  // Blocks until at least `count` threads sleep on this clock; lets a test advance only when the
  // loop is waiting.
  void WaitForSleepers(int64_t count);

 private:
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  absl::Time wall_;
  MonoTime mono_;
  int64_t sleepers_ = 0;
};

}  // namespace cloudscale
