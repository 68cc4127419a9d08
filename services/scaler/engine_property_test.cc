// Promises as properties over random fleets; a failing seed is named in the message.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/random/rng.h"
#include "services/scaler/testing/world.h"
#include "services/scaler/water_fill.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::kMiB;
using ::cloudscale::scaler::testing::World;

constexpr SampleQuality kBad[] = {
    SampleQuality::kLate,     SampleQuality::kMissing, SampleQuality::kStale,
    SampleQuality::kRepeated, SampleQuality::kStuck,   SampleQuality::kImpossible,
    SampleQuality::kReset,    SampleQuality::kSkewed,  SampleQuality::kWarming,
    SampleQuality::kUnknown,
};

World RandomWorld(Rng& rng, Mode mode = Mode::kAuto) {
  ScalerConfig config = World::FastConfig();
  World world(config, mode);
  world.ManageMemory();
  world.cpu_capacity = rng.Uniform(4, 40);
  const int64_t count = 1 + rng.UniformInt(6);
  for (int64_t i = 0; i < count; ++i) {
    World::Vm vm;
    vm.vcpus = 1 + rng.UniformInt(8);
    vm.demand = rng.Uniform(0, static_cast<double>(vm.vcpus));
    if (rng.Chance(0.7)) {
      vm.cap = rng.Uniform(0.2, static_cast<double>(vm.vcpus));
    }
    vm.memory_used = rng.Uniform(200, 1800) * kMiB;
    vm.pad = rng.Uniform(0, 0.3);
    world.vms[absl::StrCat("vm-", i)] = vm;
  }
  return world;
}

void Wander(World& world, Rng& rng) {
  for (auto& [uuid, vm] : world.vms) {
    if (rng.Chance(0.05)) {
      vm.demand = rng.Uniform(0, static_cast<double>(vm.vcpus) * 1.2);
    }
    if (rng.Chance(0.02)) {
      vm.memory_used = rng.Uniform(200, 3500) * kMiB;
    }
    vm.forecast_ratio = rng.Uniform(0.5, 1.3);
  }
}

std::optional<double> SizeOf(const World::Vm& vm, Resource r) {
  return r == Resource::kCpu ? vm.cap : std::make_optional(vm.memory_target);
}

// Marks, damages or removes part of one sample; returns the damaged series.
void Damage(HostObservation& o, Rng& rng, std::vector<std::pair<std::string, Resource>>& damaged) {
  for (size_t i = 0; i < o.vms.size();) {
    VmObservation& vm = o.vms[i];
    if (rng.Chance(0.1)) {
      damaged.emplace_back(vm.uuid, Resource::kCpu);
      damaged.emplace_back(vm.uuid, Resource::kMemory);
      o.vms.erase(o.vms.begin() + static_cast<std::ptrdiff_t>(i));
      continue;
    }
    if (rng.Chance(0.3)) {
      vm.cpu_quality = kBad[rng.UniformInt(std::size(kBad))];
      damaged.emplace_back(vm.uuid, Resource::kCpu);
      if (rng.Chance(0.5)) {
        vm.cpu_usage = rng.Chance(0.5) ? std::optional<double>() : 0.0;  // an impossible zero
        vm.cpu_demand.reset();
      }
      if (rng.Chance(0.2)) {
        vm.cpu_usage = std::nan("");
      }
    }
    if (rng.Chance(0.3)) {
      vm.memory_quality = kBad[rng.UniformInt(std::size(kBad))];
      damaged.emplace_back(vm.uuid, Resource::kMemory);
      if (rng.Chance(0.5)) {
        vm.memory_used.reset();
      }
    }
    if (rng.Chance(0.2)) {
      vm.has_guest_report = false;
      damaged.emplace_back(vm.uuid, Resource::kMemory);
    }
    if (rng.Chance(0.2)) {
      vm.cpu_forecast.reset();
      damaged.emplace_back(vm.uuid, Resource::kCpu);
    }
    ++i;
  }
}

