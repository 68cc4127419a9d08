#include "services/scaler/planning_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/scaler/testing/world.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::kMiB;
using ::cloudscale::scaler::testing::World;

bool HasReason(const Decision& d, ReasonCode code) {
  for (const Reason& r : d.reasons) {
    if (r.code == code) {
      return true;
    }
  }
  return false;
}

TEST(PlanningEngineTest, CapFollowsForecastPlusPadding) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .pad = 0.4};
  world.Ticks(120);
  ASSERT_TRUE(world.vms["vm"].cap.has_value());
  EXPECT_NEAR(*world.vms["vm"].cap, 1.4, 0.15);
}

TEST(PlanningEngineTest, RawWishIsForecastPlusPadding) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .pad = 0.4};
  world.Ticks(40);
  const Decision& d = world.Last("vm");
  ASSERT_TRUE(d.forecast.has_value());
  EXPECT_NEAR(d.raw_wish, *d.forecast + d.padding.total, 1e-9);
  EXPECT_EQ(d.model, "truth");
}

TEST(PlanningEngineTest, UnderEstimateIsCorrectedWithOneSample) {
  World world;
  world.vms["vm"] = {.demand = 0.5, .cap = 0.6};
  world.Ticks(15);
  world.vms["vm"].demand = 3;
  world.vms["vm"].forecast_ratio = 0.1;  // the predictor has not noticed
  const double before = *world.vms["vm"].cap;
  const StepResult r = world.Tick();
  ASSERT_EQ(r.actions.size(), 1u);
  EXPECT_TRUE(r.actions[0].is_correction);
  EXPECT_FALSE(r.is_full_step);
  // Usage is at the cap, so alpha is at its maximum.
  EXPECT_NEAR(*r.actions[0].target, before * 2, 0.02);
}

TEST(PlanningEngineTest, AlphaFollowsThePublishedFormulaAndGrowsWhileItPersists) {
  ScalerConfig config = World::FastConfig();
  World world(config, Mode::kRecommend);  // nothing is applied, so the error persists
  world.vms["vm"] = {.demand = 0.95, .cap = 1.0, .forecast_ratio = 0.5};
  world.Ticks(10);
  std::vector<double> alphas;
  for (int i = 0; i < 41; ++i) {
    for (const Decision& d : world.Tick().decisions) {
      if (d.resource == Resource::kCpu) {
        alphas.push_back(d.alpha);
      }
    }
  }
  // P = 0.95 gives 1.5, plus 0.1 per sample in a row, at most 2.
  ASSERT_FALSE(alphas.empty());
  EXPECT_EQ(alphas.back(), 2.0);
  SeriesState state(Resource::kCpu, config);
  VmObservation vm;
  vm.vcpu_count = 4;
  vm.cpu_quality = SampleQuality::kFresh;
  vm.cpu_cap = 1.0;
  vm.cpu_usage = 0.95;
  std::vector<double> direct;
  for (int i = 0; i < 4; ++i) {
    const auto sample = state.OnSample(vm, MonoTime(), absl::Seconds(1), false, config);
    DecisionInputs in;
    state.Fill(in, sample, MonoTime(), 1);
    direct.push_back(in.alpha);
  }
  EXPECT_THAT(direct, ::testing::Pointwise(::testing::DoubleNear(1e-9), {1.5, 1.6, 1.7, 1.8}));
}

TEST(PlanningEngineTest, RetrainIsAskedForAfterThreeUnderEstimatesInARow) {
  World world(World::FastConfig(), Mode::kRecommend);
  world.vms["vm"] = {.demand = 3, .cap = 1.0, .forecast_ratio = 0.1};
  std::vector<size_t> per_tick;
  for (int i = 0; i < 6; ++i) {
    per_tick.push_back(world.Tick().retrains.size());
  }
  EXPECT_THAT(per_tick, ::testing::ElementsAre(0, 0, 1, 0, 0, 1));
}

