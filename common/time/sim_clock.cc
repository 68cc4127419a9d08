#include "common/time/sim_clock.h"

#include "common/check/check.h"

namespace cloudscale {

SimClock::SimClock()
    : SimClock(absl::FromCivil(absl::CivilSecond(2026, 1, 1), absl::UTCTimeZone())) {}
SimClock::SimClock(absl::Time wall_start) : wall_(wall_start) {}

absl::Time SimClock::WallNow() const {
  std::lock_guard lock(mutex_);
  return wall_;
}

MonoTime SimClock::MonoNow() const {
  std::lock_guard lock(mutex_);
  return mono_;
}

bool SimClock::SleepUntil(MonoTime deadline, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  ++sleepers_;
  changed_.notify_all();
  changed_.wait(lock, stop, [&] { return mono_ >= deadline; });
  --sleepers_;
  return !stop.stop_requested();
}

void SimClock::Advance(absl::Duration d) {
  CS_CHECK(d >= absl::ZeroDuration());
  std::lock_guard lock(mutex_);
  wall_ += d;
  mono_ = mono_ + d;
  changed_.notify_all();
}

void SimClock::JumpWall(absl::Duration d) {
  std::lock_guard lock(mutex_);
  wall_ += d;
}

void SimClock::WaitForSleepers(int64_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return sleepers_ >= count; });
}

}  // namespace cloudscale
