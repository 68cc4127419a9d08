#include "common/time/clock.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/clock.h"
#include "common/check/check.h"

namespace cloudscale {
namespace {

absl::Duration SteadyNow() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

class ScaledClock final : public Clock {
 public:
  explicit ScaledClock(double speed)
      : speed_(speed), wall_start_(absl::Now()), steady_start_(SteadyNow()) {
    CS_CHECK(speed > 0);
  }

  absl::Time WallNow() const override {
    return wall_start_ + (SteadyNow() - steady_start_) * speed_;
  }

  MonoTime MonoNow() const override {
    return MonoTime::FromStart(steady_start_ + (SteadyNow() - steady_start_) * speed_);
  }

  bool SleepUntil(MonoTime deadline, std::stop_token stop) override {
    const absl::Duration real = steady_start_ + (deadline.since_start() - steady_start_) / speed_;
    const auto until = std::chrono::steady_clock::time_point(absl::ToChronoNanoseconds(real));
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_until(lock, stop, until, [] { return false; });
    return !stop.stop_requested();
  }

  double speed() const override { return speed_; }

 private:
  const double speed_;
  const absl::Time wall_start_;
  const absl::Duration steady_start_;
};

class RealClock final : public Clock {
 public:
  absl::Time WallNow() const override { return absl::Now(); }
  MonoTime MonoNow() const override { return MonoTime::FromStart(SteadyNow()); }
  bool SleepUntil(MonoTime deadline, std::stop_token stop) override {
    const auto until =
        std::chrono::steady_clock::time_point(absl::ToChronoNanoseconds(deadline.since_start()));
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_until(lock, stop, until, [] { return false; });
    return !stop.stop_requested();
  }
};

}  // namespace

std::unique_ptr<Clock> MakeRealClock() { return std::make_unique<RealClock>(); }
std::unique_ptr<Clock> MakeScaledClock(double speed) {
  return std::make_unique<ScaledClock>(speed);
}

}  // namespace cloudscale
