#include "services/monitor/tick_schedule.h"

#include <algorithm>

#include "common/check/check.h"

namespace cloudscale::monitor {

TickSchedule::TickSchedule(absl::Duration period, MonoTime now) : period_(period), next_number_(0) {
  CS_CHECK(period > absl::ZeroDuration());
  next_number_ = NumberAt(now);
}

int64_t TickSchedule::NumberAt(MonoTime now) const {
  absl::Duration rest;
  return 1 + std::max<int64_t>(0, absl::IDivDuration(now.since_start(), period_, &rest));
}

MonoTime TickSchedule::next() const { return MonoTime::FromStart(period_ * (next_number_ - 1)); }

int64_t TickSchedule::Take(MonoTime now) {
  const int64_t number = std::max(next_number_, NumberAt(now));
  missed_count_ += number - next_number_;
  next_number_ = number + 1;
  return number;
}

}  // namespace cloudscale::monitor
