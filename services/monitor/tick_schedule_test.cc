#include "services/monitor/tick_schedule.h"

#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

MonoTime At(double seconds) { return MonoTime::FromStart(absl::Seconds(seconds)); }

TEST(TickScheduleTest, FirstTickIsDueAtOnceAndTheRestLieOnTheGrid) {
  TickSchedule schedule(absl::Seconds(1), At(100.4));
  EXPECT_LE(schedule.next(), At(100.4));
  EXPECT_EQ(schedule.Take(At(100.4)), 101);
  EXPECT_EQ(schedule.next(), At(101));
  EXPECT_EQ(schedule.Take(At(101.03)), 102);
  EXPECT_EQ(schedule.next(), At(102)) << "lateness must not add up";
  EXPECT_EQ(schedule.missed_count(), 0);
}

TEST(TickScheduleTest, CountsAndSkipsTicksThatPassedUnused) {
  TickSchedule schedule(absl::Seconds(1), At(0));
  EXPECT_EQ(schedule.Take(At(0)), 1);
  EXPECT_EQ(schedule.Take(At(5.5)), 6);
  EXPECT_EQ(schedule.missed_count(), 4);
  EXPECT_EQ(schedule.next(), At(6));
}

TEST(TickScheduleTest, NumbersGoOnAcrossARestartOfTheMonitor) {
  TickSchedule before(absl::Milliseconds(100), At(50));
  const int64_t last = before.Take(At(50));
  TickSchedule after(absl::Milliseconds(100), At(53.2));
  EXPECT_EQ(after.Take(At(53.2)), last + 32);
}

TEST(TickScheduleTest, NeverRepeatsANumber) {
  TickSchedule schedule(absl::Seconds(1), At(7));
  const int64_t first = schedule.Take(At(7));
  EXPECT_EQ(schedule.Take(At(7.2)), first + 1) << "woken early";
}

}  // namespace
}  // namespace cloudscale::monitor
