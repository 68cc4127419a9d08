#include "services/predictor/model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "common/random/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/baselines.h"
#include "services/predictor/series.h"

namespace cloudscale::predictor {
namespace {

using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<double> Sine(double period, int length) {
  std::vector<double> series;
  for (int t = 0; t < length; ++t) {
    series.push_back(2 + std::sin(2 * std::numbers::pi * t / period));
  }
  return series;
}

std::vector<double> RandomWalk(uint64_t seed, int length) {
  Rng rng(seed);
  std::vector<double> series = {3};
  while (static_cast<int>(series.size()) < length) {
    series.push_back(std::max(0.0, series.back() + rng.Normal(0, 0.2)));
  }
  return series;
}

ForecastJob ForecastWith(absl::string_view model, const std::vector<double>& history,
                         const PredictorOptions& options = {}) {
  const ModelRegistry registry(options.parameters);
  Workspace workspace(options.parameters);
  ForecastJob job;
  job.history = history;
  job.models = {registry.Find(model)};
  job.residual_quantiles.assign(1,
                                std::vector<double>(options.horizons.size() * options.ratios.size(),
                                                    -std::numeric_limits<double>::infinity()));
  ComputeForecast(options, workspace, job);
  return job;
}

TEST(BaselinesTest, HistogramModeIsTheMiddleOfTheFullestBin) {
  EXPECT_DOUBLE_EQ(HistogramMode({0, 1.1, 1.2, 4}, 4), 1.5);
  EXPECT_DOUBLE_EQ(HistogramMode({2, 2, 2}, 4), 2);
}

TEST(BaselinesTest, AutocorrelationLagIsThePeriod) {
  EXPECT_EQ(AutocorrelationLag(Sine(20, 100), 0.9), 20);
  EXPECT_EQ(AutocorrelationLag({5, 5, 5, 5}, 0.9), 0);
}

TEST(BaselinesTest, YuleWalkerMatchesHandComputedValue) {
  // Series 1 -1 1 -1 1 -1: c0 = 6, c1 = -5, so the first-order coefficient is -5/6.
  EXPECT_THAT(YuleWalker({1, -1, 1, -1, 1, -1}, 1), ElementsAre(DoubleNear(-5.0 / 6, 1e-12)));
}

TEST(BaselinesTest, YuleWalkerSolvesTheEquations) {
  const std::vector<double> series = RandomWalk(1, 120);
  const std::vector<double> a = YuleWalker(series, 3);
  const double mean = MeanOf(series);
  std::vector<double> c(4, 0);
  for (size_t lag = 0; lag < 4; ++lag) {
    for (size_t t = lag; t < series.size(); ++t) {
      c[lag] += (series[t] - mean) * (series[t - lag] - mean);
    }
  }
  for (size_t row = 1; row <= 3; ++row) {
    double sum = 0;
    for (size_t i = 1; i <= 3; ++i) {
      sum += a[i - 1] * c[row > i ? row - i : i - row];
    }
    EXPECT_NEAR(sum, c[row], 1e-9);
  }
}

TEST(ModelRegistryTest, ListsEveryPublishedModelInOrder) {
  const ModelRegistry registry{ModelParameters{}};
  std::vector<std::string> names;
  for (const auto& model : registry.models()) {
    names.emplace_back(model->name());
  }
  EXPECT_THAT(names, ElementsAre("autocorrelation", "autoregression", "cloudscale", "histogram",
                                 "last", "markov", "max", "mean", "portfolio", "signature"));
  EXPECT_EQ(registry.Find("hidden"), nullptr);
}

TEST(CloudScaleModelTest, PeriodicSeriesIsForecastByItsSignature) {
  const std::vector<double> series = Sine(30, 270);
  const ForecastJob job = ForecastWith("cloudscale", {series.begin(), series.begin() + 210});
  EXPECT_EQ(job.outputs[0].reason.kind, ModelReason::Kind::kSignature);
  EXPECT_EQ(job.outputs[0].reason.steps, 30);
  for (size_t t = 0; t < 60; ++t) {
    EXPECT_NEAR(job.outputs[0].path[t], series[210 + t], 1e-6) << t;
  }
  EXPECT_EQ(ReasonText("cloudscale", job.outputs[0].reason, absl::Seconds(10)),
            "signature: period 5m, r=1.00");
}

TEST(CloudScaleModelTest, OtherSeriesAreForecastByTheChain) {
  const ForecastJob job = ForecastWith("cloudscale", RandomWalk(5, 210));
  EXPECT_EQ(job.outputs[0].reason.kind, ModelReason::Kind::kMarkov);
  EXPECT_EQ(job.outputs[0].path, ForecastWith("markov", RandomWalk(5, 210)).outputs[0].path);
}

TEST(MarkovModelTest, SaysThatItForecastsTheExpectedValueInPlaceOfTheMostProbableState) {
  // Half of the time 1 is followed by 1, else by 4: the likeliest (the higher of equals) is 4.
  const std::vector<double> series = {1, 1, 4, 1, 1, 4, 1, 1, 4, 1, 1, 4, 1};
  PredictorOptions options;
  options.horizons = {1};
  EXPECT_NEAR(ForecastWith("markov", series, options).outputs[0].expected[0], 2.5, 1e-12);
  options.parameters.markov_most_probable = true;
  EXPECT_NEAR(ForecastWith("markov", series, options).outputs[0].expected[0], 4, 1e-12);
  const ModelRegistry registry{ModelParameters{}};
  for (const char* name : {"markov", "cloudscale"}) {
    EXPECT_THAT(registry.Find(name)->description(),
                AllOf(HasSubstr("expected value"), HasSubstr("most probable state")));
  }
}

TEST(BaselineModelsTest, SayWhatTheirNamesSay) {
  const std::vector<double> series = {1, 1, 1, 5, 2};
  EXPECT_DOUBLE_EQ(ForecastWith("mean", series).outputs[0].expected[0], 2);
  EXPECT_DOUBLE_EQ(ForecastWith("max", series).outputs[0].expected[0], 5);
  EXPECT_DOUBLE_EQ(ForecastWith("last", series).outputs[0].expected[0], 2);
  EXPECT_NEAR(ForecastWith("histogram", series).outputs[0].expected[0], 1.05, 1e-12);
}

class EveryModelTest : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryModelTest, ScalingTheSeriesScalesTheForecast) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<double> series = seed % 2 == 0 ? RandomWalk(seed, 220) : Sine(25, 220);
    std::vector<double> scaled = series;
    for (double& value : scaled) {
      value *= 1024;  // a power of two, so that bins do not round differently
    }
    const ModelOutput a = ForecastWith(GetParam(), series).outputs[0];
    const ModelOutput b = ForecastWith(GetParam(), scaled).outputs[0];
    for (size_t i = 0; i < a.quantiles.size(); ++i) {
      ASSERT_NEAR(b.quantiles[i] / 1024, a.quantiles[i], 1e-9);
    }
    for (size_t i = 0; i < a.path.size(); ++i) {
      ASSERT_NEAR(b.path[i] / 1024, a.path[i], 1e-9);
    }
  }
}

