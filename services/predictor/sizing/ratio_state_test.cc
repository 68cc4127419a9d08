// What the methods share, and that none allocates once it is warm.
#include "services/predictor/sizing/ratio_state.h"

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace {
std::atomic<int64_t> allocations{0};
}  // namespace

// Counts every allocation of this test binary. Not inlined: the compiler would take an inlined half
// of the pair for a mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) {
    std::abort();
  }
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace cloudscale::predictor {
namespace {

// Answers what it is told, and keeps what it is given.
class ScriptedState final : public RatioState {
 public:
  explicit ScriptedState(const SeriesTraits& traits) : RatioState(traits) {}
  size_t bytes() const override { return sizeof(*this); }
  double size = 0.5;
  double expected = 0.4;
  Sample last;
  int64_t passed = 0;
  [[nodiscard]] double applied() const { return applied_ratio(); }

 private:
  void Learn(const Sample& sample) override { last = sample; }
  void Pass(int64_t steps) override { passed += steps; }
  double SizeRatio(int steps) override { return size * steps; }
  double ExpectedRatio(int) override { return expected; }
};

TEST(RatioStateTest, PartsOfTheCapacity) {
  ScriptedState state(CpuTraits(absl::Minutes(5), 8));
  state.Observe({.demand = 2});
  EXPECT_EQ(state.last.ratio, 0.25);
  EXPECT_EQ(state.Size(1), 4);
  EXPECT_EQ(state.applied(), 0.5);
  EXPECT_EQ(state.Size(3), 8);
  EXPECT_EQ(state.applied(), 1);
  state.Observe({.demand = 1e300});
  EXPECT_EQ(state.last.ratio, 1);
  state.Observe({.demand = 1e-300});
  EXPECT_EQ(state.last.ratio, 0);
  for (const double wrong : {-1.0, 2.0, std::nan(""), HUGE_VAL}) {
    state.size = wrong;
    EXPECT_EQ(state.Size(1), wrong < 0 ? 0 : 8);
  }
}

TEST(RatioStateTest, LearnsNoLessThanItExpectedFromACensoredStep) {
  ScriptedState state(CpuTraits());
  state.Observe({.demand = 0.1, .is_censored = true});
  EXPECT_DOUBLE_EQ(state.last.ratio, 0.12);  // nothing was expected yet
  state.Observe({.demand = 0.1, .is_censored = true});
  EXPECT_EQ(state.last.ratio, 0.4);
  EXPECT_EQ(state.last.seen, 0.1);
  EXPECT_TRUE(state.last.is_censored);
  state.Observe({.demand = 0.7, .is_censored = true});
  EXPECT_DOUBLE_EQ(state.last.ratio, 0.84);
  state.Observe({.demand = 0.9, .is_censored = true});
  EXPECT_EQ(state.last.ratio, 1);
  state.Observe({.demand = 0.1});
  EXPECT_EQ(state.last.ratio, 0.1);
}

TEST(RatioStateTest, LiftsWhatTheAllocationLetThroughAndNotAnEstimateBeyondIt) {
  ScriptedState state(CpuTraits());
  const double capacity = CpuTraits().capacity;
  state.Observe({.demand = 0.1 * capacity, .is_censored = true, .held = 0.1 * capacity});
  EXPECT_DOUBLE_EQ(state.last.ratio, 0.12);
  state.expected = 0;
  state.Observe({.demand = 0.13 * capacity, .is_censored = true, .held = 0.1 * capacity});
  EXPECT_DOUBLE_EQ(state.last.ratio, 0.13);
  state.Observe({.demand = 0.11 * capacity, .is_censored = true, .held = 0.1 * capacity});
  EXPECT_DOUBLE_EQ(state.last.ratio, 0.12);
}

TEST(RatioStateTest, HoldsTheSizeUntilAStepIsKnown) {
  ScriptedState state(CpuTraits());
  state.Observe({.demand = 0.1});
  state.size = 0.2;
  EXPECT_EQ(state.Size(4), 0.8);  // the horizon asked for last
  state.Skip(3);
  EXPECT_EQ(state.passed, 3);
  state.size = 0.01;
  state.expected = 0.02;
  EXPECT_EQ(state.Size(4), 0.8);
  EXPECT_EQ(state.Expected(1), 0.4);
  state.Observe({.demand = 0.1, .is_censored = true});
  EXPECT_EQ(state.Size(4), 0.8);
  // More may be asked for meanwhile, and is held too.
  state.size = 0.3;
  EXPECT_EQ(state.Size(3), 0.3 * 3);
  state.Skip(1);
  state.size = 0.01;
  EXPECT_EQ(state.Size(1), 0.3 * 3);
  state.Observe({.demand = 0.1});
  EXPECT_EQ(state.Size(4), 0.04);
  EXPECT_EQ(state.Expected(1), 0.02);
}

TEST(RatioStateTest, StepsOfATime) {
  EXPECT_EQ(StepsPerDay(CpuTraits(absl::Minutes(5))), 288);
  EXPECT_EQ(StepsPerDay(CpuTraits(absl::Seconds(10))), 8640);
  EXPECT_EQ(StepsPerDay(CpuTraits(absl::Hours(100))), 1);
  EXPECT_EQ(StepsIn(absl::Hours(1), CpuTraits(absl::Minutes(40))), 2);
  EXPECT_DOUBLE_EQ(DecayPerStep(1), 0.5);
  EXPECT_NEAR(DecayPerStep(24), 0.9715319, 1e-7);
}

TEST(SizingAllocationTest, NothingIsAllocatedOnceWarm) {
  const SizingRegistry registry;
  const std::vector<double> demand = NoisyDays(288 * 20, 288, 1);
  for (const auto& method : registry.methods()) {
    // The models behind these two allocate in each forecast.
    if (method->name() == "histogram" || method->name() == "autoregression") {
      continue;
    }
    const auto state = method->Start(CpuTraits(), method->knob().published);
    for (int round = 0; round < 2; ++round) {
      const int64_t before = allocations;
      for (size_t t = 0; t < demand.size(); ++t) {
        state->Observe({.demand = demand[t], .is_censored = t % 61 == 0});
        if (t % 251 == 0) {
          state->Skip(2);
        }
        if (t % 5 == 0) {
          (void)state->Size(1);
          (void)state->Size(6);
          (void)state->Expected(6);
        }
      }
      if (round == 1) {
        EXPECT_EQ(allocations - before, 0) << method->name();
      }
    }
  }
}

}  // namespace
}  // namespace cloudscale::predictor
