// `ewma`, `holt`, `holt_winters`, `seasonal_naive`, `last`, `max6`, `max24`.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "gtest/gtest.h"
#include "services/predictor/sizing/day_slots.h"
#include "services/predictor/sizing/decayed_mean.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace cloudscale::predictor {
namespace {

TEST(WindowMethodsTest, LargestOfTheLastValues) {
  const auto last = StartMethod("last", CpuTraits(), 1.5);
  const auto max6 = StartMethod("max6", CpuTraits());
  const auto max24 = StartMethod("max24", CpuTraits(), 1);
  const std::vector<double> demand = NoisyDays(200, 50, 1);
  for (size_t t = 0; t < demand.size(); ++t) {
    for (auto* state : {last.get(), max6.get(), max24.get()}) {
      state->Observe({.demand = demand[t]});
    }
    const auto largest = [&](size_t n) {
      return *std::max_element(
          demand.begin() + static_cast<std::ptrdiff_t>(t + 1 - std::min(t + 1, n)),
          demand.begin() + static_cast<std::ptrdiff_t>(t + 1));
    };
    ASSERT_DOUBLE_EQ(last->Size(1), std::min(1.0, 1.5 * demand[t]));
    ASSERT_DOUBLE_EQ(max6->Size(9), std::min(1.0, 1.2 * largest(6)));
    ASSERT_DOUBLE_EQ(max24->Size(1), largest(24));
    ASSERT_DOUBLE_EQ(max24->Expected(1), largest(24));
  }
}

TEST(EwmaTest, JacobsonsNumbers) {
  const auto ewma = StartMethod("ewma", CpuTraits(absl::Minutes(5), 100));
  ewma->Observe({.demand = 8});
  EXPECT_DOUBLE_EQ(ewma->Expected(1), 8);
  EXPECT_DOUBLE_EQ(ewma->Size(1), 8 + 4 * 4);
  ewma->Observe({.demand = 16});  // e = 8: m = 9, v = 4 + (8 - 4) / 4 = 5
  EXPECT_DOUBLE_EQ(ewma->Expected(1), 9);
  EXPECT_DOUBLE_EQ(ewma->Size(1), 9 + 4 * 5);
  ewma->Observe({.demand = 1});  // e = -8: m = 8, v = 5 + 3 / 4
  EXPECT_DOUBLE_EQ(ewma->Expected(1), 8);
  EXPECT_DOUBLE_EQ(ewma->Size(1), 8 + 4 * 5.75);
}

TEST(EwmaTest, CensoredStepLeavesTheDeviation) {
  const auto ewma = StartMethod("ewma", CpuTraits(absl::Minutes(5), 100));
  ewma->Observe({.demand = 8});
  ewma->Observe({.demand = 2, .is_censored = true});
  ewma->Observe({.demand = 8});  // known: e = 0, v = 4 * 3 / 4
  EXPECT_DOUBLE_EQ(ewma->Size(1), 8 + 4 * 3);
}

TEST(DecayedMeanTest, IsTheWeightedMean) {
  DecayedMean mean(2);
  EXPECT_EQ(mean.value(), 0);
  mean.Add(6);
  EXPECT_DOUBLE_EQ(mean.value(), 6);
  mean.Add(0);
  mean.Add(3);  // weights 1/2, 1/sqrt(2), 1
  EXPECT_DOUBLE_EQ(mean.value(), (6 * 0.5 + 3) / (1.5 + std::sqrt(0.5)));
}

// The recursions for one pair of parameters, as in the header.
struct HoltModel {
  double alpha, beta, level, trend = 0, sse = 0;
};

TEST(HoltTest, IsTheBestOfTheUnrolledRecursions) {
  for (const int horizon : {1, 6}) {
    const auto state = StartMethod("holt", CpuTraits(), 2);
    const double decay = std::pow(0.5, 1 / 72.0);
    double variance = 1e-4;
    std::vector<HoltModel> models;
    const std::vector<double> demand = NoisyDays(600, 200, 3);
    for (size_t t = 0; t < demand.size(); ++t) {
      state->Observe({.demand = demand[t]});
      if (t == 0) {
        for (const double alpha : {0.1, 0.3, 0.6, 0.95}) {
          for (const double beta : {0.0, 0.05}) {
            models.push_back({alpha, beta, demand[0]});
          }
        }
        continue;
      }
      const auto cheaper = [](const HoltModel& a, const HoltModel& b) { return a.sse < b.sse; };
      const auto best_before = std::min_element(models.begin(), models.end(), cheaper);
      const double error = demand[t] - best_before->level - 0.9 * best_before->trend;
      variance = decay * variance + (1 - decay) * error * error;
      for (HoltModel& m : models) {
        const double e = demand[t] - (m.level + 0.9 * m.trend);
        m.sse = m.sse * decay + e * e;
        m.level = m.level + 0.9 * m.trend + m.alpha * e;
        m.trend = 0.9 * m.trend + m.alpha * m.beta * e;
      }
      const HoltModel& best = *std::min_element(models.begin(), models.end(), cheaper);
      double largest = 0;
      double damping = 0;
      for (int h = 1; h <= horizon; ++h) {
        damping += std::pow(0.9, h);
        largest = std::max(largest, best.level + damping * best.trend);
      }
      ASSERT_NEAR(state->Expected(horizon), largest, 1e-12) << t;
      ASSERT_NEAR(state->Size(horizon), std::min(1.0, largest + 2 * std::sqrt(variance)), 1e-12);
    }
  }
}

TEST(HoltWintersTest, LearnsTheDay) {
  // Days of 96 steps.
  const auto seasonal = StartMethod("holt_winters", CpuTraits(absl::Minutes(15)), 0);
  const auto plain = StartMethod("holt", CpuTraits(absl::Minutes(15)), 0);
  const auto demand = [](int t) {
    return 0.5 + 0.3 * std::sin(2 * std::numbers::pi * t / 96) + 0.05 * ((t % 96) == 70 ? 1 : 0);
  };
  double seasonal_error = 0;
  double plain_error = 0;
  for (int t = 0; t < 10 * 96; ++t) {
    if (t >= 5 * 96) {
      double largest = 0;
      for (int h = 0; h < 12; ++h) {
        largest = std::max(largest, demand(t + h));
      }
      seasonal_error += std::abs(seasonal->Expected(12) - largest) / (5 * 96);
      plain_error += std::abs(plain->Expected(12) - largest) / (5 * 96);
    }
    seasonal->Observe({.demand = demand(t)});
    plain->Observe({.demand = demand(t)});
  }
  EXPECT_LT(seasonal_error, 0.02);
  EXPECT_GT(plain_error, 3 * seasonal_error);
}

TEST(HoltWintersTest, TheDayGoesOnInAGap) {
  const auto state = StartMethod("holt_winters", CpuTraits(absl::Minutes(15)), 0);
  const auto demand = [](int t) { return 0.5 + 0.3 * std::sin(2 * std::numbers::pi * t / 96); };
  int t = 0;
  for (; t < 6 * 96; ++t) {
    state->Observe({.demand = demand(t)});
  }
  state->Skip(60);
  t += 60;
  state->Observe({.demand = demand(t)});
  ++t;
  // Of the next 30 steps: through the low of the night into the morning.
  double largest = 0;
  for (int h = 0; h < 30; ++h) {
    largest = std::max(largest, demand(t + h));
  }
  EXPECT_GT(std::abs(largest - demand(t)), 0.05);
  EXPECT_NEAR(state->Expected(30), largest, 0.04);
}

TEST(DaySlotsTest, ShortStepsShareSlots) {
  DaySlots day(CpuTraits(absl::Seconds(10)), 1440);
  EXPECT_EQ(day.steps_per_day(), 8640);
  EXPECT_EQ(day.count(), 1440u);
  EXPECT_EQ(day.Slot(5), 0u);
  EXPECT_EQ(day.Slot(6), 1u);
  day.Advance(8640 * 5 + 8637);
  EXPECT_EQ(day.Slot(0), 1439u);
  const auto ahead = [&](int64_t steps) {
    std::vector<size_t> slots;
    day.ForEachAhead(steps, [&](size_t slot) { slots.push_back(slot); });
    return slots;
  };
  EXPECT_EQ(ahead(3), (std::vector<size_t>{1439}));
  EXPECT_EQ(ahead(4), (std::vector<size_t>{1439, 0}));
  EXPECT_EQ(ahead(8639).size(), 1440u);
  EXPECT_EQ(ahead(100'000).size(), 1440u);
}

TEST(SeasonalNaiveTest, RepeatsTheDayBeforeAndAddsDeviations) {
  // Days of four steps; deviations halve in 12 steps.
  const auto state = StartMethod("seasonal_naive", CpuTraits(absl::Hours(6), 10), 2);
  const double half = std::pow(0.5, 1 / 12.0);
  ObserveAll(*state, {1, 2, 4, 3});
  EXPECT_FLOAT_EQ(static_cast<float>(state->Expected(1)), 1);
  EXPECT_FLOAT_EQ(static_cast<float>(state->Expected(2)), 2);
  EXPECT_FLOAT_EQ(static_cast<float>(state->Expected(3)), 4);
  EXPECT_FLOAT_EQ(static_cast<float>(state->Expected(9)), 4);
  // Errors against the last value, newest last: 1, 2, 1.
  double deviation = (1 * half * half + 2 * half + 1) / (half * half + half + 1);
  EXPECT_NEAR(state->Size(1), 1 + 2 * deviation, 1e-6);
  state->Observe({.demand = 1.5});  // error 0.5
  deviation = (1 * half * half * half + 2 * half * half + 1 * half + 0.5) /
              (half * half * half + half * half + half + 1);
  EXPECT_NEAR(state->Size(1), 2 + 2 * deviation, 1e-6);
  EXPECT_NEAR(state->Expected(4), 4, 1e-6);
  // After the night's gap it is the third step's turn.
  state->Skip(1);
  state->Observe({.demand = 4});
  EXPECT_NEAR(state->Expected(1), 3, 1e-6);
  EXPECT_NEAR(state->Expected(2), 3, 1e-6);
  state->Observe({.demand = 3});
  EXPECT_NEAR(state->Expected(1), 1.5, 1e-6);
  EXPECT_NEAR(state->Expected(2), 2, 1e-6);
}

TEST(SeasonalNaiveTest, SlotOfShortStepsKeepsItsLargest) {
  // 60 steps of a second share a slot.
  const auto state = StartMethod("seasonal_naive", CpuTraits(absl::Seconds(1)), 0);
  for (int t = 0; t < 86'400; ++t) {
    state->Observe({.demand = t == 90 ? 0.75 : 0.25});
  }
  EXPECT_EQ(state->Expected(60), 0.25);
  EXPECT_EQ(state->Expected(61), 0.75);
  for (int t = 0; t < 119; ++t) {
    state->Observe({.demand = 0.125});
  }
  EXPECT_EQ(state->Expected(1), 0.75);
  state->Observe({.demand = 0.125});
  EXPECT_EQ(state->Expected(1), 0.25);
  EXPECT_EQ(state->Expected(86'400), 0.25);
}

}  // namespace
}  // namespace cloudscale::predictor
