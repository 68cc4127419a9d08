// What every method promises, whatever it computes.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace cloudscale::predictor {
namespace {

class SizingPropertiesTest : public testing::TestWithParam<std::string> {
 protected:
  [[nodiscard]] std::unique_ptr<SizingState> Start(const SeriesTraits& traits,
                                                   double knob = -1) const {
    return StartMethod(GetParam(), traits, knob);
  }
};

// But `cloudscale`, which measures the pressure against the size that it said, and `portfolio`,
// which steers its price by how often that size was too small.
class SizingQueryTest : public SizingPropertiesTest {};
// But `autopilot_ml`: with another cost it may follow another model (autopilot_ml_test.cc).
class SizingKnobTest : public SizingPropertiesTest {};

constexpr int kHorizons[] = {1, 6, 300};

void ExpectInRange(SizingState& state, double capacity) {
  for (const int steps : kHorizons) {
    for (const double value : {state.Size(steps), state.Expected(steps)}) {
      ASSERT_GE(value, 0) << steps;
      ASSERT_LE(value, capacity) << steps;
    }
  }
}

TEST_P(SizingPropertiesTest, CapacityBeforeTheFirstStep) {
  const auto state = Start(CpuTraits(absl::Minutes(5), 4));
  EXPECT_EQ(state->Size(1), 4);
  EXPECT_EQ(state->Expected(1), 4);
  state->Skip(3);
  EXPECT_EQ(state->Size(6), 4);
}

TEST_P(SizingPropertiesTest, OneSampleIsEnoughForAnAnswer) {
  const auto state = Start(CpuTraits());
  state->Observe({.demand = 0.3});
  ExpectInRange(*state, 1);
  EXPECT_GE(state->Size(1), 0.3);
  EXPECT_GT(state->Expected(1), 0.25);
}

TEST_P(SizingPropertiesTest, ConstantSeriesIsServedAndSettles) {
  for (const SeriesTraits& traits : {CpuTraits(), MemoryTraits()}) {
    const auto state = Start(traits);
    ObserveAll(*state, std::vector<double>(1200, 0.3));
    ExpectInRange(*state, 1);
    EXPECT_GE(state->Size(1), 0.3 - 1e-9);
    EXPECT_LE(state->Size(1), 0.5);
    EXPECT_NEAR(state->Expected(1), 0.3, 0.02);
  }
}

TEST_P(SizingPropertiesTest, AllZeroAsksForLittle) {
  const auto state = Start(CpuTraits());
  ObserveAll(*state, std::vector<double>(1200, 0));
  ExpectInRange(*state, 1);
  // The least that the first bucket of a histogram or a first spread leave.
  EXPECT_LE(state->Size(1), 0.05);
}

TEST_P(SizingPropertiesTest, HugeAndTinyValuesStayInRange) {
  const auto state = Start(CpuTraits(absl::Minutes(5), 2));
  for (int t = 0; t < 1000; ++t) {
    state->Observe({.demand = t % 7 == 0 ? 1e18 : 1e-300 * t, .is_censored = t % 5 == 0});
    ExpectInRange(*state, 2);
  }
}

TEST_P(SizingPropertiesTest, StaysWithinCapacityOnAWildSeries) {
  for (const double knob : {0.5, 100.0}) {
    const auto state =
        Start(MemoryTraits(absl::Hours(1), 8), GetParam() == "vpa_percentile" ? 0.9999 : knob);
    Rng rng(7);
    for (int t = 0; t < 1500; ++t) {
      if (rng.Chance(0.02)) {
        state->Skip(1 + rng.UniformInt(50));
      }
      state->Observe({.demand = rng.Exponential(2), .is_censored = rng.Chance(0.1)});
      ExpectInRange(*state, 8);
    }
  }
}

TEST_P(SizingPropertiesTest, LongGapNeverMakesTheSizeSmaller) {
  for (const int64_t gap : {int64_t{1}, int64_t{100}, int64_t{100'000}, int64_t{1} << 50}) {
    const auto state = Start(CpuTraits());
    ObserveAll(*state, NoisyDays(1000, 288, 3));
    const double expected = state->Expected(6);
    const double size = state->Size(6);
    state->Skip(gap);
    EXPECT_GE(state->Size(6), size) << gap;
    EXPECT_GE(state->Expected(6), expected) << gap;
    state->Skip(1);
    EXPECT_GE(state->Size(6), size) << gap;
    ObserveAll(*state, NoisyDays(100, 288, 4));
    ExpectInRange(*state, 1);
  }
}

TEST_P(SizingPropertiesTest, CensoredRunNeverMakesTheSizeSmaller) {
  const auto state = Start(CpuTraits());
  ObserveAll(*state, NoisyDays(1000, 288, 5));
  double expected = state->Expected(1);
  double size = state->Size(1);
  for (int t = 0; t < 400; ++t) {
    state->Observe({.demand = 0.02, .is_censored = true});
    ASSERT_GE(state->Size(1), size) << t;
    ASSERT_GE(state->Expected(1), expected) << t;
    size = state->Size(1);
    expected = state->Expected(1);
  }
  // The run ends: what is known again may be believed again.
  ObserveAll(*state, std::vector<double>(4000, 0.02));
  EXPECT_LT(state->Size(1), size);
}

TEST_P(SizingPropertiesTest, ScaleOfDemandAndCapacityIsScaleOfTheSize) {
  for (const Resource resource : {Resource::kCpu, Resource::kMemory}) {
    // A power of two, so that the parts of the capacity are the same to the last bit.
    const double scale = std::exp2(33);
    const auto small = Start({.resource = resource, .step = absl::Minutes(5), .capacity = 1});
    const auto large = Start({.resource = resource, .step = absl::Minutes(5), .capacity = scale});
    for (const double value : NoisyDays(900, 288, 6)) {
      small->Observe({.demand = value});
      large->Observe({.demand = value * scale});
      ASSERT_EQ(large->Size(1), small->Size(1) * scale);
      ASSERT_EQ(large->Expected(6), small->Expected(6) * scale);
    }
  }
}

TEST_P(SizingPropertiesTest, SameInputGivesTheSameToTheLastBit) {
  const auto a = Start(CpuTraits());
  const auto b = Start(CpuTraits());
  const auto other = Start(CpuTraits());
  Rng rng(9);
  for (const double value : NoisyDays(700, 288, 8)) {
    const StepDemand step{.demand = value, .is_censored = rng.Chance(0.05)};
    a->Observe(step);
    // What another series computes in between does not matter.
    other->Observe({.demand = 1 - value / 2});
    (void)other->Size(5);
    b->Observe(step);
    if (rng.Chance(0.02)) {
      a->Skip(3);
      b->Skip(3);
    }
    ASSERT_EQ(a->Size(1), b->Size(1));
    ASSERT_EQ(a->Size(6), b->Size(6));
    ASSERT_EQ(a->Expected(6), b->Expected(6));
  }
}

TEST_P(SizingQueryTest, AskingChangesNothing) {
  const auto asked = Start(CpuTraits());
  const auto silent = Start(CpuTraits());
  for (const double value : NoisyDays(700, 288, 10)) {
    asked->Observe({.demand = value});
    silent->Observe({.demand = value});
    (void)asked->Size(3);
    (void)asked->Expected(60);
  }
  EXPECT_EQ(asked->Size(1), silent->Size(1));
  EXPECT_EQ(asked->Expected(6), silent->Expected(6));
}

TEST_P(SizingKnobTest, SizeGrowsWithTheKnob) {
  const SizingRegistry registry;
  const SizingMethod* method = registry.Find(GetParam());
  ASSERT_NE(method, nullptr);
  const std::vector<double> demand = NoisyDays(800, 288, 11);
  double before = 0;
  for (const double knob : method->knob().sweep) {
    const auto state = method->Start(CpuTraits(), knob);
    ObserveAll(*state, demand);
    const double size = state->Size(1);
    EXPECT_GE(size, before) << knob;
    before = size;
  }
}

TEST_P(SizingPropertiesTest, ShortStepsKeepBoundedState) {
  const auto state = Start(CpuTraits(absl::Seconds(1)));
  const std::vector<double> demand = NoisyDays(86'400, 3600, 12);
  for (size_t t = 0; t < 3000; ++t) {
    state->Observe({.demand = demand[t]});
    if (t % 500 == 0) {
      ExpectInRange(*state, 1);
    }
  }
  state->Skip(86'400 - 3000);
  ObserveAll(*state, {demand.begin(), demand.begin() + 3000});
  ExpectInRange(*state, 1);
  EXPECT_LE(state->bytes(), size_t{64} << 10);
}

std::vector<std::string> NamesBut(const std::set<absl::string_view>& left_out) {
  const SizingRegistry registry;
  std::vector<std::string> names;
  for (const auto& method : registry.methods()) {
    if (!left_out.contains(method->name())) {
      names.emplace_back(method->name());
    }
  }
  return names;
}

std::string NameOf(const testing::TestParamInfo<std::string>& test) { return test.param; }

INSTANTIATE_TEST_SUITE_P(All, SizingPropertiesTest, testing::ValuesIn(NamesBut({})), NameOf);
INSTANTIATE_TEST_SUITE_P(All, SizingQueryTest,
                         testing::ValuesIn(NamesBut({"cloudscale", "portfolio"})), NameOf);
INSTANTIATE_TEST_SUITE_P(All, SizingKnobTest, testing::ValuesIn(NamesBut({"autopilot_ml"})),
                         NameOf);

TEST(SizingRegistryTest, HoldsThePublishedMethodsInOrderOfName) {
  const SizingRegistry registry;
  const std::vector<std::string> names = NamesBut({});
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const char* name : {"agile",
                           "autocorrelation",
                           "autopilot",
                           "autopilot_ml",
                           "autoregression",
                           "cloudscale",
                           "crane",
                           "ewma",
                           "histogram",
                           "holt",
                           "holt_winters",
                           "last",
                           "markov",
                           "max",
                           "max24",
                           "max6",
                           "mean",
                           "press",
                           "seasonal_naive",
                           "signature",
                           "vpa",
                           "vpa_percentile"}) {
    EXPECT_NE(registry.Find(name), nullptr) << name;
  }
  EXPECT_EQ(registry.Find("no such method"), nullptr);
}

TEST(SizingRegistryTest, EveryMethodSaysWhatItIs) {
  const SizingRegistry registry;
  for (const auto& method : registry.methods()) {
    EXPECT_FALSE(method->description().empty()) << method->name();
    EXPECT_FALSE(method->source().empty()) << method->name();
    EXPECT_FALSE(method->knob().meaning.empty()) << method->name();
    const std::vector<double>& sweep = method->knob().sweep;
    EXPECT_GE(sweep.size(), 10u) << method->name();
    // A target rate falls as care grows.
    EXPECT_TRUE(std::is_sorted(sweep.begin(), sweep.end()) ||
                std::is_sorted(sweep.rbegin(), sweep.rend()))
        << method->name();
    const auto [least, most] = std::minmax(sweep.front(), sweep.back());
    EXPECT_GE(method->knob().published, least) << method->name();
    EXPECT_LE(method->knob().published, most) << method->name();
  }
}

}  // namespace
}  // namespace cloudscale::predictor
