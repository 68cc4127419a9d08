// How memory follows what a guest tells of its distress, and what is done about balloons and
// guests that do not play along.

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/scaler/testing/world.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::kMiB;
using testing::World;

constexpr int64_t kMiBCount = 1024 * 1024;

class MemoryScalingTest : public ::testing::Test {
 protected:
  MemoryScalingTest() { world_.ManageMemory(); }
  World::Vm& vm() { return world_.vms["vm"]; }
  double target() { return vm().memory_target; }
  // True when the newest decision gives this reason with this text.
  bool Says(ReasonCode code, const std::string& text) {
    const Decision& d = world_.Last("vm", Resource::kMemory);
    return std::any_of(d.reasons.begin(), d.reasons.end(), [&](const Reason& r) {
      return r.code == code && absl::StrContains(r.text, text);
    });
  }
  // Seconds in which the guest swaps this much in each.
  void Swap(int seconds, int64_t bytes_per_second) {
    for (int i = 0; i < seconds; ++i) {
      *vm().swap_in_bytes += bytes_per_second;
      const double before = target();
      world_.Tick();
      growths_ += target() > before ? 1 : 0;
    }
  }

  World world_;
  int growths_ = 0;  // during `Swap`
};

TEST_F(MemoryScalingTest, GrowsAtOnceWhenTheGuestBeginsToSwapIn) {
  vm() = {.memory_used = 1800 * kMiB, .swap_in_bytes = 7000 * kMiBCount};
  world_.Ticks(25);
  ASSERT_EQ(target(), 2048 * kMiB) << "what was swapped in before is no news";
  Swap(1, 8 * kMiBCount);  // over two samples, as a counter may be seen twice
  EXPECT_GE(target(), 2048 * kMiB * 1.2 - kMiB);
  EXPECT_TRUE(Says(ReasonCode::kMemoryPressure, "swaps in 4.0 MiB a second"));
}

TEST_F(MemoryScalingTest, GrowsAtMostOnceAStepAndNotWhenSwappingBecomesLess) {
  vm() = {.memory_used = 1800 * kMiB, .swap_in_bytes = 0};
  world_.Ticks(25);
  Swap(10, 8 * kMiBCount);
  EXPECT_EQ(growths_, 1);
  for (int64_t rate = 7; rate >= 2; --rate) {
    Swap(5, rate * kMiBCount);
  }
  EXPECT_EQ(growths_, 1) << "it helps already";
  Swap(10, 9 * kMiBCount);
  EXPECT_EQ(growths_, 2);
}

TEST_F(MemoryScalingTest, LittleSwappingARebootAndSilenceAreNoDistress) {
  vm() = {.memory_used = 1800 * kMiB, .swap_in_bytes = 5000 * kMiBCount};
  world_.Ticks(25);
  Swap(20, kMiBCount / 2);
  vm().swap_in_bytes = 0;  // the guest booted
  world_.Ticks(5);
  vm().swap_in_bytes.reset();
  world_.Ticks(5);
  vm().swap_in_bytes = kMiBCount;
  world_.Ticks(5);
  EXPECT_EQ(target(), 2048 * kMiB);
}

TEST_F(MemoryScalingTest, SwappingCanBeLeftAlone) {
  ScalerConfig config = World::FastConfig();
  config.memory.swap_in_limit_bytes_per_second = 0;
  World world(config);
  world.ManageMemory();
  world.vms["vm"] = {.memory_used = 1800 * kMiB, .swap_in_bytes = 0};
  for (int i = 0; i < 40; ++i) {
    *world.vms["vm"].swap_in_bytes += 50 * kMiBCount;
    world.Tick();
  }
  EXPECT_EQ(world.vms["vm"].memory_target, 2048 * kMiB);
}

// P8: what a guest claims of itself raises its own VM at most to its maximum.
TEST_F(MemoryScalingTest, P8AGuestThatClaimsToSwapForeverEndsAtItsMaximum) {
  vm() = {.memory_used = 1800 * kMiB, .memory_maximum = 4096 * kMiB, .swap_in_bytes = 0};
  world_.vms["other"] = {.memory_used = 1800 * kMiB};
  for (int64_t i = 1; i <= 400; ++i) {
    Swap(1, i * kMiBCount);
    ASSERT_LE(target(), 4096 * kMiB);
  }
  EXPECT_EQ(target(), 4096 * kMiB);
  EXPECT_EQ(world_.vms["other"].memory_target, 2048 * kMiB);
}

