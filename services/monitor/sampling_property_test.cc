// Properties of the sampling engine over random fleets and faults.

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random/rng.h"
#include "gtest/gtest.h"
#include "services/monitor/sampling_engine.h"

namespace cloudscale::monitor {
namespace {

using hypervisor::HostReading;
using hypervisor::VmReading;
using hypervisor::VmState;

constexpr int64_t kMiB = 1024 * 1024;

// A VM whose truth is known: what it really used in each second.
struct TrueVm {
  VmReading reading;
  double used_cores = 0;
};

// What reaches the engine in one tick.
struct Delivery {
  absl::StatusOr<HostReading> reading;
  std::vector<TrueVm> truth;
  Tick tick;
};

TrueVm MakeVm(int index, Rng& rng) {
  TrueVm vm;
  vm.reading.uuid = std::string(1, static_cast<char>('a' + index));
  vm.reading.state = VmState::kRunning;
  vm.reading.incarnation = "1";
  vm.reading.vcpu_count = 1 + rng.UniformInt(4);
  vm.reading.cpu_time = absl::Seconds(rng.Uniform(0, 1000));
  vm.reading.cpu_throttled_time = absl::ZeroDuration();
  vm.reading.memory_current_bytes = 1024 * kMiB;
  vm.reading.memory_maximum_bytes = 1024 * kMiB;
  vm.reading.memory_used_bytes = 600 * kMiB;
  return vm;
}

// Busy VMs (never under 0.2 cores, never under 300 MiB) over `ticks` exact seconds.
std::vector<Delivery> MakeTruth(uint64_t seed, int vms, int ticks) {
  Rng rng(seed);
  std::vector<TrueVm> fleet;
  for (int i = 0; i < vms; ++i) {
    fleet.push_back(MakeVm(i, rng));
  }
  std::vector<Delivery> out;
  MonoTime now = MonoTime::FromStart(absl::Seconds(100));
  absl::Time wall = absl::FromUnixSeconds(1'800'000'000);
  for (int t = 1; t <= ticks; ++t) {
    now = now + absl::Seconds(1);
    wall += absl::Seconds(1);
    HostReading reading;
    reading.host_id = "host";
    reading.boot_id = "boot";
    reading.sample_time = wall;
    reading.monotonic_time = now;
    reading.cpu_capacity_cores = 64;
    reading.memory_capacity_bytes = 65536 * kMiB;
    for (TrueVm& vm : fleet) {
      vm.used_cores = rng.Uniform(0.2, static_cast<double>(vm.reading.vcpu_count));
      *vm.reading.cpu_time += absl::Seconds(vm.used_cores);
      *vm.reading.cpu_throttled_time += absl::Milliseconds(rng.UniformInt(100));
      vm.reading.memory_used_bytes = (300 + rng.UniformInt(700)) * kMiB;
      reading.vms.push_back(vm.reading);
    }
    Tick tick;
    tick.sequence = t;
    tick.mono = now;
    tick.wall = wall;
    out.push_back({reading, fleet, tick});
  }
  return out;
}

// Breaks one VM's reading in one of the ways that real hosts do.
void Corrupt(VmReading& vm, const VmReading& last, Rng& rng) {
  switch (rng.UniformInt(8)) {
    case 0:
      vm.cpu_time.reset();
      vm.memory_used_bytes.reset();
      break;
    case 1:
      vm.cpu_time = last.cpu_time;  // stuck while throttled time moves on
      break;
    case 2:
      vm.cpu_time = absl::ZeroDuration();
      vm.memory_used_bytes = 0;
      break;
    case 3:
      *vm.cpu_time += absl::Hours(1 + rng.UniformInt(100));
      break;
    case 4:
      vm.cpu_time = absl::Seconds(-1);
      vm.memory_used_bytes = -7;
      break;
    case 5:
      vm.incarnation = absl::StrCat("x", rng.Next());
      vm.cpu_time = absl::Milliseconds(rng.UniformInt(1000));
      break;
    case 6:
      vm = last;  // the whole VM frozen
      break;
    default:
      vm.memory_used_bytes = 99999 * kMiB;
      vm.vcpu_count = 0;
  }
}

TEST(SamplingPropertyTest, P1FaultsNeverAppearAsSmallTrustedUsage) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::vector<Delivery> truth = MakeTruth(seed, 4, 120);
    Rng rng = Rng(seed).Fork("faults");
    SamplingEngine engine{SamplingConfig{}};
    HostReading last = *truth.front().reading;
    int64_t trusted = 0;
    for (Delivery& delivery : truth) {
      for (size_t i = 0; i < delivery.reading->vms.size(); ++i) {
        if (rng.Chance(0.15)) {
          Corrupt(delivery.reading->vms[i], last.vms[i], rng);
        }
      }
      const HostReading as_read = *delivery.reading;
      if (rng.Chance(0.1)) delivery.reading = absl::UnavailableError("down");
      const HostSnapshot snapshot = engine.Step(delivery.tick, delivery.reading, {});
      last = as_read;
      for (const VmSample& vm : snapshot.vms) {
        const bool carries_cpu = vm.cpu_usage_cores.has_value();
        EXPECT_EQ(carries_cpu, vm.cpu_demand_cores.has_value());
        if (carries_cpu) {
          EXPECT_TRUE(IsTrusted(vm.cpu_quality) || vm.cpu_quality == Quality::kLate);
          // Every VM really used 0.2 cores or more in each second. A mean over several periods may
          // end in a frozen counter, unseen; that is why it is kLate and not trusted.
          if (IsTrusted(vm.cpu_quality)) {
            EXPECT_GE(*vm.cpu_usage_cores, 0.2 - 1e-9) << "seed " << seed;
          }
          EXPECT_GE(*vm.cpu_demand_cores, *vm.cpu_usage_cores);
          ++trusted;
        }
        if (vm.memory_used_bytes.has_value()) {
          EXPECT_GE(*vm.memory_used_bytes, 300 * kMiB) << "seed " << seed;
          EXPECT_LE(*vm.memory_used_bytes, 1024 * kMiB);
        }
      }
    }
    EXPECT_GT(trusted, 100) << "the property must not hold by refusing everything";
  }
}

TEST(SamplingPropertyTest, P1RemovingReadingsConservesConsumedTime) {
  // Metamorphic: whatever readings are lost, usage times interval sums up to what was consumed
  // between the first and the last reading that arrived.
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    const std::vector<Delivery> truth = MakeTruth(seed, 1, 100);
    Rng rng = Rng(seed).Fork("loss");
    SamplingEngine engine{SamplingConfig{}};
    std::optional<MonoTime> last_seen;
    std::optional<absl::Duration> first_counter;
    absl::Duration last_counter;
    double integral = 0;
    for (const Delivery& delivery : truth) {
      const bool is_lost = rng.Chance(0.4);
      const HostSnapshot snapshot = engine.Step(
          delivery.tick,
          is_lost ? absl::StatusOr<HostReading>(absl::UnavailableError("lost")) : delivery.reading,
          {});
      if (is_lost) {
        continue;
      }
      const VmSample& vm = snapshot.vms.at(0);
      last_counter = *delivery.reading->vms[0].cpu_time;
      if (last_seen.has_value()) {
        const absl::Duration interval = delivery.tick.mono - *last_seen;
        integral += vm.cpu_usage_cores.value() * absl::ToDoubleSeconds(interval);
        EXPECT_EQ(vm.cpu_quality,
                  interval > absl::Seconds(1.75) ? Quality::kLate : Quality::kFresh);
      } else {
        first_counter = last_counter;
      }
      last_seen = delivery.tick.mono;
    }
    ASSERT_TRUE(first_counter.has_value());
    EXPECT_NEAR(integral, absl::ToDoubleSeconds(last_counter - *first_counter), 1e-6);
  }
}

