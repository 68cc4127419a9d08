#include "services/predictor/sizing/portfolio.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/random/rng.h"
#include "services/predictor/sizing/sizing_testing.h"
#include "services/predictor/sizing/state_archive.h"

namespace cloudscale::predictor {
namespace {

using ::testing::AllOf;
using ::testing::FloatNear;
using ::testing::Ge;
using ::testing::Le;

struct Outcome {
  double violation_ratio = 0;
  double allocation_ratio = 0;  // allocation over demand
};

// Sizes step by step; the second half counts. Closed loop: the state sees only what it granted.
Outcome Play(SizingState& state, const std::vector<double>& demand, bool is_closed = false) {
  double violations = 0;
  double allocated = 0;
  double demanded = 0;
  for (size_t t = 0; t < demand.size(); ++t) {
    const double size = state.Size(1);
    if (t >= demand.size() / 2) {
      violations += demand[t] > size ? 1 : 0;
      allocated += size;
      demanded += demand[t];
    }
    const bool is_censored = is_closed && demand[t] > size;
    state.Observe({.demand = is_censored ? size : demand[t], .is_censored = is_censored});
  }
  return {violations / static_cast<double>(demand.size() - demand.size() / 2),
          allocated / demanded};
}

TEST(ValueGridTest, CellIsTheLowestPointNotBelow) {
  const ValueGrid& grid = ValueGrid::Get();
  Rng rng(1);
  for (int i = 0; i < 20000; ++i) {
    const auto value = static_cast<float>(std::exp(rng.Uniform(-6, 0.1)));
    size_t expected = 0;
    while (expected < ValueGrid::kSize && grid[expected] < value) {
      ++expected;
    }
    ASSERT_EQ(grid.CellOf(value), expected) << value;
  }
  EXPECT_EQ(grid.CellOf(-1), 0U);
  EXPECT_EQ(grid.CellOf(1), ValueGrid::kSize - 1);
  EXPECT_EQ(grid.CellOf(1.0001F), ValueGrid::kSize);
}

TEST(ResidualExpertTest, QuantilesAreThoseOfTheResiduals) {
  // Ten errors in turn, so that the scale, their recent mean of 0.055, hardly moves.
  ResidualExpert expert;
  for (int t = 0; t < 4000; ++t) {
    expert.Point(0.5F);
    expert.Observe(0.51F + 0.01F * static_cast<float>(t * 7 % 10), 0.999F);
  }
  const float bin = 0.25F * 0.055F;
  EXPECT_THAT(expert.Quantile(0.5F), FloatNear(0.55F, bin));
  EXPECT_THAT(expert.Quantile(0.9F), FloatNear(0.59F, bin));
  EXPECT_THAT(expert.Quantile(0.99F), FloatNear(0.60F, bin));
}

TEST(ResidualExpertTest, DistributionAndQuantileAgree) {
  ResidualExpert expert;
  Rng rng(3);
  for (int t = 0; t < 500; ++t) {
    expert.Point(0.3F);
    expert.Observe(static_cast<float>(0.3 + rng.Normal(0, 0.04)), 0.999F);
  }
  GridDistribution below;
  expert.Distribution(below);
  EXPECT_TRUE(std::is_sorted(below.begin(), below.end()));
  for (const float ratio : {0.2F, 0.5F, 0.9F, 0.97F}) {
    const float quantile = expert.Quantile(ratio);
    const size_t cell = ValueGrid::Get().CellOf(quantile);
    EXPECT_THAT(below[cell], Ge(ratio - 1e-3F));
    EXPECT_THAT(below[cell - 1], Le(ratio + 1e-3F));
  }
}

TEST(ResidualExpertTest, OldResidualsFade) {
  ResidualExpert expert;
  for (int t = 0; t < 2000; ++t) {
    expert.Point(0.5F);
    expert.Observe(t < 1000 ? (t % 2 == 0 ? 0.2F : 0.8F) : 0.5F, 0.99F);
  }
  EXPECT_THAT(expert.Quantile(0.99F), FloatNear(0.5F, 0.01F));
}

TEST(AnalogMemoryTest, KnowsWhatFollowsAPatternThatComesAgain) {
  // The value after 0.2 depends on what was before it, so no function of the last value can tell.
  const std::vector<float> pattern = {0.2F, 0.6F, 0.2F, 0.9F, 0.4F};
  AnalogMemory memory;
  GridDistribution flat;
  flat.fill(0.5F);
  GridDistribution levels;
  GridDistribution changes;
  for (size_t t = 0; t < 803; ++t) {
    memory.Observe(pattern[t % pattern.size()]);
    memory.Adapt(memory.Forecast(1, flat, levels, changes));
  }
  // Two steps into the pattern's middle: 0.2, 0.6, 0.2 → 0.9.
  static_cast<void>(memory.Forecast(1, flat, levels, changes));
  const size_t cell = ValueGrid::Get().CellOf(0.9F);
  EXPECT_GT(levels[cell] - levels[cell - 1], 0.9F);
  EXPECT_LT(levels[cell - 1], 0.1F);
  EXPECT_GT(changes[cell + 1] - changes[cell - 2], 0.9F);
  // Any of the next two steps: half 0.9, half 0.4.
  static_cast<void>(memory.Forecast(2, flat, levels, changes));
  const size_t lower = ValueGrid::Get().CellOf(0.4F);
  EXPECT_THAT(levels[lower] - levels[lower - 1], FloatNear(0.5F, 0.06F));
}

template <typename T>
std::string BytesOf(const T& value) {
  std::string bytes;
  StateWriter writer(&bytes);
  writer(value);
  return bytes;
}

template <typename T>
bool Read(absl::string_view bytes, T& value) {
  StateReader reader(bytes);
  reader(value);
  return reader.ok() && reader.at_end();
}

TEST(ResidualExpertTest, TheFirstResidualOnlySetsTheScale) {
  // Else it would be measured by the least scale, and stay a far outlier for days.
  ResidualExpert expert;
  expert.Point(0.1F);
  expert.Observe(0.2F, 0.999F);
  for (int t = 0; t < 50; ++t) {
    expert.Point(0.1F);
    expert.Observe(t % 2 == 0 ? 0.05F : 0.15F, 0.999F);
  }
  EXPECT_LT(expert.Quantile(0.99F), 0.17F);
}

TEST(AnalogMemoryTest, MarginalIsTheShareOfRememberedValues) {
  Rng rng(5);
  GridDistribution fallback;
  fallback.fill(0.25F);
  GridDistribution levels;
  for (const size_t count : {size_t{1}, size_t{10}, AnalogMemory::kMoments, size_t{1500}}) {
    AnalogMemory memory;
    for (size_t t = 0; t < count; ++t) {
      memory.Observe(static_cast<float>(rng.Uniform(0, 1)));
    }
    memory.Marginal(fallback, levels);
    for (size_t k = 0; k < ValueGrid::kSize; ++k) {
      size_t below = 0;
      for (size_t age = 0; age < memory.size(); ++age) {
        below += memory.at_age(age) <= ValueGrid::Get()[k] ? 1 : 0;
      }
      const auto size = static_cast<float>(memory.size());
      ASSERT_THAT(levels[k], FloatNear((static_cast<float>(below) + 0.25F) / (size + 1), 1e-6F));
    }
  }
}

TEST(AnalogMemoryTest, ForgetsBeyondItsSizeAndContinuesFromItsBytes) {
  Rng rng(4);
  AnalogMemory memory;
  for (size_t t = 0; t < 3 * AnalogMemory::kMoments; ++t) {
    memory.Observe(static_cast<float>(rng.Uniform(0, 1)));
  }
  EXPECT_EQ(memory.size(), AnalogMemory::kMoments);
  AnalogMemory copy;
  ASSERT_TRUE(Read(BytesOf(memory), copy));
  GridDistribution flat;
  flat.fill(0.5F);
  GridDistribution a;
  GridDistribution b;
  GridDistribution unused;
  for (int t = 0; t < 50; ++t) {
    const auto value = static_cast<float>(rng.Uniform(0, 1));
    memory.Observe(value);
    copy.Observe(value);
    const float neighbours = memory.Forecast(1, flat, a, unused);
    EXPECT_EQ(neighbours, copy.Forecast(1, flat, b, unused));
    EXPECT_EQ(a, b);
    memory.Adapt(neighbours);
    copy.Adapt(neighbours);
  }
  const std::string good = BytesOf(memory);
  const auto with = [&](size_t offset, auto value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + offset, &value, sizeof(value));
    return bytes;
  };
  EXPECT_FALSE(Read(with(good.size() - 8, int32_t{-1}), copy));  // where the newest stands
  EXPECT_FALSE(Read(with(good.size() - 8, int32_t{1024}), copy));
  const size_t distance = AnalogMemory::kMoments * sizeof(uint16_t) + 28;
  EXPECT_FALSE(Read(with(distance, NAN), copy));
  EXPECT_FALSE(Read(with(distance, -1.5F), copy));
  EXPECT_FALSE(Read(good.substr(1), copy));
}

TEST(PriceControllerTest, FollowsTheMeasuredRate) {
  PriceController price(0.02);
  const double base = price.price();
  EXPECT_NEAR(base, 0.011 * std::pow(0.02, -1.3), 1e-9);
  for (int t = 0; t < 500; ++t) {
    price.Observe(t % 25 == 0);  // 4 %
  }
  EXPECT_GT(price.price(), 2 * base);
  for (int t = 0; t < 5000; ++t) {
    price.Observe(false);
  }
  EXPECT_LT(price.price(), base / 2);
}

TEST(PriceControllerTest, BytesOutsideItsBoundsAreRefused) {
  PriceController price(0.02);
  const auto bytes = [](double violations, double steps) {
    return BytesOf(std::array<double, 2>{violations, steps});
  };
  EXPECT_TRUE(Read(bytes(3, 100), price));
  EXPECT_FALSE(Read(bytes(101, 100), price));
  EXPECT_FALSE(Read(bytes(NAN, 100), price));
  EXPECT_FALSE(Read(bytes(1, 1e9), price));
}

TEST(PortfolioTest, MeetsTheRateThatItIsAskedForOpenAndClosed) {
  for (const double target : {0.01, 0.05}) {
    for (const bool is_closed : {false, true}) {
      Portfolio portfolio(CpuTraits(), target);
      const Outcome outcome = Play(portfolio, NoisyDays(14 * 288, 288, 7), is_closed);
      EXPECT_THAT(outcome.violation_ratio, AllOf(Ge(0.5 * target), Le(1.5 * target)))
          << target << " " << is_closed;
    }
  }
}

TEST(PortfolioTest, AsksForLessThanTheLargestOfTheWindowAtTheSameRate) {
  const std::vector<double> demand = NoisyDays(14 * 288, 288, 8);
  const auto window = StartMethod("max24", CpuTraits());
  const Outcome reference = Play(*window, demand);
  Portfolio portfolio(CpuTraits(), std::max(0.003, reference.violation_ratio));
  const Outcome outcome = Play(portfolio, demand);
  EXPECT_LT(outcome.allocation_ratio, 0.97 * reference.allocation_ratio);
}

TEST(PortfolioTest, LearnsAPeriodThatIsNoDay) {
  std::vector<double> demand;
  for (int t = 0; t < 2000; ++t) {
    demand.push_back(t % 37 < 5 ? 0.9 : 0.1);
  }
  Portfolio portfolio(CpuTraits(), 0.02);
  const Outcome outcome = Play(portfolio, demand);
  EXPECT_LT(outcome.violation_ratio, 0.02);
  EXPECT_LT(outcome.allocation_ratio, 1.1);  // a fixed size that holds would take 4.3
}

TEST(PortfolioTest, AFlatSeriesIsNeverStarvedToUseUpItsTarget) {
  Portfolio portfolio(CpuTraits(), 0.1);
  Rng rng(12);
  for (int t = 0; t < 6000; ++t) {
    const double demand = 0.3 + rng.Normal(0, 0.002);
    if (t > 100) {
      ASSERT_GE(portfolio.Size(1), 0.9 * demand) << t;
    }
    portfolio.Observe({.demand = demand});
  }
}

TEST(PortfolioTest, FollowsALevelShift) {
  std::vector<double> demand(1500, 0.2);
  demand.resize(3000, 0.7);
  Portfolio portfolio(CpuTraits(), 0.02);
  for (const double value : demand) {
    static_cast<void>(portfolio.Size(1));
    portfolio.Observe({.demand = value});
  }
  EXPECT_THAT(portfolio.Size(1), AllOf(Ge(0.7), Le(0.75)));
}

TEST(PortfolioTest, P1CensoredStepsRaiseTheSizeUntilItHolds) {
  Portfolio portfolio(CpuTraits(), 0.02);
  for (int t = 0; t < 500; ++t) {
    static_cast<void>(portfolio.Size(1));
    portfolio.Observe({.demand = 0.2});
  }
  double before = portfolio.Size(1);
  int steps = 0;
  for (; before < 0.8 && steps < 40; ++steps) {
    portfolio.Observe({.demand = before, .is_censored = true});
    const double size = portfolio.Size(1);
    EXPECT_GE(size, before);
    before = size;
  }
  EXPECT_LE(steps, 8);
}

TEST(PortfolioTest, MoreCarefulTargetsNeverAskForLessAtFirst) {
  const std::vector<double> demand = NoisyDays(200, 288, 9);
  double before = 0;
  for (const double target : {0.2, 0.05, 0.02, 0.01, 0.003}) {
    Portfolio portfolio(CpuTraits(), target);
    ObserveAll(portfolio, demand);  // without sizes the price stays at its base
    const double size = portfolio.Size(1);
    EXPECT_GE(size, before) << target;
    before = size;
  }
}

TEST(PortfolioTest, AskingTwiceChangesNothing) {
  Portfolio once(CpuTraits(), 0.02);
  Portfolio twice(CpuTraits(), 0.02);
  for (const double value : NoisyDays(600, 288, 10)) {
    static_cast<void>(twice.Size(1));
    static_cast<void>(twice.Expected(1));
    ASSERT_EQ(once.Size(1), twice.Size(1));
    once.Observe({.demand = value});
    twice.Observe({.demand = value});
  }
}

TEST(PortfolioTest, StateIsSmall) {
  for (const absl::Duration step : {absl::Seconds(1), absl::Seconds(10), absl::Minutes(5)}) {
    Portfolio portfolio(CpuTraits(step), 0.02);
    ObserveAll(portfolio, NoisyDays(3000, 288, 11));
    EXPECT_LE(portfolio.bytes(), 13U * 1024);
  }
}

// Plays on in closed loop with constant demand; returns after how many steps it is all granted.
int StepsUntilGranted(SizingState& state, double demand, int bound) {
  for (int steps = 1; steps <= bound; ++steps) {
    const double size = state.Size(1);
    if (size >= demand) {
      return steps;
    }
    state.Observe({.demand = size, .is_censored = true});
  }
  return bound + 1;
}

TEST(PortfolioTest, P1AnIdleVmThatWakesIsNotStarvedForHavingBeenIdle) {
  for (const absl::Duration step : {absl::Seconds(10), absl::Minutes(5)}) {
    for (const double target : {0.02, 0.1}) {
      for (const double load : {0.5, 0.9}) {
        Portfolio open(CpuTraits(step), target);
        Portfolio closed(CpuTraits(step), target);
        for (int t = 0; t < 2000; ++t) {
          for (Portfolio* portfolio : {&open, &closed}) {
            static_cast<void>(portfolio->Size(1));
            portfolio->Observe({.demand = 0.02});
          }
        }
        open.Observe({.demand = load});
        open.Observe({.demand = load});
        EXPECT_GE(open.Size(1), 0.9 * load) << step << " " << target;
        EXPECT_LE(StepsUntilGranted(closed, load, 100), 12) << step << " " << target << " " << load;
      }
    }
  }
}

TEST(PortfolioTest, P1AShortDailyJobGetsNearlyAllItWants) {
  Portfolio portfolio(CpuTraits(absl::Seconds(10)), 0.02);
  double wanted = 0;
  double granted = 0;
  for (int t = 0; t < 7 * 8640; ++t) {
    const bool is_job = t % 8640 >= 4000 && t % 8640 < 4060;
    const double demand = is_job ? 0.9 : 0.02;
    const double size = portfolio.Size(1);
    if (is_job && t > 6 * 8640) {
      wanted += demand;
      granted += std::min(demand, size);
    }
    portfolio.Observe({.demand = std::min(demand, size), .is_censored = demand > size});
  }
  EXPECT_GE(granted, 0.85 * wanted);
}

TEST(PortfolioTest, YesterdayIsYesterdayInLongSlotsToo) {
  // A day of 86400 steps is kept in 720 slots of 120 steps.
  Portfolio portfolio(CpuTraits(absl::Seconds(1)), 0.02);
  double least_inside = 1;
  double at_the_edge = 0;
  for (int t = 0; t < 2 * 86400 + 4000; ++t) {
    const bool is_measured = t >= 2 * 86400 + 60 && t < 2 * 86400 + 3500;
    const double demand = t % 86400 < 3600 ? 0.8 : 0.2;
    if (is_measured || t % 50 == 0 || t == 2 * 86400 || t > 2 * 86400 - 5) {
      const double size = portfolio.Size(1);
      least_inside = is_measured ? std::min(least_inside, size) : least_inside;
      at_the_edge = t == 2 * 86400 ? size : at_the_edge;
    }
    portfolio.Observe({.demand = demand});
  }
  EXPECT_GE(least_inside, 0.8);
  EXPECT_GE(at_the_edge, 0.2);
}

TEST(PortfolioTest, YesterdaysStepsHelpWhereNothingElseCanTell) {
  // Each day repeats the first day's noise, shifted a little by that day's level.
  Rng rng(13);
  std::vector<double> day;
  for (int t = 0; t < 288; ++t) {
    day.push_back(rng.Uniform(0.2, 0.8));
  }
  std::vector<double> same;
  std::vector<double> fresh;
  for (int t = 0; t < 5 * 288; ++t) {
    const double level = 0.02 * (t / 288 % 3);
    same.push_back(day[static_cast<size_t>(t % 288)] + level);
    fresh.push_back(rng.Uniform(0.2, 0.8) + level);
  }
  Portfolio a(CpuTraits(), 0.02);
  Portfolio b(CpuTraits(), 0.02);
  EXPECT_LT(Play(a, same).allocation_ratio, 0.85 * Play(b, fresh).allocation_ratio);
}

TEST(PortfolioTest, OneNoisyDayIsMetWithTheShareOfItsValues) {
  // Nothing can be forecast: the best is one size, the quantile of the steps so far.
  double violations = 0;
  double allocation = 0;
  constexpr int kDays = 20;
  for (int day = 0; day < kDays; ++day) {
    Rng rng(static_cast<uint64_t>(100 + day));
    std::vector<double> demand;
    for (int t = 0; t < 288; ++t) {
      demand.push_back(std::min(1.0, 0.1 * std::exp(rng.Normal(0, 0.6))));
    }
    Portfolio portfolio(CpuTraits(), 0.05);
    const Outcome outcome = Play(portfolio, demand);
    violations += outcome.violation_ratio / kDays;
    allocation += outcome.allocation_ratio / kDays;
  }
  EXPECT_LT(violations, 0.1);
  EXPECT_LT(allocation, 2.45);  // with the true 95 % quantile: 0.268 / 0.12 = 2.24
}

TEST(PortfolioTest, TargetsOutsideTheRangeAreBroughtIntoIt) {
  for (const double target : {0.0, -1.0, 2.0}) {
    Portfolio portfolio(CpuTraits(), target);
    ObserveAll(portfolio, std::vector<double>(50, 0.5));
    EXPECT_GE(portfolio.Size(1), 0.45) << target;
  }
}

}  // namespace
}  // namespace cloudscale::predictor
