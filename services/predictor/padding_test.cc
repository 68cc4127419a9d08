#include "services/predictor/padding.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "common/random/rng.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

// `cycles` cycles within 100 values, around 5.
std::vector<double> Wave(double cycles, double amplitude) {
  std::vector<double> series;
  for (int t = 0; t < 100; ++t) {
    series.push_back(5 + amplitude * std::sin(2 * std::numbers::pi * cycles * t / 100));
  }
  return series;
}

TEST(BurstPaddingTest, SlowWaveIsNoBurst) {
  Fft fft;
  BurstPadding padding;
  // 51 lines, the lowest fifth (0 to 9) is left out.
  EXPECT_NEAR(padding.Compute(Wave(9, 2), fft), 0, 1e-6);
}

TEST(BurstPaddingTest, FastWaveIsKeptWhole) {
  Fft fft;
  BurstPadding padding;
  const std::vector<double> wave = Wave(10, 2);
  const double value = padding.Compute(wave, fft);
  for (size_t t = 0; t < wave.size(); ++t) {
    ASSERT_NEAR(padding.pattern()[t], wave[t] - 5, 1e-9);
  }
  // Its values repeat every 10 steps: 0, 2 sin 36, 2 sin 72, ... of which 4 in 10 are positive, so
  // the 80th percentile counts: two in ten are larger (2 sin 72), the next ones are 2 sin 36.
  EXPECT_NEAR(value, 2 * std::sin(std::numbers::pi / 5), 1e-9);
}

TEST(BurstPaddingTest, DensePatternGivesItsMaximum) {
  Fft fft;
  BurstPadding padding;
  // Two of three values are +1, the third is -2: a fast pattern of mean zero.
  std::vector<double> series;
  for (int t = 0; t < 99; ++t) {
    series.push_back(t % 3 == 2 ? 3 : 6);
  }
  series.push_back(6);
  const double value = padding.Compute(series, fft);
  double largest = 0;
  for (double b : padding.pattern()) {
    largest = std::max(largest, b);
  }
  EXPECT_DOUBLE_EQ(value, largest);
  EXPECT_NEAR(value, 1, 0.5);
}

TEST(BurstPaddingTest, SpikeOnSlowWaveIsSeparated) {
  Fft fft;
  BurstPadding padding;
  std::vector<double> series = Wave(2, 2);
  series[50] += 4;
  (void)padding.Compute(series, fft);
  // 81 of the 100 lines of the whole spectrum are kept (10 to 90), each with 4/100 of the spike.
  EXPECT_NEAR(padding.pattern()[50], 4 * 0.81, 1e-9);
}

TEST(BurstPaddingTest, ConstantSeriesNeedsNone) {
  Fft fft;
  BurstPadding padding;
  EXPECT_EQ(padding.Compute(std::vector<double>(100, 0.3), fft), 0);
  EXPECT_EQ(padding.Compute(std::vector<double>(100, 0.0), fft), 0);
}

TEST(BurstPaddingTest, ShortSeriesTellNothing) {
  Fft fft;
  BurstPadding padding;
  EXPECT_EQ(padding.Compute({1, 9, 1, 9, 1, 9}, fft), 0);
}

TEST(BurstPaddingTest, IsNeverNegativeAndScales) {
  Fft fft;
  BurstPadding padding;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed);
    std::vector<double> series;
    std::vector<double> scaled;
    for (int t = 0; t < 40 + static_cast<int>(seed); ++t) {
      series.push_back(rng.Uniform(0, 4));
      scaled.push_back(series.back() * 1e9);
    }
    const double value = padding.Compute(series, fft);
    EXPECT_GE(value, 0);
    EXPECT_NEAR(padding.Compute(scaled, fft) / 1e9, value, 1e-9);
  }
}

TEST(RemedialPaddingTest, WeighsTheNewestMost) {
  RemedialPadding padding;
  for (int i = 1; i <= 10; ++i) {
    padding.Add(i == 10 ? 1.0 : 0.0);
  }
  EXPECT_DOUBLE_EQ(padding.Compute(), 10.0 / 55);
  padding.Add(0);
  EXPECT_DOUBLE_EQ(padding.Compute(), 9.0 / 55);
}

TEST(RemedialPaddingTest, AllTenWeightsCount) {
  RemedialPadding padding;
  for (int i = 1; i <= 12; ++i) {
    padding.Add(i);  // 3 to 12 remain: sum of i (i + 2), i = 1 to 10 = 385 + 110
  }
  EXPECT_DOUBLE_EQ(padding.Compute(), 495.0 / 55);
}

TEST(RemedialPaddingTest, OverEstimatesCountAsZero) {
  RemedialPadding padding;
  padding.Add(-3);
  EXPECT_EQ(padding.Compute(), 0);
  padding.Add(3);  // weights 1/3 and 2/3
  EXPECT_DOUBLE_EQ(padding.Compute(), 2);
}

TEST(PaddingTest, TotalIsTheLargerPart) {
  EXPECT_EQ((Padding{.burst = 1, .remedial = 2}).total(), 2);
  EXPECT_EQ((Padding{.burst = 3, .remedial = 2}).total(), 3);
}

}  // namespace
}  // namespace cloudscale::predictor