TEST(PlanningEngineTest, AForecastThatAimsAtAnotherTargetIsToldThePolicys) {
  World world;
  world.policies.defaults.target_violation_ratio = 0.1;
  world.Push();
  world.vms["vm"] = {.demand = 1.0};
  const StepResult first = world.Tick();
  ASSERT_EQ(first.targets.size(), 1u) << "memory is not managed";
  EXPECT_EQ(first.targets[0].vm_uuid, "vm");
  EXPECT_EQ(first.targets[0].resource, Resource::kCpu);
  EXPECT_EQ(first.targets[0].target_violation_ratio, 0.1);
  size_t asked = 0;
  for (int i = 0; i < 29; ++i) {
    asked += world.Tick().targets.size();
  }
  EXPECT_EQ(asked, 0u) << "asked again before the answer could show";
  EXPECT_EQ(world.Tick().targets.size(), 1u);
  world.vms["vm"].forecast_target = 0.1;
  for (int i = 0; i < 60; ++i) {
    EXPECT_TRUE(world.Tick().targets.empty());
  }
  world.vms["vm"].forecast_target = 0.02;  // its state was lost
  EXPECT_EQ(world.Tick().targets.size(), 1u);
}

TEST(PlanningEngineTest, MemoryAimsAtNoMoreThanItsOwnQuantileLeaves) {
  World world;
  world.policies.defaults.target_violation_ratio = 0.1;
  world.ManageMemory();
  world.vms["vm"] = {.demand = 1.0};
  const StepResult result = world.Tick();
  ASSERT_EQ(result.targets.size(), 2u);
  EXPECT_EQ(result.targets[1].resource, Resource::kMemory);
  EXPECT_NEAR(result.targets[1].target_violation_ratio, 0.005, 1e-12);
}

// The predictor has not been told yet, or never will be.
TEST(PlanningEngineTest, AnAdviceForMoreViolationsThanThePolicyWantsIsNotFollowed) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .advised_ratio = 1.3, .forecast_target = 0.02};
  world.Ticks(200);
  const double advised = *world.vms["vm"].cap;
  EXPECT_NEAR(advised, 1.3, 0.13);
  world.vms["vm"].forecast_target = 0.2;
  world.vms["vm"].advised_ratio = 0.5;
  world.Ticks(200);
  EXPECT_GE(*world.vms["vm"].cap, 1.0);
}

TEST(PlanningEngineTest, WorksWithoutAPredictor) {
  World world;
  world.link = PredictorLink::kOff;
  world.vms["vm"] = {.demand = 1.0};
  world.Ticks(200);
  ASSERT_TRUE(world.vms["vm"].cap.has_value());
  EXPECT_NEAR(*world.vms["vm"].cap, 1.2, 0.15);
  EXPECT_TRUE(world.Last("vm").is_reactive);
  world.vms["vm"].demand = 3;
  world.Ticks(5);
  EXPECT_GE(*world.vms["vm"].cap, 3);
}

TEST(PlanningEngineTest, P1PredictorDownNeverShrinks) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .cap = 3.0};
  world.link = PredictorLink::kDown;
  world.Ticks(300);
  EXPECT_EQ(world.vms["vm"].cap, 3.0);
  EXPECT_TRUE(HasReason(world.Last("vm"), ReasonCode::kReactiveFallback));
}

TEST(PlanningEngineTest, P2NoDecisionActsBeforeWarmUp) {
  ScalerConfig config;
  config.warm_up_samples = 25;
  World world(config);
  world.vms["vm"] = {.demand = 3.0, .cap = 1.0};
  world.Ticks(24);
  EXPECT_TRUE(world.log.empty());
  EXPECT_EQ(world.Last("vm").reasons.front().code, ReasonCode::kNotWarm);
  EXPECT_FALSE(world.engine.is_warm());
  world.Ticks(3);
  EXPECT_FALSE(world.log.empty());
  EXPECT_TRUE(world.engine.is_warm());
}

