// What forecasts say, and what missing samples do to them.
#include <cmath>
#include <string>
#include <vector>

#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/engine_fixture.h"

namespace cloudscale::predictor {
namespace {

TEST(PredictorEngineTest, StepIsTheLargestSample) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(1, Flat);
  for (int i = 0; i < 10; ++i) {
    feeder.Sample(i == 4 ? 3.5 : 1.0);
  }
  feeder.Steps(1, Flat);
  const Series& series = feeder.series();
  EXPECT_DOUBLE_EQ(series.History(2).front(), 3.5);
}

TEST(PredictorEngineTest, StepCanBeTheMean) {
  PredictorOptions options = OptionsWith("cloudscale");
  options.aggregation = Aggregation::kMean;
  auto engine = MakeEngine(options);
  Feeder feeder(*engine);
  feeder.Steps(1, Flat);
  for (int i = 0; i < 10; ++i) {
    feeder.Sample(i);
  }
  feeder.Steps(1, Flat);
  const Series& series = feeder.series();
  // Samples are one second after the step's start: 0 to 8 and the 2 before them.
  EXPECT_DOUBLE_EQ(series.History(2).front(), (36 + 2) / 10.0);
}

TEST(PredictorEngineTest, ForecastComesOncePerStepAndWarmsUp) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  int forecasts = 0;
  for (int i = 0; i < 200; ++i) {
    const auto forecast = feeder.Sample(1.5);
    if (forecast) {
      ++forecasts;
      EXPECT_EQ(forecast->is_warm, forecasts >= 10);
      EXPECT_NEAR(forecast->quantiles.back(), 1.5, 1e-9);
      EXPECT_EQ(forecast->expected.size(), PredictorOptions().horizons.size());
    }
  }
  EXPECT_EQ(forecasts, 20);
}

TEST(PredictorEngineTest, ShortGapIsInterpolated) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(12, Flat);
  const int64_t before = feeder.series().known_steps();
  feeder.Skip(30);
  feeder.Steps(2, Flat);
  EXPECT_EQ(feeder.series().known_steps(), before + 5);
  EXPECT_TRUE(feeder.series().is_warm());
}

TEST(PredictorEngineTest, LongGapMakesTheSeriesColdForSomeSteps) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(12, Flat);
  feeder.Skip(120);
  feeder.Steps(2, Flat);
  EXPECT_FALSE(feeder.series().is_warm());
  feeder.Steps(4, Flat);
  EXPECT_TRUE(feeder.series().is_warm());
}

// Every value of `now` is at least that of `before`.
void ExpectNotLower(const SeriesForecast& now, const SeriesForecast& before) {
  for (size_t i = 0; i < before.quantiles.size(); ++i) {
    ASSERT_GE(now.quantiles[i], before.quantiles[i]);
  }
  for (size_t i = 0; i < before.expected.size(); ++i) {
    ASSERT_GE(now.expected[i], before.expected[i]);
  }
  ASSERT_GE(now.padding.total(), before.padding.total());
  ASSERT_GE(now.advised.value_or(0), before.advised.value_or(0));
}

class LostSamplesTest : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, LostSamplesTest,
                         ::testing::Values("portfolio", "cloudscale", "last", "signature"));

TEST_P(LostSamplesTest, P1LostSamplesNeverLowerAForecast) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    auto engine = MakeEngine(OptionsWith(GetParam()));
    Feeder feeder(*engine);
    Rng rng(seed);
    auto held = feeder.Steps(40, [&](int) { return rng.Uniform(1, 3); });
    ASSERT_TRUE(held.has_value());
    // Demand falls, but in every step at least one sample is lost, in one way or another.
    for (int step = 0; step < 30; ++step) {
      const int lost = static_cast<int>(rng.UniformInt(9)) + 1;
      const bool whole_batch = rng.Chance(0.5);
      for (int i = 0; i < 10; ++i) {
        std::optional<SeriesForecast> forecast;
        if (i != lost) {
          forecast = feeder.Sample(0.1);
        } else if (whole_batch) {
          feeder.Skip(rng.Chance(0.1) ? 60 : 1);
        } else {
          forecast = feeder.Sample(std::nullopt);
        }
        if (forecast && step > 0) {
          ExpectNotLower(*forecast, *held);
        }
        if (forecast) {
          held = std::move(forecast);
        }
      }
    }
    // With whole steps again it follows the demand down.
    const auto after = feeder.Steps(100, [](int) { return 0.1; });
    ASSERT_TRUE(after.has_value());
    EXPECT_LT(after->quantiles.front(), held->quantiles.front());
    EXPECT_FALSE(after->is_held);
  }
}

