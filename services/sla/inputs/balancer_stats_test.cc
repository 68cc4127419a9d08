#include "services/sla/inputs/balancer_stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cloudscale::sla {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

BalancerSample At(int second, int64_t sessions, int64_t errors, bool is_reset = false) {
  return {.time = kStart + absl::Seconds(second),
          .servers = {{.backend = "b",
                       .server = "s",
                       .total_sessions = sessions,
                       .error_count = errors,
                       .queue_time = absl::Milliseconds(1),
                       .connect_time = absl::Milliseconds(2),
                       .response_time = absl::Milliseconds(7),
                       .total_time = absl::Milliseconds(50),
                       .is_reset = is_reset}}};
}

TEST(BalancerStatsTest, CountsWhatCameBetweenTwoSamples) {
  BalancerStats stats(false);
  EXPECT_THAT(stats.Add(At(0, 1000, 10)), IsEmpty()) << "what was before nobody knows when";
  const auto intervals = stats.Add(At(1, 1100, 15));
  ASSERT_THAT(intervals, SizeIs(1));
  EXPECT_EQ(intervals[0].served_count, 95);
  EXPECT_EQ(intervals[0].failed_count, 5);
  EXPECT_DOUBLE_EQ(intervals[0].mean_seconds, 0.010);
  EXPECT_THAT(stats.Add(At(2, 1100, 15)), IsEmpty()) << "nothing came";
  EXPECT_THAT(stats.Add(At(2, 1200, 15)), IsEmpty()) << "the same sample again";
  EXPECT_THAT(stats.Add(At(3, 1100, 17)), SizeIs(1)) << "failed connections are no sessions";
}

TEST(BalancerStatsTest, TransferCountsWhenAskedFor) {
  BalancerStats stats(true);
  stats.Add(At(0, 0, 0));
  EXPECT_DOUBLE_EQ(stats.Add(At(1, 10, 0))[0].mean_seconds, 0.050);
}

TEST(BalancerStatsTest, CountersThatStartAgainCountFromZero) {
  for (const bool is_marked : {true, false}) {
    BalancerStats stats(false);
    stats.Add(At(0, 1000, 10));
    const auto intervals = stats.Add(At(1, is_marked ? 2000 : 30, is_marked ? 20 : 2, is_marked));
    ASSERT_THAT(intervals, SizeIs(1));
    EXPECT_EQ(intervals[0].served_count, is_marked ? 1980 : 28);
    EXPECT_EQ(intervals[0].failed_count, is_marked ? 20 : 2);
  }
}

TEST(BalancerStatsTest, AGapBeginsAnew) {
  BalancerStats stats(false);
  stats.Add(At(0, 1000, 0));
  EXPECT_THAT(stats.Add(At(10, 1100, 0)), SizeIs(1)) << "a short one still tells when";
  EXPECT_THAT(stats.Add(At(100, 99999, 0)), IsEmpty());
  EXPECT_EQ(stats.gap_count(), 1);
  EXPECT_EQ(stats.Add(At(101, 100004, 0))[0].served_count, 5);
}

TEST(BalancerStatsTest, AServerThatWasAwayBeginsAnew) {
  BalancerStats stats(false);
  stats.Add(At(0, 1000, 0));
  stats.Add({.time = kStart + absl::Seconds(1), .servers = {}});
  EXPECT_THAT(stats.Add(At(2, 1500, 0)), IsEmpty());
}

}  // namespace
}  // namespace cloudscale::sla