TEST(PlanningEngineTest, NewBootWarmsUpAgain) {
  World world;
  world.vms["vm"] = {.demand = 1.0};
  world.Ticks(60);
  world.boot_id = "boot-2";
  world.vms["vm"].demand = 3.9;
  const size_t actions = world.log.size();
  world.Ticks(2);
  EXPECT_EQ(world.log.size(), actions);
}

TEST(PlanningEngineTest, RepeatedAndOldSamplesAreIgnored) {
  World world;
  world.vms["vm"] = {.demand = 1.0};
  world.Ticks(20);
  const HostObservation again = world.Observe();
  EXPECT_TRUE(world.Feed(again).decisions.empty());
  EXPECT_EQ(world.engine.counters().ignored_samples, 1);
}

TEST(PlanningEngineTest, LateSampleHoldsEverything) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .cap = 3.0};
  world.Ticks(30);
  world.now += absl::Seconds(30);  // the stream hangs for 30 s and then goes on where it was
  const size_t actions = world.log.size();
  world.vms["vm"].demand = 2.95;
  world.Ticks(12);
  EXPECT_EQ(world.log.size(), actions);
  EXPECT_TRUE(HasReason(world.Last("vm"), ReasonCode::kDataStale));
}

TEST(PlanningEngineTest, P10ConstantLoadIsSilentAfterSettling) {
  for (const double demand : {0.05, 0.3, 1.0, 2.7, 3.99}) {
    World world;
    world.vms["vm"] = {.demand = demand};
    world.Ticks(600);
    const size_t settled = world.log.size();
    world.Ticks(3000);
    EXPECT_EQ(world.log.size(), settled) << "demand " << demand;
  }
}

TEST(PlanningEngineTest, P10PeriodicLoadActsABoundedNumberOfTimesPerPeriod) {
  World world;
  world.vms["vm"] = {.demand = 1.0};
  world.Ticks(600);
  const size_t before = world.log.size();
  constexpr int kPeriods = 6;
  for (int i = 0; i < kPeriods * 600; ++i) {
    world.vms["vm"].demand = (i / 300) % 2 == 0 ? 3.0 : 0.8;
    world.Tick();
  }
  EXPECT_LE(world.log.size() - before, kPeriods * 10u);
}

TEST(PlanningEngineTest, P11DryModesNeverPlanAnAction) {
  for (const Mode mode : {Mode::kObserve, Mode::kRecommend}) {
    World world(World::FastConfig(), mode);
    world.vms["vm"] = {.demand = 3.0, .cap = 1.0};
    size_t recommended = 0;
    for (int i = 0; i < 60; ++i) {
      const StepResult r = world.Tick();
      EXPECT_TRUE(r.actions.empty());
      recommended += r.recommendations.size();
    }
    EXPECT_EQ(recommended > 0, mode == Mode::kRecommend);
  }
}

TEST(PlanningEngineTest, PausedDirectionIsHeldAndSaysWhy) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .cap = 3.0};
  world.policies.host.emplace();
  world.policies.host->pause.shrink = true;
  world.policies.host->pause.reason = "freeze week";
  world.Push();
  world.Ticks(200);
  EXPECT_EQ(world.vms["vm"].cap, 3.0);
  EXPECT_EQ(world.Last("vm").outcome, Outcome::kPaused);
  EXPECT_THAT(world.Last("vm").reasons.front().text, ::testing::HasSubstr("freeze week"));
  world.vms["vm"].demand = 3.9;
  world.Ticks(11);
  EXPECT_GT(*world.vms["vm"].cap, 3.0);
}

TEST(PlanningEngineTest, ShrinkWaitsForQuietStepsAndCoolDown) {
  World world;
  world.vms["vm"] = {.demand = 3.0};
  world.Ticks(100);
  world.vms["vm"].demand = 0.5;
  world.vms["vm"].forecast_ratio = 1;
  const size_t before = world.log.size();
  world.Ticks(15);
  EXPECT_EQ(world.log.size(), before);
  ASSERT_FALSE(world.Last("vm").counters.empty());
  EXPECT_EQ(world.Last("vm").counters[0].rule, "shrink_quiet_steps");
  world.Ticks(120);
  EXPECT_GT(world.log.size(), before);
  EXPECT_LT(*world.vms["vm"].cap, 3.0);
}