TEST_F(MemoryScalingTest, ABalloonThatRefusesIsToldOfAndNotAskedForMore) {
  vm() = {.memory_used = 500 * kMiB, .memory_allocated = 2048 * kMiB};
  world_.Ticks(200);
  const double asked = target();
  ASSERT_LT(asked, 2048 * kMiB);
  EXPECT_TRUE(Says(ReasonCode::kBalloonSlow, "the balloon refuses"));
  EXPECT_TRUE(Says(ReasonCode::kBalloonSlow, "above its target"));
  const size_t actions = world_.log.size();
  world_.Ticks(600);
  EXPECT_EQ(target(), asked);
  EXPECT_EQ(world_.log.size(), actions) << "not fought";
  vm().memory_allocated.reset();  // it gives in
  world_.Ticks(300);
  EXPECT_LT(target(), asked);
  EXPECT_FALSE(Says(ReasonCode::kBalloonSlow, ""));
}

TEST_F(MemoryScalingTest, ASlowBalloonIsWaitedForAndIsNoRefusal) {
  vm() = {.memory_used = 500 * kMiB, .memory_allocated = 2048 * kMiB};
  world_.Ticks(60);
  const double first = target();
  ASSERT_LT(first, 2048 * kMiB);
  for (int i = 0; i < 300; ++i) {
    vm().memory_allocated = std::max(target(), *vm().memory_allocated - 2 * kMiB);
    world_.Tick();
    ASSERT_FALSE(Says(ReasonCode::kBalloonSlow, "refuses"));
  }
  EXPECT_LT(target(), first);
}

TEST_F(MemoryScalingTest, AGuestThatRunsShortGrowsThoughItsBalloonRefused) {
  vm() = {.memory_used = 500 * kMiB, .memory_allocated = 2048 * kMiB};
  world_.Ticks(200);
  const double asked = target();
  vm().memory_used = 2040 * kMiB;
  world_.Ticks(2);
  EXPECT_GT(target(), asked);
  EXPECT_GE(target(), 2040 * kMiB);
}

TEST_F(MemoryScalingTest, PressureHoldsShrinkingOnlyWhileItLasts) {
  const double limit = World::FastConfig().memory.pressure_limit_ratio;
  vm() = {.memory_used = 500 * kMiB, .psi = limit * 1.01};
  world_.Ticks(300);
  EXPECT_EQ(target(), 2048 * kMiB);
  EXPECT_TRUE(Says(ReasonCode::kMemoryPressure, "memory pressure"));
  vm().memory_used = 2000 * kMiB;
  world_.Ticks(3);
  EXPECT_GT(target(), 2048 * kMiB) << "growing is not held";
  vm().memory_used = 500 * kMiB;
  const double grown = target();
  world_.Ticks(300);
  EXPECT_EQ(target(), grown);
  vm().psi = limit;
  world_.Ticks(300);
  EXPECT_LT(target(), grown);
}

TEST_F(MemoryScalingTest, DownInSmallStepsAndUpAtOnce) {
  vm() = {.memory_used = 500 * kMiB};
  double last = target();
  int shrinks = 0;
  for (int i = 0; i < 3000; ++i) {
    world_.Tick();
    ASSERT_GE(target(), last * 0.98 - kMiB);
    shrinks += target() < last ? 1 : 0;
    last = target();
  }
  EXPECT_GT(shrinks, 10);
  vm().memory_used = last * 0.99;
  world_.Tick();
  EXPECT_GE(target(), last * 1.2) << "within one sample";
}

// What the monitor makes of a lying guest is a sample that is impossible, or one without the guest.
TEST_F(MemoryScalingTest, P8ALyingGuestIsHeldAtItsSize) {
  vm() = {.memory_used = 500 * kMiB};
  world_.Ticks(20);
  for (const SampleQuality quality : {SampleQuality::kImpossible, SampleQuality::kSkewed}) {
    vm().memory_quality = quality;
    const double held = target();
    world_.Ticks(300);
    EXPECT_EQ(target(), held) << QualityName(quality);
  }
  vm().memory_quality = SampleQuality::kFresh;
  vm().has_guest_report = false;
  const double held = target();
  world_.Ticks(300);
  EXPECT_EQ(target(), held);
}

TEST(ScalerConfigTest, TheMemoryRulesHaveRanges) {
  ScalerConfig config;
  config.memory.swap_in_limit_bytes_per_second = -1;
  config.memory.balloon_patience = absl::Milliseconds(10);
  Violations violations;
  Validate(config, violations);
  EXPECT_THAT(violations.ToStatus(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("swap_in_limit"), HasSubstr("balloon_patience"))));
}

}  // namespace
}  // namespace cloudscale::scaler
