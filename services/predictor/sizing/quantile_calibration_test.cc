#include "services/predictor/sizing/quantile_calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/random/rng.h"
#include "services/predictor/sizing/record_law.h"

namespace cloudscale::predictor {
namespace {

const std::vector<double> kRatios = {0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999};

// Uniform between these.
GridDistribution Uniform(float low, float high) {
  GridDistribution below{};
  for (size_t k = 0; k < ValueGrid::kSize; ++k) {
    below[k] = std::clamp((ValueGrid::Get()[k] - low) / (high - low), 0.0F, 1.0F);
  }
  return below;
}

size_t PlaceOf(const GridDistribution& below, double ratio) {
  size_t k = 0;
  while (k + 1 < ValueGrid::kSize && static_cast<double>(below[k]) < ratio) {
    ++k;
  }
  return k;
}

TEST(QuantileCalibrationTest, ChangesNothingBeforeAnythingHasEnded) {
  std::vector<double> asked(kRatios.size());
  QuantileCalibration().RatiosFor(kRatios, absl::MakeSpan(asked));
  for (size_t r = 0; r < kRatios.size(); ++r) {
    EXPECT_NEAR(asked[r], kRatios[r], 1e-5);
  }
}

TEST(QuantileCalibrationTest, AForecastTooWideOrTooNarrowComesToHoldWhatItSays) {
  for (const float width : {0.2F, 0.35F}) {
    Rng rng(7);
    const GridDistribution stated = Uniform(0.5F - width, 0.5F + width);
    const QuantileCalibration::Ladder ladder = QuantileCalibration::LadderOf(stated);
    QuantileCalibration calibration;
    for (int i = 0; i < 20000; ++i) {
      calibration.Observe(static_cast<float>(rng.Uniform(0.23, 0.77)), ladder, 1, 0.9995F);
    }
    std::vector<double> asked(kRatios.size());
    calibration.RatiosFor(kRatios, absl::MakeSpan(asked));
    EXPECT_TRUE(std::is_sorted(asked.begin(), asked.end()));
    for (size_t r = 0; r < 4; ++r) {
      const double value = static_cast<double>(ValueGrid::Get()[PlaceOf(stated, asked[r])]);
      const double held = std::clamp((value - 0.23) / 0.54, 0.0, 1.0);
      if (width > 0.3F) {
        EXPECT_NEAR(held, kRatios[r], 0.04) << width;
      } else if (r > 0) {
        EXPECT_GT(asked[r], kRatios[r]) << width;
      }
    }
  }
}

TEST(QuantileCalibrationTest, IsBoundedAndGrowingWhateverWasObserved) {
  Rng rng(3);
  for (int round = 0; round < 200; ++round) {
    QuantileCalibration calibration;
    const auto low = static_cast<float>(rng.Uniform(0, 0.9));
    const auto ladder = QuantileCalibration::LadderOf(
        Uniform(low, low + static_cast<float>(rng.Uniform(0.001, 1))));
    ASSERT_TRUE(QuantileCalibration::IsValid(ladder));
    const double middle = rng.Uniform(0, 1);
    for (int64_t i = rng.UniformInt(3000); i > 0; --i) {
      calibration.Observe(static_cast<float>(std::clamp(rng.Normal(middle, 0.1), 0.0, 1.0)), ladder,
                          static_cast<float>(rng.Uniform(0.1, 1)), 0.999F);
    }
    std::vector<double> asked(kRatios.size());
    calibration.RatiosFor(kRatios, absl::MakeSpan(asked));
    ASSERT_TRUE(std::is_sorted(asked.begin(), asked.end()));
    for (size_t r = 0; r < kRatios.size(); ++r) {
      ASSERT_GE(asked[r], 1 - 3.001 * (1 - kRatios[r]) - 1e-6);
      ASSERT_LE(asked[r], 1 - 0.499 * (1 - kRatios[r]) + 1e-6);
    }
  }
}

TEST(QuantileCalibrationTest, ALadderOfHalfTheCapacityIsTheSameOfTwiceAsMuch) {
  auto ladder = QuantileCalibration::LadderOf(Uniform(0.4F, 0.8F));
  const auto half = QuantileCalibration::LadderOf(Uniform(0.2F, 0.4F));
  QuantileCalibration::Rescale(0.5F, ladder);
  ASSERT_TRUE(QuantileCalibration::IsValid(ladder));
  for (size_t level = 0; level < QuantileCalibration::kLevels; ++level) {
    EXPECT_NEAR(ladder[level], half[level], 1);
  }
}

TEST(RecordLawTest, TheNextAreBeyondAllWithTheirShareOfTheSteps) {
  ValueCounts seen{};
  const ValueGrid& grid = ValueGrid::Get();
  seen[grid.CellOf(0.05F)] = 89;
  seen[grid.CellOf(0.1F)] = 1;
  GridDistribution below;
  LargestBySeen(10, seen, below);
  EXPECT_NEAR(below[grid.CellOf(0.1F)], 0.9, 1e-3);
  // Twice the largest, by a tail of the power one.
  EXPECT_NEAR(1 - below[grid.CellOf(0.2F)], 0.1 / 3, 0.002);
  EXPECT_NEAR(below[grid.CellOf(0.07F)], std::pow(0.9, 1.25), 1e-3);
  EXPECT_LT(below[grid.CellOf(0.04F)], 0.1);
  EXPECT_TRUE(std::is_sorted(below.begin(), below.end()));
}

TEST(RecordLawTest, IsDefinedForOneValueForNothingButZerosAndForAFullVm) {
  for (const float value : {0.0F, 0.3F, 1.0F}) {
    for (const int steps : {1, 100, 10000}) {
      ValueCounts seen{};
      seen[ValueGrid::Get().CellOf(value)] = 1;
      GridDistribution below;
      LargestBySeen(steps, seen, below);
      EXPECT_TRUE(std::is_sorted(below.begin(), below.end()));
      EXPECT_GE(below.front(), 0);
      EXPECT_LE(below.back(), 1);
    }
  }
}

// The values of an hour say more or less what the next holds, whatever their distribution.
TEST(RecordLawTest, HoldsOnIndependentValues) {
  Rng rng(11);
  double missed = 0;
  constexpr int kRounds = 2000;
  for (int round = 0; round < kRounds; ++round) {
    ValueCounts seen{};
    const auto next = [&] { return static_cast<float>(0.05 * std::exp(rng.Normal(0, 0.5))); };
    for (int i = 0; i < 100; ++i) {
      ++seen[ValueGrid::Get().CellOf(next())];
    }
    GridDistribution below;
    LargestBySeen(30, seen, below);
    const float quantile = ValueGrid::Get()[PlaceOf(below, 0.9)];
    float largest = 0;
    for (int i = 0; i < 30; ++i) {
      largest = std::max(largest, next());
    }
    missed += largest > quantile ? 1 : 0;
  }
  EXPECT_LE(missed / kRounds, 0.11);
  EXPECT_GE(missed / kRounds, 0.01);
}

}  // namespace
}  // namespace cloudscale::predictor
