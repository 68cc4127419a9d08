#include "sim/backtest/metrics.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::backtest {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Optional;

// A day has 24 steps.
DemandTrace Hourly(std::vector<double> demand) {
  return {.name = "x", .step_seconds = 3600, .demand = std::move(demand)};
}

TEST(MetricsTest, WarmUpIsADayOrAQuarterRoundedUpToSix) {
  EXPECT_EQ(BasisOf(Hourly(std::vector<double>(400, 0.5))).warm_up_steps, 24);
  EXPECT_EQ(BasisOf(Hourly(std::vector<double>(40, 0.5))).warm_up_steps, 12);  // 10 → 12
  EXPECT_EQ(BasisOf(Hourly(std::vector<double>(3, 0.5))).warm_up_steps, 0);
}

TEST(MetricsTest, BasisLeavesUnknownStepsOutAndDividesByCapacity) {
  DemandTrace trace = Hourly({9, 9, 9, 9, 9, 9, 1, DemandTrace::kUnknown, 3, 2});
  trace.capacity = 10;
  const TraceBasis basis = BasisOf(trace);
  EXPECT_EQ(basis.warm_up_steps, 6);
  EXPECT_EQ(basis.scored_steps, 3);
  EXPECT_DOUBLE_EQ(basis.mean_demand, 0.2);
  EXPECT_DOUBLE_EQ(basis.scale, 0.9);  // P99 of the whole trace
}

TEST(MetricsTest, ScaleOfAnIdleTraceIsBounded) {
  EXPECT_DOUBLE_EQ(BasisOf(Hourly(std::vector<double>(40, 0.001))).scale, kMinScale);
}

TEST(MetricsTest, PercentileInterpolatesBetweenNeighbours) {
  EXPECT_DOUBLE_EQ(Percentile({4, 1, 3, 2}, 50), 2.5);
  EXPECT_DOUBLE_EQ(Percentile({1, 2, 3, 4}, 90), 3.7);
  EXPECT_DOUBLE_EQ(Percentile({7}, 99), 7);
  EXPECT_TRUE(std::isnan(Percentile({}, 50)));
}

TEST(MetricsTest, ScoresByHand) {
  const TraceBasis basis{.warm_up_steps = 1, .scored_steps = 4, .scale = 0.5, .mean_demand = 0.4};
  TraceScorer scorer(basis);
  scorer.Add(0, 1.0, 0.1);  // warm-up
  scorer.Add(1, 0.5, 0.4);  // a fifth of the demand is cut
  scorer.Add(2, 0.2, 0.4);
  scorer.Add(3, DemandTrace::kUnknown, 0.9);
  scorer.Add(4, 0.4 + 5e-7, 0.4);  // a tie
  scorer.Add(5, 0.5, 1.0);
  const TraceScore score = scorer.Finish();
  EXPECT_DOUBLE_EQ(score.violation_ratio, 0.25);
  EXPECT_DOUBLE_EQ(score.mean_cap, 2.2 / 4);
  EXPECT_NEAR(score.mean_under, 0.1 / 4, 1e-6);
  EXPECT_DOUBLE_EQ(score.mean_over, 0.7 / 4);
  EXPECT_THAT(score.depths, ElementsAre(FloatNear(0.2F, 1e-6F)));
}

TEST(MetricsTest, AggregatesByHand) {
  const std::vector<TraceBasis> bases = {{.scored_steps = 10, .scale = 1, .mean_demand = 0.5},
                                         {.scored_steps = 20, .scale = 0.1, .mean_demand = 0.05}};
  const std::vector<TraceScore> scores = {{.violation_ratio = 0.1,
                                           .mean_cap = 0.6,
                                           .mean_under = 0.02,
                                           .mean_over = 0.12,
                                           .depths = {0.5F}},
                                          {.violation_ratio = 0.1,
                                           .mean_cap = 0.09,
                                           .mean_under = 0.01,
                                           .mean_over = 0.05,
                                           .depths = {0.1F, 0.9F}}};
  const Aggregate a = AggregateOf(3, bases, scores);
  EXPECT_DOUBLE_EQ(a.knob, 3);
  EXPECT_DOUBLE_EQ(a.violation_ratio, 0.1);
  EXPECT_DOUBLE_EQ(a.over_allocation, (0.6 + 0.9) / (0.5 + 0.5));
  EXPECT_DOUBLE_EQ(a.fleet, 0.69 / 0.55);
  EXPECT_DOUBLE_EQ(a.violation_p90, 0.1);
  // Weights 0.05, 0.1, 0.05 in order of depth: 95 % of 0.2 is reached with the last.
  EXPECT_NEAR(a.depth_p95, 0.9, 1e-6);
  EXPECT_NEAR(a.pinball_95, 100 * (0.95 * (0.02 + 0.1) + 0.05 * (0.12 + 0.5)) / 2, 1e-9);
  EXPECT_NEAR(a.pinball_99, 100 * (0.99 * (0.02 + 0.1) + 0.01 * (0.12 + 0.5)) / 2, 1e-9);
}

TEST(MetricsTest, FrontierIsLinearInTheLogarithmOfViolations) {
  EXPECT_THAT(AtViolation({0.04, 0.01}, {1.2, 1.4}, 0.02), Optional(DoubleNear(1.3, 1e-12)));
  EXPECT_THAT(AtViolation({0.04, 0.01}, {1.2, 1.4}, 0.01), Optional(DoubleNear(1.4, 1e-12)));
  EXPECT_EQ(AtViolation({0.04, 0.01}, {1.2, 1.4}, 0.005), std::nullopt);
  EXPECT_EQ(AtViolation({0.04, 0.01}, {1.2, 1.4}, 0.05), std::nullopt);
  EXPECT_EQ(AtViolation({}, {}, 0.05), std::nullopt);
}

TEST(MetricsTest, PerTracePointTakesTheCheapestSettingThatMeetsTheTarget) {
  const std::vector<TraceBasis> bases = {{.scored_steps = 1, .scale = 1, .mean_demand = 0.2},
                                         {.scored_steps = 1, .scale = 1, .mean_demand = 0.2}};
  const std::vector<std::vector<TraceScore>> scores = {
      {{.violation_ratio = 0.05, .mean_cap = 0.2}, {.violation_ratio = 0.5, .mean_cap = 0.2}},
      {{.violation_ratio = 0.01, .mean_cap = 0.4}, {.violation_ratio = 0.4, .mean_cap = 0.3}}};
  const PerTracePoint point = PerTraceAtTarget(bases, scores, 0.02);
  // The first trace lies a quarter of the way from 0.4 to 0.2, the second is out of reach.
  EXPECT_DOUBLE_EQ(point.over_allocation, (0.35 + 1) / 0.4);
  EXPECT_DOUBLE_EQ(point.reached_ratio, 0.5);
}

}  // namespace
}  // namespace cloudscale::backtest
