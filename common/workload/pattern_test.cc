#include "common/workload/pattern.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::workload {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

constexpr Pattern kAll[] = {Pattern::kFlat,       Pattern::kSine,      Pattern::kSquare,
                            Pattern::kSpike,      Pattern::kRamp,      Pattern::kTrend,
                            Pattern::kRandomWalk, Pattern::kIdleBurst, Pattern::kWeb,
                            Pattern::kBatch,      Pattern::kBursty};

std::vector<double> Values(const PatternSpec& spec, uint64_t seed = 1) {
  return GeneratePattern("p", spec, Rng(seed)).value().values;
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Pearson correlation of a series with itself `lag` later.
double Autocorrelation(const std::vector<double>& values, size_t lag) {
  const double mean = Mean(values);
  double covariance = 0;
  double variance = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    variance += (values[i] - mean) * (values[i] - mean);
    if (i + lag < values.size()) {
      covariance += (values[i] - mean) * (values[i + lag] - mean);
    }
  }
  return covariance / variance;
}

class EveryPatternTest : public ::testing::TestWithParam<Pattern> {};

TEST_P(EveryPatternTest, StaysWithinTheVmAndHasTheLengthAsked) {
  const auto values = Values({.pattern = GetParam(),
                              .mean = 0.6,
                              .amplitude = 0.9,
                              .noise_ratio = 0.5,
                              .length = absl::Seconds(1000)});
  EXPECT_EQ(values.size(), 1000U);
  EXPECT_THAT(values, Each(AllOf(Ge(0.0), Le(1.0))));
}

TEST_P(EveryPatternTest, SameSeedSameSeriesOtherSeedOther) {
  const PatternSpec spec{.pattern = GetParam()};
  EXPECT_EQ(Values(spec, 7), Values(spec, 7));
  EXPECT_NE(Values(spec, 7), Values(spec, 8));
}

TEST_P(EveryPatternTest, NameIsParsedBack) {
  const auto parsed = ParsePattern(PatternName(GetParam()));
  CS_ASSERT_OK(parsed);
  EXPECT_EQ(*parsed, GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, EveryPatternTest, ::testing::ValuesIn(kAll), [](const auto& param) {
  std::string name(PatternName(param.param));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(PatternTest, FlatStaysNearTheMean) {
  const auto values = Values({.pattern = Pattern::kFlat, .mean = 0.4, .noise_ratio = 0});
  EXPECT_THAT(values, Each(0.4));
}

TEST(PatternTest, WebRepeatsWithItsPeriod) {
  const auto values = Values({.pattern = Pattern::kWeb, .period = absl::Seconds(120)});
  EXPECT_GT(Autocorrelation(values, 120), 0.85);
  EXPECT_LT(Autocorrelation(values, 60), 0);
  EXPECT_NEAR(Mean(values), 0.5, 0.03);
}

TEST(PatternTest, BurstyDoesNotRepeat) {
  EXPECT_LT(std::abs(Autocorrelation(Values({.pattern = Pattern::kBursty}), 120)), 0.3);
}

TEST(PatternTest, BatchIsIdleOrAtOneOfSeveralLevels) {
  const auto values =
      Values({.pattern = Pattern::kBatch, .mean = 0.5, .amplitude = 0.4, .noise_ratio = 0});
  const std::set<double> levels(values.begin(), values.end());
  EXPECT_GE(levels.size(), 5U);
  EXPECT_LE(levels.size(), 15U);
  EXPECT_NEAR(static_cast<double>(std::count(values.begin(), values.end(), *levels.begin())) / 3600,
              0.4, 0.05);
}

TEST(PatternTest, RampRisesThenFallsAtOnce) {
  const auto values = Values({.pattern = Pattern::kRamp,
                              .mean = 0.5,
                              .amplitude = 0.4,
                              .period = absl::Seconds(10),
                              .noise_ratio = 0});
  EXPECT_NEAR(values[0], 0.1, 1e-9);
  EXPECT_NEAR(values[9], 0.82, 1e-9);
  EXPECT_NEAR(values[10], 0.1, 1e-9);
}

TEST(PatternTest, TrendHasNoJumpWhereItBeginsAgain) {
  const auto values = Values({.pattern = Pattern::kTrend,
                              .mean = 0.5,
                              .amplitude = 0.4,
                              .noise_ratio = 0,
                              .length = absl::Seconds(1000)});
  EXPECT_NEAR(values[500], 0.9, 1e-9);
  EXPECT_NEAR(values.front(), values.back(), 0.01);
}

TEST(PatternTest, FaultsAreListedAllAtOnce) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(
      GeneratePattern("p", {.mean = 2, .amplitude = nan, .period = absl::Milliseconds(1)}, Rng(1)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("mean"), HasSubstr("amplitude"), HasSubstr("period"))));
  EXPECT_THAT(GeneratePattern("p", {.step = absl::ZeroDuration()}, Rng(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step")));
  EXPECT_THAT(GeneratePattern("p", {.length = absl::InfiniteDuration()}, Rng(1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("length")));
  EXPECT_THAT(ParsePattern("wev"), StatusIs(absl::StatusCode::kInvalidArgument,
                                            AllOf(HasSubstr("'wev'"), HasSubstr("web"))));
}

}  // namespace
}  // namespace cloudscale::workload
