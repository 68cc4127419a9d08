#pragma once

#include <compare>
#include <memory>
#include <stop_token>

#include "absl/time/time.h"

namespace cloudscale {

// A point on a monotonic time line: for intervals and deadlines, never shown to people. Distinct
// from `absl::Time` so that a duration can never be computed from a wall clock that somebody set
// (promise P15).
class MonoTime {
 public:
  constexpr MonoTime() = default;
  static constexpr MonoTime FromStart(absl::Duration since_start) { return MonoTime(since_start); }
  [[nodiscard]] constexpr absl::Duration since_start() const { return since_start_; }

  friend MonoTime operator+(MonoTime t, absl::Duration d) { return MonoTime(t.since_start_ + d); }
  friend MonoTime operator-(MonoTime t, absl::Duration d) { return MonoTime(t.since_start_ - d); }
  friend absl::Duration operator-(MonoTime a, MonoTime b) {
    return a.since_start_ - b.since_start_;
  }
  friend bool operator==(MonoTime a, MonoTime b) { return a.since_start_ == b.since_start_; }
  friend bool operator<(MonoTime a, MonoTime b) { return a.since_start_ < b.since_start_; }
  friend bool operator>(MonoTime a, MonoTime b) { return b < a; }
  friend bool operator<=(MonoTime a, MonoTime b) { return !(b < a); }
  friend bool operator>=(MonoTime a, MonoTime b) { return !(a < b); }

 private:
  explicit constexpr MonoTime(absl::Duration since_start) : since_start_(since_start) {}
  absl::Duration since_start_;
};

// The only source of time. Everything that needs time takes a `Clock&`, so that tests and replays
// decide how it passes. Thread safety: thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Time for people and for correlation between hosts (UTC). May jump.
  [[nodiscard]] virtual absl::Time WallNow() const = 0;

  // Time for intervals. Never goes back.
  [[nodiscard]] virtual MonoTime MonoNow() const = 0;

  // Blocks until `deadline` or until `stop` is requested. Returns false when stopped early.
  virtual bool SleepUntil(MonoTime deadline, std::stop_token stop) = 0;

  // Real nanoseconds that pass per nanosecond of this clock's time are 1 / speed(). 1 for a real
  // clock.
  [[nodiscard]] virtual double speed() const { return 1.0; }
};

// The machine's clocks.
[[nodiscard]] std::unique_ptr<Clock> MakeRealClock();

// Time that runs `speed` times as fast as real time from now on; for replaying recorded traces
// through the live processes. `speed` must be > 0.
[[nodiscard]] std::unique_ptr<Clock> MakeScaledClock(double speed);

}  // namespace cloudscale