TEST(PlanningEngineTest, OneShrinkIsAtMostTheStep) {
  World world;
  world.policies.host.emplace();
  world.policies.host->cpu.step_down_ratio = 0.1;
  world.Push();
  world.vms["vm"] = {.demand = 0.2, .cap = 4.0};
  world.Ticks(1000);
  ASSERT_GT(world.log.size(), 3u);
  double last = 4.0;
  for (const auto& done : world.log) {
    EXPECT_GE(*done.action.target, last * 0.9 - 1e-9);
    last = *done.action.target;
  }
}

TEST(PlanningEngineTest, BadShrinkIsTakenBackAtOnce) {
  World world;
  world.vms["vm"] = {.demand = 1.0, .cap = 3.0};
  while (world.log.empty()) {
    world.Tick();
  }
  ASSERT_LT(*world.vms["vm"].cap, 3.0);
  world.vms["vm"].demand = 1.45;  // a little above what it was shrunk to
  world.vms["vm"].forecast_ratio = 0.6;
  world.Ticks(3);
  EXPECT_EQ(world.vms["vm"].cap, 3.0);
}

TEST(PlanningEngineTest, P19ForeignChangeIsAdoptedAndNotShrunk) {
  World world;
  world.vms["vm"] = {.demand = 1.0};
  world.Ticks(200);
  world.vms["vm"].cap = 3.5;  // somebody else
  const size_t before = world.log.size();
  world.Ticks(300);
  EXPECT_EQ(world.vms["vm"].cap, 3.5);
  EXPECT_EQ(world.log.size(), before);
  EXPECT_TRUE(HasReason(world.Last("vm"), ReasonCode::kForeignChange));
  EXPECT_EQ(world.engine.counters().foreign_changes, 1);
  world.Ticks(600);  // the hold ends
  EXPECT_LT(*world.vms["vm"].cap, 3.5);
}

TEST(PlanningEngineTest, P19ForeignChangeDuringARestartIsNoticed) {
  World world;
  world.engine.RestoreLastSet("vm", Resource::kCpu, 1.2);
  world.vms["vm"] = {.demand = 1.0, .cap = 3.5};
  world.Ticks(100);
  EXPECT_EQ(world.vms["vm"].cap, 3.5);
  EXPECT_EQ(world.engine.counters().foreign_changes, 1);
}

TEST(PlanningEngineTest, MemoryShrinksSlowlyAndNeverBelowTheGuestsNeed) {
  World world;
  world.ManageMemory();
  world.vms["vm"] = {.memory_used = 600 * kMiB, .memory_target = 2048 * kMiB};
  double last = 2048 * kMiB;
  for (int i = 0; i < 6000; ++i) {
    world.Tick();
    const double now = world.vms["vm"].memory_target;
    EXPECT_GE(now, last * 0.98 - 1);
    last = now;
  }
  EXPECT_LT(last, 1000 * kMiB);
  EXPECT_GE(last, 664 * kMiB);
}

double LeastSizeUnderBursts(double target_violation_ratio) {
  World world;
  world.policies.defaults.target_violation_ratio = target_violation_ratio;
  world.policies.defaults.cpu.cool_down_down = absl::ZeroDuration();
  world.policies.defaults.cpu.quiet_steps = 1;
  world.Push();
  world.vms["vm"] = {.demand = 1.0};
  double least = 4;
  for (int second = 0; second < 400; ++second) {
    // A burst in every sixth step of ten seconds, which the forecast does not know.
    const bool is_burst = second % 60 == 5;
    world.vms["vm"].demand = is_burst ? 2.0 : 1.0;
    world.vms["vm"].forecast_ratio = is_burst ? 0.5 : 1.0;
    world.Tick();
    if (second > 200) {
      least = std::min(least, world.vms["vm"].cap.value_or(4));
    }
  }
  return least;
}

