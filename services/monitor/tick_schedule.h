#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::monitor {

// When to sample. Ticks lie on a grid of `period` over monotonic time, so that lateness never adds
// up. A tick that passed while the loop was busy or the process was stopped is counted and skipped,
// never made up for: a burst of late samples would carry no news and look like a burst of load.
//
// The number of a tick is its place on the grid, counted from 1, not a count of calls. It therefore
// keeps rising over a restart of the monitor within one boot of the host, and receivers that drop
// repeated numbers keep working. Thread safety: thread-compatible.
class TickSchedule {
 public:
  // `period` must be > 0. The first tick is due at once.
  TickSchedule(absl::Duration period, MonoTime now);

  // When the next tick is due.
  [[nodiscard]] MonoTime next() const;

  // Call when the loop woke at or after `next()`; returns the number of the tick that is current at
  // `now` and counts those before it that nobody took.
  int64_t Take(MonoTime now);

  [[nodiscard]] int64_t missed_count() const { return missed_count_; }

 private:
  [[nodiscard]] int64_t NumberAt(MonoTime now) const;

  const absl::Duration period_;
  int64_t next_number_;
  int64_t missed_count_ = 0;
};

}  // namespace cloudscale::monitor
