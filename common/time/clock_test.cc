#include "common/time/clock.h"

#include <thread>

#include "common/time/sim_clock.h"
#include "gtest/gtest.h"

namespace cloudscale {
namespace {

TEST(SimClockTest, MovesOnlyWhenTold) {
  SimClock clock;
  const MonoTime before = clock.MonoNow();
  EXPECT_EQ(clock.MonoNow(), before);
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.MonoNow() - before, absl::Seconds(5));
}

TEST(SimClockTest, P15WallJumpsDoNotTouchMonotonicTime) {
  SimClock clock;
  const MonoTime mono = clock.MonoNow();
  const absl::Time wall = clock.WallNow();
  clock.JumpWall(-absl::Hours(1));
  EXPECT_EQ(clock.MonoNow(), mono);
  EXPECT_EQ(clock.WallNow(), wall - absl::Hours(1));
}

TEST(SimClockTest, WakesASleeperAtItsDeadline) {
  SimClock clock;
  bool woken = false;
  std::jthread sleeper([&](std::stop_token stop) {
    woken = clock.SleepUntil(clock.MonoNow() + absl::Seconds(10), stop);
  });
  clock.WaitForSleepers(1);
  clock.Advance(absl::Seconds(10));
  sleeper.join();
  EXPECT_TRUE(woken);
}

TEST(SimClockTest, StopEndsASleep) {
  SimClock clock;
  bool woken = true;
  {
    std::jthread sleeper([&](std::stop_token stop) {
      woken = clock.SleepUntil(clock.MonoNow() + absl::Seconds(10), stop);
    });
  }
  EXPECT_FALSE(woken);
}

TEST(ScaledClockTest, RunsAtTheAskedSpeed) {
  const auto real = MakeRealClock();
  const auto fast = MakeScaledClock(1000);
  const MonoTime real_start = real->MonoNow();
  const MonoTime fast_start = fast->MonoNow();
  ASSERT_TRUE(fast->SleepUntil(fast_start + absl::Seconds(20), std::stop_token()));
  const absl::Duration fast_elapsed = fast->MonoNow() - fast_start;
  const absl::Duration real_elapsed = real->MonoNow() - real_start;
  EXPECT_GE(fast_elapsed, absl::Seconds(20));
  // Read after the fast clock, so the real interval encloses the scaled one.
  EXPECT_GE(real_elapsed * 1000, fast_elapsed - absl::Milliseconds(1));
  EXPECT_DOUBLE_EQ(fast->speed(), 1000);
}

TEST(RealClockTest, ReturnsAtOnceForAPastDeadline) {
  const auto clock = MakeRealClock();
  EXPECT_TRUE(clock->SleepUntil(clock->MonoNow() - absl::Seconds(1), std::stop_token()));
}

}  // namespace
}  // namespace cloudscale
