#include "services/monitor/demand.h"

#include "common/random/rng.h"
#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

constexpr int64_t kMiB = 1024 * 1024;

TEST(CpuDemandTest, IsUsageWhenNothingHeldTheVmBack) {
  const CpuDemand demand = EstimateCpuDemand({.usage_cores = 0.7, .vcpu_count = 2});
  EXPECT_DOUBLE_EQ(demand.cores, 0.7);
  EXPECT_FALSE(demand.is_lower_bound);
}

TEST(CpuDemandTest, AddsThrottledAndWaitingTime) {
  const CpuDemand demand = EstimateCpuDemand({.usage_cores = 0.5,
                                              .throttled_cores = 0.1,
                                              .wait_cores = 0.1,
                                              .cap_cores = 0.5,
                                              .vcpu_count = 2});
  EXPECT_DOUBLE_EQ(demand.cores, 0.7);
  EXPECT_TRUE(demand.is_held_back);
  EXPECT_FALSE(demand.is_lower_bound) << "measured, not guessed";
}

TEST(CpuDemandTest, ThrottlingInSinglePeriodsOfAHalfIdleCapIsNoDemand) {
  const CpuDemand demand = EstimateCpuDemand(
      {.usage_cores = 0.3, .throttled_cores = 0.4, .cap_cores = 0.5, .vcpu_count = 2});
  EXPECT_DOUBLE_EQ(demand.cores, 0.3);
  EXPECT_FALSE(demand.is_lower_bound);
}

TEST(CpuDemandTest, ThrottlingCountsMoreTheFullerTheCapWasUsed) {
  double before = 0;
  for (const double usage : {0.36, 0.40, 0.43, 0.46, 0.5}) {
    const CpuDemand demand = EstimateCpuDemand(
        {.usage_cores = usage, .throttled_cores = 0.1, .cap_cores = 0.5, .vcpu_count = 2});
    EXPECT_GT(demand.cores - usage, before - 1e-9) << usage;
    before = demand.cores - usage;
  }
  EXPECT_DOUBLE_EQ(before, 0.1);
}

TEST(CpuDemandTest, MoreThrottledTimeThanCanBeToldIsALowerBoundThatGrowsWhileItLasts) {
  // Two tasks of a group that may use 0.4 cores wait on two CPUs.
  CpuObservation starved = {
      .usage_cores = 0.4, .throttled_cores = 1.7, .cap_cores = 0.4, .vcpu_count = 2};
  for (const double expected : {0.5, 0.6, 0.8, 0.8}) {
    const CpuDemand demand = EstimateCpuDemand(starved);
    EXPECT_DOUBLE_EQ(demand.cores, expected) << starved.held_back_intervals;
    EXPECT_TRUE(demand.is_lower_bound);
    EXPECT_TRUE(demand.is_held_back);
    ++starved.held_back_intervals;
  }
}

TEST(CpuDemandTest, GrowsBeyondTheCapWhenNobodyMeasuredTheThrottling) {
  const CpuDemand demand =
      EstimateCpuDemand({.usage_cores = 0.99, .cap_cores = 1.0, .vcpu_count = 4});
  EXPECT_DOUBLE_EQ(demand.cores, 1.12);
  EXPECT_TRUE(demand.is_lower_bound);
}

TEST(CpuDemandTest, AtTheCapWithoutThrottledTimeIsNotHeldBack) {
  const CpuDemand demand = EstimateCpuDemand(
      {.usage_cores = 1.0, .throttled_cores = 0.0, .cap_cores = 1.0, .vcpu_count = 4});
  EXPECT_DOUBLE_EQ(demand.cores, 1.0);
  EXPECT_FALSE(demand.is_lower_bound);
}

TEST(CpuDemandTest, BelowTheCapIsNotCensored) {
  const CpuDemand demand =
      EstimateCpuDemand({.usage_cores = 0.97, .cap_cores = 1.0, .vcpu_count = 4});
  EXPECT_DOUBLE_EQ(demand.cores, 0.97);
}

TEST(CpuDemandTest, ACapOfAllVcpusCannotHoldBack) {
  const CpuDemand demand =
      EstimateCpuDemand({.usage_cores = 2.0, .cap_cores = 2.0, .vcpu_count = 2});
  EXPECT_DOUBLE_EQ(demand.cores, 2.0);
  EXPECT_FALSE(demand.is_lower_bound);
}

TEST(CpuDemandTest, StaysBetweenUsageAndVcpusForAnyInput) {
  Rng rng(7);
  for (int i = 0; i < 20'000; ++i) {
    CpuObservation o;
    o.vcpu_count = 1 + rng.UniformInt(8);
    o.usage_cores = rng.Uniform(0, 1.05) * static_cast<double>(o.vcpu_count);
    if (rng.Chance(0.5)) o.throttled_cores = rng.Uniform(-1, 10);
    if (rng.Chance(0.5)) o.wait_cores = rng.Uniform(-1, 10);
    if (rng.Chance(0.5)) o.cap_cores = rng.Uniform(0.01, 9);
    o.held_back_intervals = rng.UniformInt(5);
    const CpuDemand demand = EstimateCpuDemand(o);
    EXPECT_GE(demand.cores, o.usage_cores);
    EXPECT_LE(demand.cores, std::max(o.usage_cores, static_cast<double>(o.vcpu_count)));
    // More evidence of being held back never lowers the estimate.
    CpuObservation more = o;
    more.wait_cores = o.wait_cores.value_or(0) + 0.1;
    EXPECT_GE(EstimateCpuDemand(more).cores, demand.cores);
  }
}

TEST(MemoryDemandTest, IsUsedMemoryWhenThereIsRoom) {
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 500 * kMiB, .limit_bytes = 1000 * kMiB}),
            500 * kMiB);
}

TEST(MemoryDemandTest, GrowsWithPressureUpToAQuarter) {
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 1000 * kMiB, .pressure_some_ratio = 0.04}),
            1100 * kMiB);
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 1000 * kMiB, .pressure_some_ratio = 0.9}),
            1250 * kMiB);
}

TEST(MemoryDemandTest, GrowsWhenSqueezedAndAfterAnOomKill) {
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 960 * kMiB, .limit_bytes = 1000 * kMiB}),
            static_cast<int64_t>(960.0 * kMiB * 1.12));
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 200 * kMiB, .has_new_oom_kill = true}), 300 * kMiB);
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 1000 * kMiB, .has_new_oom_kill = true}),
            1200 * kMiB);
}

TEST(MemoryDemandTest, NeverExceedsTheMaximumNorFallsBelowUse) {
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 1000 * kMiB,
                                  .maximum_bytes = 1024 * kMiB,
                                  .pressure_some_ratio = 1,
                                  .has_new_oom_kill = true}),
            1024 * kMiB);
  EXPECT_EQ(EstimateMemoryDemand({.used_bytes = 1100 * kMiB, .maximum_bytes = 1024 * kMiB}),
            1100 * kMiB);
}

}  // namespace
}  // namespace cloudscale::monitor