TEST(PlanningEngineTest, RecentPeaksHoldTheSizeAsFarAsTheTargetAsks) {
  EXPECT_GE(LeastSizeUnderBursts(0.02), 2.2);  // the burst over the threshold
  EXPECT_LT(LeastSizeUnderBursts(0.3), 1.7);
}

TEST(PlanningEngineTest, MemoryNeedsTwoSourcesAndNoPressureToShrink) {
  World one_source;
  one_source.ManageMemory();
  one_source.vms["vm"] = {.has_guest_report = false};
  one_source.Ticks(300);
  EXPECT_EQ(one_source.vms["vm"].memory_target, 2048 * kMiB);
  World pressed;
  pressed.ManageMemory();
  pressed.vms["vm"] = {.psi = 0.2};
  pressed.Ticks(300);
  EXPECT_EQ(pressed.vms["vm"].memory_target, 2048 * kMiB);
  EXPECT_TRUE(HasReason(pressed.Last("vm", Resource::kMemory), ReasonCode::kMemoryPressure));
}

TEST(PlanningEngineTest, MemoryGrowsAtOnceWhenTheGuestRunsShort) {
  World world;
  world.ManageMemory();
  world.vms["vm"] = {.memory_used = 1000 * kMiB, .memory_target = 2048 * kMiB};
  world.Ticks(20);
  world.vms["vm"].memory_used = 1980 * kMiB;
  world.Tick();
  EXPECT_GT(world.vms["vm"].memory_target, 2048 * kMiB);
}

TEST(PlanningEngineTest, BoostRaisesTheWishAndRunsOut) {
  World world;
  world.vms["vm"] = {.demand = 1.0};
  world.Ticks(200);
  const double plain = *world.vms["vm"].cap;
  ASSERT_TRUE(world.engine.SetBoost(
      "vm", Resource::kCpu,
      {1.5, MonoTime::FromStart(world.now + absl::Seconds(60)), "checkout", ""}));
  world.Ticks(11);
  EXPECT_NEAR(*world.vms["vm"].cap, plain * 1.5, 0.05);
  EXPECT_TRUE(HasReason(world.Last("vm"), ReasonCode::kSloBoost));
  world.Ticks(300);
  EXPECT_NEAR(*world.vms["vm"].cap, plain, 0.1);
  EXPECT_FALSE(world.engine.SetBoost("ghost", Resource::kCpu, {}));
}

TEST(PlanningEngineTest, UnmanagedResourceIsLeftAlone) {
  World world;
  world.policies.vms["vm"].cpu.is_managed = false;
  world.Push();
  world.vms["vm"] = {.demand = 3.0, .cap = 1.0};
  world.Ticks(60);
  EXPECT_EQ(world.vms["vm"].cap, 1.0);
  EXPECT_EQ(world.Last("vm").reasons.front().code, ReasonCode::kNotManaged);
}

TEST(PlanningEngineTest, FailuresInARowPauseTheVm) {
  World world;
  world.vms["vm"] = {.demand = 3.0, .cap = 1.0};
  for (int i = 0; i < 5; ++i) {
    world.Tick();
    world.engine.OnActionEnded({.vm_uuid = "vm",
                                .resource = Resource::kCpu,
                                .result = ActionFeedback::Result::kFailed,
                                .before = std::nullopt,
                                .value = std::nullopt,
                                .at = MonoTime::FromStart(world.now)});
    world.vms["vm"].cap = 1.0;
  }
  world.engine.OnActionEnded({});  // unknown VM: no effect
  const size_t before = world.log.size();
  world.Ticks(30);
  EXPECT_LE(world.log.size(), before + 1);
}