TEST(EnginePropertyTest, P1DamagedSamplesNeverLowerATarget) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    World world = RandomWorld(rng);
    for (int i = 0; i < 250; ++i) {
      Wander(world, rng);
      ++world.sequence;
      world.sample_time += absl::Seconds(1);
      HostObservation o = world.Observe();
      std::vector<std::pair<std::string, Resource>> damaged;
      if (rng.Chance(0.3)) {
        Damage(o, rng, damaged);
      }
      const StepResult r = world.engine.Step({MonoTime::FromStart(world.now), world.Wall()},
                                             std::make_shared<const HostObservation>(o));
      world.now += absl::Seconds(1);
      for (const auto& [uuid, resource] : damaged) {
        const double granted =
            SizeOf(world.vms[uuid], resource).value_or(static_cast<double>(world.vms[uuid].vcpus));
        for (const PlannedAction& a : r.actions) {
          if (a.vm_uuid == uuid && a.resource == resource) {
            EXPECT_GE(*a.target, granted) << "seed " << seed << " tick " << i << " " << uuid;
          }
        }
      }
      for (const PlannedAction& a : r.actions) {
        world.Carry(a);
      }
    }
  }
}

// The metamorphic form: from the same state, a history with samples taken out or marked never ends
// in a lower target than the whole one, unless the whole one grew beyond what is granted.
TEST(EnginePropertyTest, P1RemovingSamplesNeverLowersATarget) {
  int64_t compared = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    World world = RandomWorld(rng, Mode::kRecommend);  // sizes stay, so both histories stay equal
    world.Ticks(static_cast<int>(40 + rng.UniformInt(60)));
    World whole = world;
    World damaged_world = world;
    for (int i = 0; i < 40; ++i) {
      Wander(whole, rng);
      damaged_world.vms = whole.vms;
      whole.Tick();
      ++damaged_world.sequence;
      damaged_world.sample_time += absl::Seconds(1);
      if (i < 38 && rng.Chance(0.2)) {
        damaged_world.now += absl::Seconds(1);  // lost in the stream
        continue;
      }
      HostObservation o = damaged_world.Observe();
      std::vector<std::pair<std::string, Resource>> ignored;
      Damage(o, rng, ignored);
      damaged_world.Feed(o);
    }
    for (const auto& [key, with_all] : whole.last) {
      const auto it = damaged_world.last.find(key);
      if (it == damaged_world.last.end()) {
        continue;
      }
      const double granted = SizeOf(world.vms[key.first], key.second)
                                 .value_or(static_cast<double>(world.vms[key.first].vcpus));
      EXPECT_GE(it->second.target, std::min(with_all.target, granted) - 1e-9)
          << "seed " << seed << " " << key.first;
      ++compared;
    }
  }
  EXPECT_GT(compared, 200);
}

TEST(EnginePropertyTest, P3EverySlidingMinuteObeysTheRateLimit) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    ScalerConfig config = World::FastConfig();
    config.max_actions_per_minute = 1 + rng.UniformInt(8);
    config.max_actions_per_vm_per_minute = 1 + rng.UniformInt(3);
    config.cpu_correction.is_enabled = false;  // corrections are exempt
    config.peak_window_steps = 1;
    config.rollback_window = absl::ZeroDuration();
    World world(config);
    world.cpu_capacity = 1000;
    world.policies.defaults.cpu.cool_down_down = absl::ZeroDuration();
    world.policies.defaults.cpu.quiet_steps = 0;
    world.Push();
    for (int i = 0; i < 10; ++i) {
      world.vms[absl::StrCat("vm-", i)] = {.demand = 1};
    }
    for (int i = 0; i < 600; ++i) {
      for (auto& [uuid, vm] : world.vms) {
        vm.demand = rng.Uniform(0.1, 3.9);
      }
      world.Tick();
    }
    std::vector<World::Done> limited;
    for (const auto& done : world.log) {
      if (!done.action.is_correction) {
        limited.push_back(done);
      }
    }
    ASSERT_FALSE(limited.empty());
    for (size_t i = 0; i < limited.size(); ++i) {
      int64_t in_window = 0;
      std::map<std::string, int64_t> of_vm;
      for (size_t j = i; j < limited.size() && limited[j].at - limited[i].at < absl::Minutes(1);
           ++j) {
        ++in_window;
        EXPECT_LE(++of_vm[limited[j].action.vm_uuid], config.max_actions_per_vm_per_minute);
      }
      EXPECT_LE(in_window, config.max_actions_per_minute) << "seed " << seed;
    }
  }
}