TEST(SamplingPropertyTest, P15WallClockNeverChangesAValue) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::vector<Delivery> truth = MakeTruth(seed, 3, 60);
    Rng rng = Rng(seed).Fork("clock");
    SamplingEngine plain{SamplingConfig{}};
    SamplingEngine jumping{SamplingConfig{}};
    absl::Duration offset;
    for (Delivery& delivery : truth) {
      const HostSnapshot expected = plain.Step(delivery.tick, delivery.reading, {});
      if (rng.Chance(0.2)) {
        offset = absl::Seconds(rng.Uniform(-1e6, 1e6));
      }
      delivery.tick.wall += offset;
      delivery.reading->sample_time += offset;
      const HostSnapshot actual = jumping.Step(delivery.tick, delivery.reading, {});
      ASSERT_EQ(actual.vms.size(), expected.vms.size());
      for (size_t i = 0; i < actual.vms.size(); ++i) {
        EXPECT_EQ(actual.vms[i].cpu_usage_cores, expected.vms[i].cpu_usage_cores);
        EXPECT_EQ(actual.vms[i].cpu_demand_cores, expected.vms[i].cpu_demand_cores);
        EXPECT_EQ(actual.vms[i].memory_demand_bytes, expected.vms[i].memory_demand_bytes);
        EXPECT_EQ(IsTrusted(actual.vms[i].cpu_quality), IsTrusted(expected.vms[i].cpu_quality));
      }
    }
  }
}

TEST(SamplingPropertyTest, OneVmDoesNotInfluenceAnother) {
  const std::vector<Delivery> truth = MakeTruth(3, 2, 80);
  Rng rng(4);
  SamplingEngine alone{SamplingConfig{}};
  SamplingEngine together{SamplingConfig{}};
  HostReading last = *truth.front().reading;
  for (const Delivery& delivery : truth) {
    HostReading only_first = *delivery.reading;
    only_first.vms.pop_back();
    HostReading noisy = *delivery.reading;
    Corrupt(noisy.vms[1], last.vms[1], rng);
    last = noisy;
    const HostSnapshot a = alone.Step(delivery.tick, only_first, {});
    const HostSnapshot b = together.Step(delivery.tick, noisy, {});
    EXPECT_EQ(a.vms[0].cpu_usage_cores, b.vms[0].cpu_usage_cores);
    EXPECT_EQ(a.vms[0].cpu_quality, b.vms[0].cpu_quality);
    EXPECT_EQ(a.vms[0].memory_demand_bytes, b.vms[0].memory_demand_bytes);
  }
}

}  // namespace
}  // namespace cloudscale::monitor