TEST(PlanningEngineTest, SavingsAreCountedAgainstThePeakSeen) {
  World world;
  world.vms["vm"] = {.demand = 3.0};
  world.Ticks(100);
  world.vms["vm"].demand = 0.5;
  world.Ticks(1000);
  const auto& account = world.engine.vms().at("vm").of(Resource::kCpu).account();
  EXPECT_EQ(account.peak_demand, 3.0);
  EXPECT_GT(account.saved_seconds(), 1000);
  EXPECT_GT(account.step_count, 100);
}

// Unread samples carry neither a cap nor a size.
HostObservation Unread(const World& w, SampleQuality quality) {
  HostObservation o = w.Observe();
  VmObservation& vm = o.vms.at(0);
  vm.cpu_quality = vm.memory_quality = quality;
  vm.cpu_cap.reset();
  vm.cpu_usage.reset();
  vm.cpu_demand.reset();
  vm.memory_target.reset();
  vm.memory_used.reset();
  return o;
}

TEST(PlanningEngineTest, P19UnreadSamplesAreNoForeignChange) {
  for (const SampleQuality quality :
       {SampleQuality::kMissing, SampleQuality::kStale, SampleQuality::kRepeated}) {
    World w;
    w.vms["vm-1"].demand = 1;
    w.Ticks(600);
    const std::optional<double> cap = w.vms["vm-1"].cap;
    ASSERT_TRUE(cap);
    for (int i = 0; i < 60; ++i) {
      ++w.sequence;
      w.sample_time += absl::Seconds(1);
      w.Feed(Unread(w, quality));
    }
    EXPECT_EQ(w.engine.counters().foreign_changes, 0);
    EXPECT_EQ(w.engine.vms().at("vm-1").of(Resource::kCpu).last_allocation(), cap);
    EXPECT_EQ(w.Last("vm-1").target, *cap) << "held at what is known";
    w.Ticks(30);
    EXPECT_EQ(w.engine.counters().foreign_changes, 0);
  }
}

TEST(PlanningEngineTest, P7UnreadVmKeepsItsShareOfTheHost) {
  World w;
  w.cpu_capacity = 8;
  w.vms["a"] = {.demand = 3.5, .vcpus = 8, .cap = 4};
  w.vms["b"] = {.demand = 1, .vcpus = 8, .cap = 2};
  w.Ticks(30);
  w.vms["b"].demand = 7.5;
  for (int i = 0; i < 60; ++i) {
    ++w.sequence;
    w.sample_time += absl::Seconds(1);
    w.Feed(Unread(w, SampleQuality::kStale));  // of a
    ASSERT_LE(*w.vms["a"].cap + *w.vms["b"].cap, 8 + 1e-9);
  }
}

TEST(PlanningEngineTest, AdviceToOneVmShrinksNoOther) {
  World w;
  w.cpu_capacity = 8;
  w.vms["auto"] = {.demand = 3, .vcpus = 4, .cap = 4};
  w.vms["dry"] = {.demand = 1, .vcpus = 8, .cap = 2};
  w.policies.vms["dry"].mode = Mode::kRecommend;
  w.Push();
  w.Ticks(60);
  const double before = *w.vms["auto"].cap;
  w.vms["dry"].demand = 8;
  w.Ticks(600);
  EXPECT_EQ(w.vms["dry"].cap, 2);
  EXPECT_GE(*w.vms["auto"].cap, 3.0) << before;
  for (const auto& [key, d] : w.last) {
    for (const ClampStep& c : d.clamps) {
      EXPECT_FALSE(key.first == "auto" && c.kind == ClampKind::kHostCapacity);
    }
  }
}

TEST(PlanningEngineTest, ReceiptsKeepOnlyTheirOwnVm) {
  World w;
  w.vms["a"].demand = 1;
  w.vms["b"].demand = 2;
  w.Ticks(60);
  const Decision& d = w.Last("b");
  ASSERT_EQ(d.inputs->observation->vms.size(), 1u);
  EXPECT_EQ(d.inputs->vm().uuid, "b");
  EXPECT_EQ(Decide(*d.inputs).target, d.target);
}

}  // namespace
}  // namespace cloudscale::scaler