TEST(EnginePropertyTest, P3RestartDoesNotRefillTheRateLimit) {
  RateLimiter limiter(3, 3);
  const MonoTime start = MonoTime::FromStart(absl::Hours(1));
  limiter.Restore({{"vm", absl::Seconds(0)}, {"vm", absl::Seconds(20)}, {"vm", absl::Seconds(59)}},
                  start);
  EXPECT_FALSE(limiter.TryTake("other", start));
  EXPECT_TRUE(limiter.TryTake("other", start + absl::Seconds(1)));
  EXPECT_FALSE(limiter.TryTake("other", start + absl::Seconds(2)));
}

TEST(EnginePropertyTest, P7SumOfCapsStaysWithinTheHostAndAboveGuarantees) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Rng rng(seed);
    World world;
    world.cpu_capacity = 8;
    double guaranteed = 0;
    for (int i = 0; i < 6; ++i) {
      const std::string uuid = absl::StrCat("vm-", i);
      world.vms[uuid] = {.demand = 0.5, .cap = 0.9};
      PolicyOverlay& p = world.policies.vms[uuid];
      p.cpu.guaranteed = rng.Uniform(0.1, 1.0);
      p.weight = rng.Uniform(0.5, 4);
      p.service_class = static_cast<ServiceClass>(1 + rng.UniformInt(3));
      guaranteed += *p.cpu.guaranteed;
    }
    ASSERT_LE(guaranteed, 8 * 0.95);
    world.Push();
    for (int i = 0; i < 400; ++i) {
      if (i % 40 == 0) {
        for (auto& [uuid, vm] : world.vms) {
          vm.demand = rng.Uniform(0, 4);
        }
      }
      world.Tick();
      double sum = 0;
      for (const auto& [uuid, vm] : world.vms) {
        sum += vm.cap.value_or(0);
      }
      // Rounding up to the grain may add one hundredth per VM.
      EXPECT_LE(sum, 8 * 0.95 + 6 * 0.01) << "seed " << seed << " tick " << i;
    }
    for (const auto& [uuid, vm] : world.vms) {
      const double wants = std::min(vm.demand, 4.0);
      EXPECT_GE(*vm.cap + 1e-9, std::min(*world.policies.vms[uuid].cpu.guaranteed, wants))
          << "seed " << seed << " " << uuid;
    }
  }
}

TEST(EnginePropertyTest, P7MemoryGrowsOnlyIntoWhatIsReallyFree) {
  World world;
  world.ManageMemory();
  world.memory_capacity = 5000 * kMiB;
  world.vms["a"] = {.memory_used = 600 * kMiB, .memory_target = 2300 * kMiB};
  world.vms["b"] = {.memory_used = 2200 * kMiB, .memory_target = 2300 * kMiB};
  for (int i = 0; i < 600; ++i) {
    world.Tick();
    EXPECT_LE(world.vms["a"].memory_target + world.vms["b"].memory_target,
              5000 * kMiB * 0.95 + 2 * kMiB);
  }
  EXPECT_GT(world.vms["b"].memory_target, 2400 * kMiB);
}

