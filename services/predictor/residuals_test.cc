#include "services/predictor/residuals.h"

#include <algorithm>
#include <vector>

#include "common/random/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/track.h"

namespace cloudscale::predictor {
namespace {

using ::testing::ElementsAre;

TEST(ResidualStoreTest, QuantileIsAnOrderStatistic) {
  ResidualStore store;
  for (const double residual : {5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0}) {
    store.Add(residual);
  }
  EXPECT_DOUBLE_EQ(store.Quantile(0.5), 5);
  EXPECT_DOUBLE_EQ(store.Quantile(0.9), 9);
  EXPECT_DOUBLE_EQ(store.Quantile(0.999), 9);  // nothing larger is known
  EXPECT_DOUBLE_EQ(store.Quantile(0.05), 1);
}

TEST(ResidualStoreTest, OldestMakesRoom) {
  ResidualStore store;
  Rng rng(4);
  std::vector<float> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(static_cast<float>(rng.UniformInt(50)));
    store.Add(all.back());
  }
  const std::vector<float> newest(all.end() - ResidualStore::kCapacity, all.end());
  EXPECT_EQ(store.Values(), newest);
  EXPECT_FLOAT_EQ(static_cast<float>(store.Quantile(0.999)),
                  *std::max_element(newest.begin(), newest.end()));
}

TEST(ResidualStoreTest, KeepNewestForgetsTheRest) {
  ResidualStore store;
  for (const double residual : {1.0, 2.0, 3.0}) {
    store.Add(residual);
  }
  store.KeepNewest(2);
  EXPECT_THAT(store.Values(), ElementsAre(2, 3));
}

class TrackTest : public ::testing::Test {
 protected:
  static PredictorOptions MakeOptions() {
    PredictorOptions options;
    options.horizons = {1, 4};
    options.ratios = {0.5, 0.9};
    return options;
  }
  static std::vector<HorizonStatement> Say(double expected, double allocation) {
    HorizonStatement statement{.expected = expected, .allocation = allocation};
    statement.quantiles[0] = static_cast<float>(expected);
    statement.quantiles[1] = static_cast<float>(expected + 1);
    return {statement, statement};
  }
  PredictorOptions options_ = MakeOptions();
  ModelRegistry registry_{ModelParameters{}};
  Track track_{registry_.Find("last"), Resource::kCpu, options_};
};

TEST_F(TrackTest, NextStepIsJudgedByItself) {
  track_.OnForecast(0, Say(2, 3));
  // The one missing core at the 98 % quantile.
  EXPECT_DOUBLE_EQ(track_.OnStep(1, 4, false, 0.02).value_or(-1), 0.98);
  const AccuracySums& sums = track_.accuracy(0);
  EXPECT_EQ(sums.step_count, 1);
  EXPECT_DOUBLE_EQ(sums.Average(sums.bias), -2);
  EXPECT_DOUBLE_EQ(sums.Average(sums.under_estimates), 1);
  EXPECT_DOUBLE_EQ(sums.Average(sums.under_estimate_depth), 0.25);
  // Quantiles 2 and 3 against 4: (0.5 * 2 + 0.9 * 1) / 2.
  EXPECT_NEAR(sums.Average(sums.pinball_loss), 0.95, 1e-12);
  EXPECT_EQ(sums.covered[1], 0);
}

TEST_F(TrackTest, LongHorizonIsJudgedByItsLargestStep) {
  track_.OnForecast(0, Say(2, 3));
  for (const int step : {1, 2, 3, 4}) {
    EXPECT_EQ(track_.accuracy(1).step_count, 0);
    track_.OnStep(step, step == 2 ? 2.5 : 1, false, 0.02);
  }
  const AccuracySums& sums = track_.accuracy(1);
  EXPECT_EQ(sums.step_count, 1);
  EXPECT_DOUBLE_EQ(sums.Average(sums.bias), -0.5);
  EXPECT_DOUBLE_EQ(sums.Average(sums.covered[0]), 0);
  EXPECT_DOUBLE_EQ(sums.Average(sums.covered[1]), 1);
  EXPECT_THAT(track_.residuals(1).Values(), ElementsAre(0.5F));
}

TEST_F(TrackTest, UnknownStepsAreNotJudged) {
  track_.OnForecast(0, Say(2, 3));
  // The one core too much.
  EXPECT_DOUBLE_EQ(track_.OnStep(1, 2, false, 0.02).value_or(-1), 0.02);
  track_.OnUnknownStep();
  for (const int step : {3, 4, 5}) {
    EXPECT_FALSE(track_.OnStep(step, 2, false, 0.02).has_value());
  }
  EXPECT_EQ(track_.accuracy(1).step_count, 0);
}

}  // namespace
}  // namespace cloudscale::predictor
