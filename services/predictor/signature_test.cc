#include "services/predictor/signature.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "common/random/rng.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

std::vector<double> Repeat(const std::vector<double>& pattern, size_t length) {
  std::vector<double> series;
  for (size_t t = 0; t < length; ++t) {
    series.push_back(pattern[t % pattern.size()]);
  }
  return series;
}

std::vector<double> Sine(double period, size_t length) {
  std::vector<double> series;
  for (size_t t = 0; t < length; ++t) {
    series.push_back(2 + std::sin(2 * std::numbers::pi * static_cast<double>(t) / period));
  }
  return series;
}

TEST(PearsonTest, MatchesHandComputedValue) {
  // Means 2 and 3; sum of products 3, sums of squares 2 and 6.
  EXPECT_NEAR(Pearson({1, 2, 3}, {2, 2, 5}), 3 / std::sqrt(2.0 * 6.0), 1e-12);
  EXPECT_NEAR(Pearson({1, 2, 3}, {10, 20, 30}), 1, 1e-12);
  EXPECT_NEAR(Pearson({1, 2, 3}, {3, 2, 1}), -1, 1e-12);
}

TEST(PearsonTest, IsZeroWithoutVariation) { EXPECT_EQ(Pearson({1, 2, 3}, {5, 5, 5}), 0); }

TEST(DtwDistanceTest, MatchesHandComputedValue) {
  // Warped: 1-1, 2-1 (1), 3-3, 3-3, 4-4.
  EXPECT_DOUBLE_EQ(DtwDistance({1, 2, 3, 3, 4}, {1, 1, 3, 3, 4}, 1), 1);
  // Shifted by one: the end points cost nothing more than their own difference.
  EXPECT_DOUBLE_EQ(DtwDistance({0, 0, 1, 0}, {0, 1, 0, 0}, 1), 0);
}

TEST(DtwDistanceTest, WithoutBandIsTheSumOfDifferences) {
  EXPECT_DOUBLE_EQ(DtwDistance({0, 0, 1, 0}, {0, 1, 0, 0}, 0), 2);
}

TEST(DtwDistanceTest, ShorterSeriesStretches) {
  EXPECT_DOUBLE_EQ(DtwDistance({1, 5}, {1, 1, 5, 5}, 0), 0);
}

class SignaturePeriodTest : public ::testing::TestWithParam<int> {};

TEST_P(SignaturePeriodTest, PeriodOfAPeriodicSeriesIsFound) {
  const int period = GetParam();
  SignatureFinder finder{ModelParameters{}};
  Fft fft;
  const std::vector<double> series = Sine(period, 211);  // the phase differs from the window's
  const Signature& signature = finder.Find(series, fft);
  ASSERT_TRUE(signature.is_found);
  EXPECT_EQ(signature.period, period);
  EXPECT_GT(signature.correlation, 0.999);
  const auto recent = absl::MakeConstSpan(series).last(signature.pattern.size());
  const int phase = finder.Align(recent, signature.pattern);
  const auto next = static_cast<size_t>((phase + 1) % period);
  EXPECT_NEAR(signature.pattern[next], Sine(period, 212).back(), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Periods, SignaturePeriodTest,
                         ::testing::Values(4, 7, 10, 15, 24, 25, 30, 33, 50, 60, 66, 90, 100));

TEST(SignatureFinderTest, PatternIsTheMeanOfItsWindows) {
  ModelParameters parameters;
  parameters.signature_window = 64;
  SignatureFinder finder(parameters);
  Fft fft;
  std::vector<double> series = Repeat({1, 2, 8, 3, 1, 1, 1, 1}, 64);
  series[2] = 8.8;  // one of eight windows is higher by 0.8
  const Signature& signature = finder.Find(series, fft);
  ASSERT_TRUE(signature.is_found);
  ASSERT_EQ(signature.pattern.size(), 8u);
  EXPECT_NEAR(signature.pattern[2], 8.1, 1e-9);
  EXPECT_NEAR(signature.pattern[3], 3, 1e-9);
}

TEST(SignatureFinderTest, NoiseHasNoSignature) {
  SignatureFinder finder{ModelParameters{}};
  Fft fft;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed);
    std::vector<double> series;
    for (int t = 0; t < 200; ++t) {
      series.push_back(rng.Uniform());
    }
    EXPECT_FALSE(finder.Find(series, fft).is_found) << seed;
  }
}

TEST(SignatureFinderTest, ConstantSeriesHasNoSignature) {
  SignatureFinder finder{ModelParameters{}};
  Fft fft;
  EXPECT_FALSE(finder.Find(std::vector<double>(200, 0.1), fft).is_found);
  EXPECT_FALSE(finder.Find(std::vector<double>(200, 0.0), fft).is_found);
}

TEST(SignatureFinderTest, WindowsOfDifferentMeanAreRefused) {
  SignatureFinder finder{ModelParameters{}};
  Fft fft;
  std::vector<double> series = Sine(20, 200);
  for (size_t t = 0; t < 100; ++t) {
    series[t] *= 0.9;  // same shape, mean ratio 0.9
  }
  EXPECT_FALSE(finder.Find(series, fft).is_found);
}

TEST(SignatureFinderTest, AlignFindsAnyShift) {
  SignatureFinder finder{ModelParameters{}};
  const std::vector<double> pattern = {1, 2, 4, 8, 7, 5, 3, 2, 1, 1, 0, 0};
  for (size_t phase = 0; phase < pattern.size(); ++phase) {
    std::vector<double> recent;
    for (size_t i = 0; i < pattern.size(); ++i) {
      recent.push_back(pattern[(phase + 1 + i) % pattern.size()]);
    }
    EXPECT_EQ(finder.Align(recent, pattern), static_cast<int>(phase));
  }
}

TEST(SignatureFinderTest, AlignFollowsALateEnd) {
  // The series stayed one step longer at its start, so it is one step behind at its end.
  ModelParameters parameters;
  parameters.alignment_band_ratio = 0.2;
  SignatureFinder finder(parameters);
  const std::vector<double> pattern = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<double> recent = {0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(finder.Align(recent, pattern), 8);
}

}  // namespace
}  // namespace cloudscale::predictor
