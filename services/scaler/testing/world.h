#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/scaler/planning_engine.h"

namespace cloudscale::scaler::testing {

inline constexpr double kMiB = 1024.0 * 1024.0;

// A host in a few lines: VMs with a true demand, caps that hide it, an optional forecast that is
// just the demand, and an engine whose actions are applied at once. One `Tick` is one sample (1 s).
class World {
 public:
  struct Vm {
    double demand = 0.5;
    int64_t vcpus = 4;
    std::optional<double> cap = std::nullopt;
    double memory_used = 512 * kMiB;
    double memory_target = 2048 * kMiB;
    double memory_maximum = 4096 * kMiB;
    std::optional<double> memory_allocated = std::nullopt;  // absent: follows the target
    std::optional<int64_t> swap_in_bytes = std::nullopt;
    SampleQuality quality = SampleQuality::kFresh;
    SampleQuality memory_quality = SampleQuality::kFresh;
    bool has_guest_report = true;
    bool is_present = true;
    double psi = 0;
    double forecast_ratio = 1;  // forecast over demand
    absl::Duration forecast_age = absl::Seconds(1);
    bool is_warm = true;
    double pad = 0;
    std::optional<double> advised_ratio = std::nullopt;  // advised allocation over demand
    double forecast_target = 0.02;
  };

  explicit World(ScalerConfig config = FastConfig(), Mode mode = Mode::kAuto) : engine(config) {
    policies.host_mode = mode;
    policies.defaults.memory.is_managed = false;  // most tests count CPU actions
    Push();
  }
  void ManageMemory() {
    policies.defaults.memory.is_managed = true;
    Push();
  }
  static ScalerConfig FastConfig() {
    ScalerConfig c;
    c.warm_up_samples = 3;
    return c;
  }
  void Push() { engine.SetPolicies(std::make_shared<const PolicySet>(policies)); }

  // The sample as the monitor would send it.
  HostObservation Observe() const {
    HostObservation o;
    o.header = {.host_id = "host-1",
                .boot_id = boot_id,
                .sequence = sequence,
                .sample_time = Wall(),
                .monotonic_time = absl::Seconds(1000) + sample_time};
    o.cpu_capacity_cores = cpu_capacity;
    o.memory_capacity_bytes = memory_capacity;
    o.predictor_link = link;
    for (const auto& [uuid, vm] : vms) {
      if (vm.is_present) {
        o.vms.push_back(Sample(uuid, vm));
      }
    }
    return o;
  }

  StepResult Tick() {
    ++sequence;
    sample_time += absl::Seconds(1);
    return Feed(Observe());
  }
  StepResult Feed(HostObservation o) {
    now += absl::Seconds(1);
    StepResult r = engine.Step({MonoTime::FromStart(now), Wall()},
                               std::make_shared<const HostObservation>(std::move(o)));
    for (const PlannedAction& a : r.actions) {
      Carry(a);
    }
    for (const Decision& d : r.decisions) {
      last[{d.vm_uuid, d.resource}] = d;
    }
    return r;
  }
  void Ticks(int count) {
    for (int i = 0; i < count; ++i) {
      Tick();
    }
  }

  void Carry(const PlannedAction& a) {
    Vm& vm = vms.at(a.vm_uuid);
    std::optional<double> before;
    if (a.resource == Resource::kCpu) {
      before = vm.cap;
      vm.cap = a.target;
    } else {
      before = vm.memory_target;
      vm.memory_target = a.target.value_or(vm.memory_maximum);
    }
    log.push_back({now, a});
    engine.OnActionEnded({.vm_uuid = a.vm_uuid,
                          .resource = a.resource,
                          .result = ActionFeedback::Result::kDone,
                          .before = before,
                          .value = a.target,
                          .at = MonoTime::FromStart(now)});
  }
  const Decision& Last(const std::string& uuid, Resource r = Resource::kCpu) {
    return last.at({uuid, r});
  }
  absl::Time Wall() const { return absl::FromUnixSeconds(1'800'000'000) + now; }

  struct Done {
    absl::Duration at;
    PlannedAction action;
  };
  PlanningEngine engine;
  PolicySet policies;
  std::map<std::string, Vm> vms;
  std::map<std::pair<std::string, Resource>, Decision> last;
  std::vector<Done> log;
  PredictorLink link = PredictorLink::kUp;
  std::string boot_id = "boot-1";
  int64_t sequence = 0;
  absl::Duration sample_time;
  absl::Duration now;
  double cpu_capacity = 16;
  double memory_capacity = 64.0 * 1024 * kMiB;

 private:
  Forecast MakeForecast(const Vm& vm, double value) const {
    Forecast f;
    f.model = "truth";
    f.age = vm.forecast_age;
    f.is_warm = vm.is_warm;
    const double v = value * vm.forecast_ratio;
    f.horizons = {{absl::Seconds(10), {{0.5, v}, {0.98, v}, {0.999, v}}, v}};
    f.target_violation_ratio = vm.forecast_target;
    if (vm.advised_ratio) {
      f.advised_allocation = value * *vm.advised_ratio;
    }
    f.padding.total = vm.pad;
    f.padding.parts = {{PaddingKind::kBurst, vm.pad}};
    return f;
  }
  VmObservation Sample(const std::string& uuid, const Vm& vm) const {
    VmObservation o;
    o.uuid = uuid;
    o.name = uuid;
    o.vcpu_count = vm.vcpus;
    o.cpu_quality = vm.quality;
    o.memory_quality = vm.memory_quality;
    o.cpu_cap = vm.cap;
    if (vm.quality != SampleQuality::kMissing) {
      const double limit = vm.cap.value_or(static_cast<double>(vm.vcpus));
      o.cpu_usage = std::min(vm.demand, limit);
      o.cpu_demand = o.cpu_usage;
      o.cpu_throttled_ratio = vm.demand > limit ? 1 - limit / vm.demand : 0;
    }
    o.memory_target = vm.memory_target;
    o.memory_allocated = vm.memory_allocated.value_or(vm.memory_target);
    o.swap_in_bytes = vm.swap_in_bytes;
    o.memory_maximum = vm.memory_maximum;
    if (vm.memory_quality != SampleQuality::kMissing) {
      o.memory_used = vm.memory_used;
    }
    o.has_guest_report = vm.has_guest_report;
    if (vm.has_guest_report) {
      o.guest_total = vm.memory_target;
      o.guest_available = std::max(0.0, vm.memory_target - vm.memory_used);
    }
    o.memory_pressure_some_ratio = vm.psi;
    if (link == PredictorLink::kUp) {
      o.cpu_forecast = MakeForecast(vm, vm.demand);
      o.memory_forecast = MakeForecast(vm, vm.memory_used);
      o.memory_forecast->padding = {};
    }
    return o;
  }
};

}  // namespace cloudscale::scaler::testing