TEST_P(EveryModelTest, QuantilesGrowWithRatioAndHorizon) {
  const PredictorOptions options;
  const size_t ratios = options.ratios.size();
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const ModelOutput out =
        ForecastWith(GetParam(), RandomWalk(seed, 15 + 20 * static_cast<int>(seed))).outputs[0];
    ASSERT_EQ(out.quantiles.size(), ratios * options.horizons.size());
    for (size_t h = 0; h < options.horizons.size(); ++h) {
      for (size_t r = 0; r < ratios; ++r) {
        const double value = out.quantiles[h * ratios + r];
        ASSERT_GE(value, 0);
        ASSERT_TRUE(std::isfinite(value));
        if (r > 0) {
          ASSERT_GE(value, out.quantiles[h * ratios + r - 1]);
        }
        if (h > 0) {
          ASSERT_GE(value, out.quantiles[(h - 1) * ratios + r]);
        }
      }
    }
  }
}

TEST_P(EveryModelTest, ConstantSeriesIsForecastAsItIs) {
  for (const int length : {1, 10, 300}) {
    const ForecastJob job =
        ForecastWith(GetParam(), std::vector<double>(static_cast<size_t>(length), 1.7));
    for (double value : job.outputs[0].quantiles) {
      EXPECT_NEAR(value, 1.7, 1e-9);
    }
    EXPECT_EQ(job.burst, 0);
  }
}

TEST_P(EveryModelTest, ZeroSeriesIsForecastAsZero) {
  const ForecastJob job = ForecastWith(GetParam(), std::vector<double>(250, 0.0));
  for (double value : job.outputs[0].quantiles) {
    EXPECT_EQ(value, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModelTest,
                         ::testing::Values("autocorrelation", "autoregression", "cloudscale",
                                           "histogram", "last", "markov", "max", "mean",
                                           "signature"));

}  // namespace
}  // namespace cloudscale::predictor
