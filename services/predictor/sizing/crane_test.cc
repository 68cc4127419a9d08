#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "gtest/gtest.h"
#include "services/predictor/sizing/crane_estimate.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace cloudscale::predictor {
namespace {

double Wave(int t, int period) { return 0.5 + 0.2 * std::sin(2 * std::numbers::pi * t / period); }

std::vector<double> WhiteNoise(size_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> series;
  for (size_t t = 0; t < count; ++t) {
    series.push_back(rng.Uniform(0.2, 0.8));
  }
  return series;
}

TEST(CranePeriodTest, FoundOnASineWithNoise) {
  Fft fft;
  CraneBuffers buffers;
  Rng rng(1);
  std::vector<double> series;
  for (int t = 0; t < 4 * 288; ++t) {
    series.push_back(Wave(t, 288) + rng.Normal(0, 0.2));
  }
  EXPECT_TRUE(HasPeriod(series, 288, fft, buffers));
  // The same values have no period of two thirds of that.
  EXPECT_FALSE(HasPeriod(series, 192, fft, buffers));
}

TEST(CranePeriodTest, RefusedOnWhiteNoise) {
  Fft fft;
  CraneBuffers buffers;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    EXPECT_FALSE(HasPeriod(WhiteNoise(288 * 3, seed), 288, fft, buffers)) << seed;
  }
}

TEST(CranePeriodTest, BoundIsThatOfShuffles) {
  // The highest line of white noise exceeds the bound about once in a hundred series.
  Fft fft;
  std::vector<std::complex<double>> spectrum;
  int above = 0;
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    const std::vector<double> series = WhiteNoise(256, seed);
    double mean = 0;
    for (const double value : series) {
      mean += value / 256;
    }
    double variance = 0;
    for (const double value : series) {
      variance += (value - mean) * (value - mean) / 256;
    }
    fft.Forward(series, spectrum);
    double highest = 0;
    for (size_t k = 1; k < spectrum.size(); ++k) {
      highest = std::max(highest, std::norm(spectrum[k]));
    }
    above += highest > 256 * variance * (std::log(128) + std::log(100)) ? 1 : 0;
  }
  EXPECT_GE(above, 2);
  EXPECT_LE(above, 22);
}

TEST(CranePeriodTest, NeedsTwoPeriodsAndVariation) {
  Fft fft;
  CraneBuffers buffers;
  std::vector<double> series;
  for (int t = 0; t < 199; ++t) {
    series.push_back(Wave(t, 100));
  }
  EXPECT_FALSE(HasPeriod(series, 100, fft, buffers));
  series.push_back(Wave(199, 100));
  EXPECT_TRUE(HasPeriod(series, 100, fft, buffers));
  EXPECT_FALSE(HasPeriod(std::vector<double>(200, 0.3), 100, fft, buffers));
}

TEST(CraneErrorTest, UnderEstimatesCountMore) {
  EXPECT_DOUBLE_EQ(CraneError({0.5, 0.6}, {0.5, 0.5}), 0.1);
  // Half too low: ln 2 / ln 1.25 = 3.106.
  EXPECT_NEAR(CraneError({0.25, 0.5}, {0.5, 0.5}), 3.10628 / 2, 1e-5);
  EXPECT_EQ(CraneError({0.25, 0.5}, {0, 0.5}), 0);
  EXPECT_TRUE(std::isfinite(CraneError({0, 0}, {0.5, 0.5})));
}

TEST(CraneForecastTest, LargestOfEachPhase) {
  Fft fft;
  CraneBuffers buffers;
  std::vector<double> forecast;
  CraneForecast({.is_transform = false, .margin = 0.1}, {0.1, 0.4, 0.2, 0.3, 0.2, 0}, 3, 8, fft,
                buffers, forecast);
  ASSERT_EQ(forecast.size(), 3u);
  EXPECT_DOUBLE_EQ(forecast[0], 0.33);
  EXPECT_DOUBLE_EQ(forecast[1], 0.44);
  EXPECT_DOUBLE_EQ(forecast[2], 0.22);
}

TEST(CraneForecastTest, TransformKeepsSlowAndHighLines) {
  Fft fft;
  CraneBuffers buffers;
  std::vector<double> forecast;
  // Slots of 3 minutes, 480 a day: a day's line, a line of 30 minutes with amplitude 0.1, and one
  // of 15 minutes with 0.01 (0.05 and 0.005 in one half of the spectrum).
  std::vector<double> series;
  std::vector<double> kept;
  for (int t = 0; t < 960; ++t) {
    const double day = Wave(t, 480);
    const double half_hour = 0.1 * std::cos(2 * std::numbers::pi * t / 10);
    const double quarter = 0.01 * std::cos(2 * std::numbers::pi * t / 5);
    series.push_back(day + half_hour + quarter);
    kept.push_back(day + half_hour);
  }
  const CraneEstimator estimator{.is_transform = true, .lines = 2, .least_amplitude = 0.04};
  CraneForecast(estimator, series, 480, 0.05, fft, buffers, forecast);
  ASSERT_EQ(forecast.size(), 480u);
  for (size_t t = 0; t < 480; ++t) {
    ASSERT_NEAR(forecast[t], kept[480 + t], 1e-9) << t;
  }
}

TEST(CraneTest, FollowsADayThatItFound) {
  const auto state = StartMethod("crane", CpuTraits());
  Rng rng(2);
  for (int t = 0; t < 288 * 6; ++t) {
    if (t > 288 * 4) {
      ASSERT_NEAR(state->Expected(1), Wave(t, 288) * 1.05, 0.09) << t;
    }
    state->Observe({.demand = Wave(t, 288) + rng.Normal(0, 0.01)});
  }
  // The pattern goes on in a gap.
  state->Skip(144);
  state->Observe({.demand = Wave(288 * 6 + 144, 288)});
  EXPECT_NEAR(state->Expected(1), Wave(288 * 6 + 145, 288) * 1.05, 0.09);
}

TEST(CraneTest, FindsAWeek) {
  // Days of 24 steps; two days of seven are quiet.
  const auto state = StartMethod("crane", CpuTraits(absl::Hours(1)));
  const auto demand = [](int t) { return t / 24 % 7 >= 5 ? 0.1 : 0.6; };
  for (int t = 0; t < 24 * 28; ++t) {
    if (t > 24 * 15) {
      ASSERT_NEAR(state->Expected(1), demand(t), 0.15) << t;
    }
    state->Observe({.demand = demand(t)});
  }
}

TEST(CraneTest, PercentileWithoutAPeriod) {
  const auto state = StartMethod("crane", CpuTraits());
  std::vector<double> noise = WhiteNoise(288 * 4, 5);
  ObserveAll(*state, noise);
  // P99 of a uniform demand up to 0.8, in buckets of 0.005.
  EXPECT_NEAR(state->Size(1), 0.795, 0.01);
  EXPECT_EQ(state->Size(1), state->Expected(300));
}

}  // namespace
}  // namespace cloudscale::predictor