TEST_P(LostSamplesTest, RemovingSamplesNeverLowersTheStepsTheyBelongTo) {
  // P1, metamorphic: the same series with samples removed, as long as it is not the peak.
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto whole = MakeEngine(OptionsWith(GetParam()));
    auto holey = MakeEngine(OptionsWith(GetParam()));
    Feeder whole_feeder(*whole);
    Feeder holey_feeder(*holey);
    Rng rng(seed);
    for (int s = 0; s < 1000; ++s) {
      const double demand = s % 10 == 5 ? 3 : rng.Uniform(0, 1);
      whole_feeder.Sample(demand);
      if (s % 10 != 5 && rng.Chance(0.2)) {
        holey_feeder.Skip(1);
      } else {
        holey_feeder.Sample(demand);
      }
    }
    const Series& a = whole_feeder.series();
    const Series& b = holey_feeder.series();
    const std::vector<double> of_whole = a.History(100000);
    const std::vector<double> of_holey = b.History(100000);
    ASSERT_GE(of_holey.size() + 1, of_whole.size());  // the last sample may be lost as well
    for (size_t i = 0; i < of_holey.size(); ++i) {
      ASSERT_GE(of_holey[i], of_whole[i]);
    }
  }
}

// In closed loop the VM gets what is advised. For hours one sample is lost in each step, the one
// with the peak of the step.
TEST(PredictorEngineTest, P1HoursOfLostSamplesAreNoHoursWithoutPeaks) {
  auto engine = MakeEngine(OptionsWith("portfolio"));
  Series series({"vm", "", Resource::kCpu}, engine->registry().Find("portfolio"),
                engine->options());
  Rng rng(6);
  double before = 0;
  double allocation = 8;
  absl::Time time = kStart;
  for (int64_t step = 0; step < 2700; ++step) {
    const bool is_lossy = step >= 400 && step < 2400;
    const double peak = rng.Chance(0.05) ? 4 : rng.Uniform(1.5, 2);
    for (int i = 0; i < 10; ++i, time += absl::Seconds(1)) {
      if (is_lossy && i == 5) {
        continue;
      }
      const double demand = i == 5 ? peak : 1.5;
      Observation o = Fresh(std::min(demand, allocation));
      o.capacity = 8;
      o.allocation = allocation;
      o.is_censored = demand > allocation;
      series.Observe(step, time, step * 10 + i, absl::Seconds(1), o);
      ForecastJob job;
      if (i == 0 && series.Prepare(job)) {
        Workspace workspace(engine->options().parameters);
        ComputeForecast(engine->options(), workspace, job);
        series.Commit(job, kStart);
        allocation = *series.forecast()->advised;
      }
    }
    if (step <= 400) {  // made after step 399
      before = allocation;
    } else {
      ASSERT_GE(allocation, before) << step;
    }
  }
  EXPECT_GE(before, 2);
}

TEST(PredictorEngineTest, P1ALostSampleDoesNotEndTheWayUpOfAVmAtItsCap) {
  for (const int lossy_step : {-1, 14, 15}) {
    auto engine = MakeEngine(OptionsWith("portfolio"));
    Series series({"vm", "", Resource::kCpu}, engine->registry().Find("portfolio"),
                  engine->options());
    double allocation = 1;
    absl::Time time = kStart;
    for (int64_t step = 0; step < 22; ++step) {
      for (int i = 0; i < 10; ++i, time += absl::Seconds(1)) {
        if (step == lossy_step && i == 5) {
          continue;
        }
        Observation o = Fresh(step < 12 ? 0.9 : allocation);
        o.capacity = 16;
        o.allocation = allocation;
        o.is_censored = step >= 12;
        series.Observe(step, time, step * 10 + i, absl::Seconds(1), o);
        ForecastJob job;
        if (i == 0 && series.Prepare(job)) {
          Workspace workspace(engine->options().parameters);
          ComputeForecast(engine->options(), workspace, job);
          series.Commit(job, kStart);
          allocation = *series.forecast()->advised;
        }
      }
    }
    EXPECT_GE(allocation, 15) << lossy_step;
  }
}