TEST(EnginePropertyTest, P7WaterFillAgreesWithBruteForceAccounting) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    Rng rng(seed);
    std::vector<Claim> claims(static_cast<size_t>(1 + rng.UniformInt(8)));
    double floors = 0;
    for (Claim& c : claims) {
      c.floor = rng.Uniform(0, 1);
      c.wish = c.floor + rng.Uniform(-0.2, 3);
      c.weight = rng.Uniform(0.1, 5);
      c.service_class = static_cast<ServiceClass>(1 + rng.UniformInt(3));
      floors += c.floor;
    }
    const double capacity = rng.Uniform(0, 12);
    const std::vector<double> got = WaterFill(capacity, claims);
    double sum = 0;
    double unmet = 0;
    for (size_t i = 0; i < claims.size(); ++i) {
      EXPECT_GE(got[i], claims[i].floor - 1e-12);
      EXPECT_LE(got[i], std::max(claims[i].wish, claims[i].floor) + 1e-9);
      sum += got[i];
      unmet += std::max(0.0, claims[i].wish - got[i]);
    }
    EXPECT_LE(sum, std::max(capacity, floors) + 1e-9);
    if (unmet > 1e-9 && capacity > floors) {
      EXPECT_NEAR(sum, capacity, 1e-9) << "room was left although somebody wants more";
    }
    for (size_t i = 0; i < claims.size(); ++i) {
      for (size_t j = 0; j < claims.size(); ++j) {
        // Nobody of a lower class gets more than the floor while a higher one is hungry.
        if (claims[i].service_class < claims[j].service_class && claims[i].wish - got[i] > 1e-9) {
          EXPECT_NEAR(got[j], claims[j].floor, 1e-9) << "seed " << seed;
        }
      }
    }
  }
}

TEST(EnginePropertyTest, P12ActionsStayWithinMinAndMaxForRandomPolicies) {
  int64_t actions = 0;
  for (uint64_t seed = 1; seed <= 80; ++seed) {
    Rng rng(seed);
    World world = RandomWorld(rng);
    for (auto& [uuid, vm] : world.vms) {
      PolicyOverlay& p = world.policies.vms[uuid];
      p.cpu.min = rng.Uniform(0.05, 1);
      p.cpu.max = *p.cpu.min + rng.Uniform(0.1, 6);
      p.cpu.step_up_ratio = rng.Uniform(0.05, 4);
      p.cpu.step_down_ratio = rng.Uniform(0.05, 1);
      p.cpu.dead_band_ratio = rng.Uniform(0, 0.5);
      p.cpu.quiet_steps = rng.UniformInt(4);
      p.cpu.cool_down_down = absl::Seconds(rng.UniformInt(60));
      if (rng.Chance(0.2)) {
        p.cpu.is_managed = false;
      }
    }
    world.Push();
    for (int i = 0; i < 200; ++i) {
      Wander(world, rng);
      for (const PlannedAction& a : world.Tick().actions) {
        if (a.resource != Resource::kCpu) {
          continue;
        }
        ++actions;
        const PolicyOverlay& p = world.policies.vms[a.vm_uuid];
        EXPECT_TRUE(p.cpu.is_managed.value_or(true));
        const double vm_max = static_cast<double>(world.vms[a.vm_uuid].vcpus);
        EXPECT_GE(*a.target, std::min(*p.cpu.min, vm_max) - 1e-9) << "seed " << seed;
        EXPECT_LE(*a.target, std::min(*p.cpu.max, vm_max) + 1e-9) << "seed " << seed;
      }
    }
  }
  EXPECT_GT(actions, 500);
}

TEST(EnginePropertyTest, P18ReceiptsRecomputeToTheSameDecision) {
  int64_t checked = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    World world = RandomWorld(rng);
    for (int i = 0; i < 120; ++i) {
      Wander(world, rng);
      for (const Decision& d : world.Tick().decisions) {
        ASSERT_NE(d.inputs, nullptr);
        EXPECT_FALSE(d.reasons.empty());
        EXPECT_EQ(ToReceiptText(Decide(*d.inputs)), ToReceiptText(d));
        ++checked;
      }
    }
  }
  EXPECT_GT(checked, 1000);
}

TEST(EnginePropertyTest, P18SameRunTwiceGivesTheSameBytes) {
  const auto run = [](uint64_t seed) {
    Rng rng(seed);
    World world = RandomWorld(rng);
    std::string text;
    for (int i = 0; i < 200; ++i) {
      Wander(world, rng);
      for (const Decision& d : world.Tick().decisions) {
        text += ToReceiptText(d);
      }
    }
    return text;
  };
  EXPECT_EQ(run(7), run(7));
  EXPECT_NE(run(7), run(8));
}

}  // namespace
}  // namespace cloudscale::scaler