TEST(PredictorEngineTest, CensoredStepsTeachOnlyUpwards) {
  PredictorOptions options = OptionsWith("cloudscale");
  options.model = "last";
  auto engine = MakeEngine(options);
  Series series({"vm", "", Resource::kCpu}, engine->registry().Find("last"), engine->options());
  for (int64_t step = 0; step < 100; ++step) {
    Observation o = Fresh(step % 2 == 0 ? 4 : 1);
    o.is_censored = step % 2 == 1;
    series.Observe(step, kStart + step * absl::Seconds(10), step, absl::Seconds(10), o);
    ForecastJob job;
    Workspace workspace(options.parameters);
    if (series.Prepare(job)) {
      ComputeForecast(engine->options(), workspace, job);
      series.Commit(job, kStart);
    }
  }
  const std::vector<float> residuals = series.tracks()[0].residuals(0).Values();
  ASSERT_FALSE(residuals.empty());
  for (float residual : residuals) {
    EXPECT_GT(residual, 0);
  }
}

TEST(PredictorEngineTest, ThreeUnderEstimatesInARowTrainAnew) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(100, Flat);
  EXPECT_EQ(feeder.series().retrain_count(), 0);
  const int64_t before = feeder.series().known_steps();
  feeder.Steps(8, [](int step) { return 2.0 * std::pow(1.6, step - 99); });
  EXPECT_GE(feeder.series().retrain_count(), 1);
  EXPECT_LT(feeder.series().known_steps(), before);
}

TEST(PredictorEngineTest, UnderEstimatesRaiseRemedialPadding) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(30, Flat);
  const auto forecast = feeder.Steps(2, [](int) { return 3.0; });
  ASSERT_TRUE(forecast.has_value());
  EXPECT_GT(forecast->padding.remedial, 0.1);
}

TEST(PredictorEngineTest, QuantilesAreCalibratedByResiduals) {
  PredictorOptions options = OptionsWith("cloudscale");
  options.model = "mean";
  options.horizons = {1};
  auto engine = MakeEngine(options);
  Feeder feeder(*engine);
  Rng rng(11);
  feeder.Steps(900, [&](int) { return rng.Uniform(1, 2); });
  const AccuracySums& sums = feeder.series().tracks()[0].accuracy(0);
  for (size_t r = 0; r < options.ratios.size(); ++r) {
    EXPECT_NEAR(sums.Average(sums.covered[r]), options.ratios[r], 0.08) << options.ratios[r];
  }
  EXPECT_GT(sums.step_count, 800);
  EXPECT_NEAR(sums.Average(sums.demand), 1.9, 0.1);  // a step is the largest of ten samples
}

TEST(PredictorEngineTest, UpperQuantilesOfTheChainHoldWhereTransitionsAreFew) {
  PredictorOptions options = OptionsWith("cloudscale");
  options.horizons = {1};
  auto engine = MakeEngine(options);
  Feeder feeder(*engine);
  Rng rng(5);
  feeder.Steps(900, [&](int) { return rng.Exponential(1); });
  const AccuracySums& sums = feeder.series().tracks()[0].accuracy(0);
  ASSERT_DOUBLE_EQ(options.ratios[4], 0.98);
  // By its counted transitions alone the chain holds its 98 % quantile in less than 88 % of steps.
  EXPECT_GT(sums.Average(sums.covered[4]), 0.96);
}

TEST(PredictorEngineTest, TargetMovesTheAdvisedAllocation) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  Rng rng(2);
  feeder.Steps(120, [&](int) { return rng.Uniform(1, 4); });
  const Series& series = feeder.series();
  const double before = engine->Publish(series, kStart).advised_allocation;
  PredictorEngine::Target target;
  target.vm_uuid = "vm-1";
  target.target_violation_ratio = 0.3;
  EXPECT_EQ(engine->UpdateTarget(target, kStart), 1);
  const double lean = engine->Publish(series, kStart).advised_allocation;
  EXPECT_LT(lean, before);
  target.price_factor = 100;
  EXPECT_EQ(engine->UpdateTarget(target, kStart), 1);
  EXPECT_GT(engine->Publish(series, kStart).advised_allocation, lean);
  EXPECT_EQ(engine->Publish(series, kStart + absl::Minutes(11)).advised_allocation, lean);
}

TEST(PredictorEngineTest, SameInputGivesTheSameForecasts) {
  std::vector<double> results[2];
  for (auto& result : results) {
    auto engine = MakeEngine();
    Feeder feeder(*engine);
    Rng rng(8);
    for (int i = 0; i < 3000; ++i) {
      if (const auto forecast = feeder.Sample(rng.Uniform(0, 2))) {
        result.insert(result.end(), forecast->quantiles.begin(), forecast->quantiles.end());
      }
    }
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_GT(results[0].size(), 1000u);
}

}  // namespace
}  // namespace cloudscale::predictor
