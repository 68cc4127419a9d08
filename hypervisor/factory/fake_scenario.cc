#include "hypervisor/factory/fake_scenario.h"

#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/random/rng.h"
#include "common/status/macros.h"
#include "common/trace/trace_reader.h"
#include "common/workload/demand_source.h"
#include "common/workload/pattern.h"

namespace cloudscale::hypervisor {
namespace {

constexpr int kMaxVms = 4096;
constexpr int kDefaultVcpus = 2;
constexpr absl::Duration kDefaultPeriod = absl::Seconds(60);
constexpr double kDefaultMeanRatio = 0.4;
constexpr double kDefaultAmplitudeRatio = 0.3;
constexpr double kDefaultNoiseRatio = 0.05;
constexpr double kConstantMemoryRatio = 0.5;
// A made series repeats after so many periods: long enough that nobody sees it.
constexpr int64_t kPatternPeriods = 200;

absl::Duration ToDuration(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

int VcpuCount(const config::v1::FakeVm& vm) {
  return vm.vcpu_count() > 0 ? vm.vcpu_count() : kDefaultVcpus;
}

absl::Duration Period(const config::v1::FakeVm& vm) {
  return vm.has_period() ? ToDuration(vm.period()) : kDefaultPeriod;
}

workload::Pattern ToPattern(config::v1::FakePattern pattern) {
  using workload::Pattern;
  switch (pattern) {
    case config::v1::FAKE_PATTERN_CONSTANT:
      return Pattern::kFlat;
    case config::v1::FAKE_PATTERN_SINE:
      return Pattern::kSine;
    case config::v1::FAKE_PATTERN_SQUARE:
      return Pattern::kSquare;
    case config::v1::FAKE_PATTERN_SPIKE:
      return Pattern::kSpike;
    case config::v1::FAKE_PATTERN_RAMP:
      return Pattern::kRamp;
    case config::v1::FAKE_PATTERN_RANDOM_WALK:
      return Pattern::kRandomWalk;
    case config::v1::FAKE_PATTERN_IDLE_BURST:
      return Pattern::kIdleBurst;
    case config::v1::FAKE_PATTERN_BATCH:
      return Pattern::kBatch;
    case config::v1::FAKE_PATTERN_BURSTY:
      return Pattern::kBursty;
    default:
      return Pattern::kWeb;
  }
}

fake::BalloonGuest ToBalloon(config::v1::FakeBalloon balloon) {
  switch (balloon) {
    case config::v1::FAKE_BALLOON_SLOW:
      return fake::BalloonGuest::kSlow;
    case config::v1::FAKE_BALLOON_REFUSING:
      return fake::BalloonGuest::kRefusing;
    default:
      return fake::BalloonGuest::kCooperative;
  }
}

// A UUID that depends on seed and name only, so that a restarted process finds its VMs again.
std::string MakeUuid(int64_t seed, const std::string& name) {
  Rng rng = Rng(static_cast<uint64_t>(seed)).Fork(absl::StrCat("uuid/", name));
  const uint64_t high = (rng.Next() & ~0xf000ULL) | 0x8000ULL;  // version 8: made by our own rule
  const uint64_t low = (rng.Next() >> 2) | 0x8000000000000000ULL;
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xffff,
                         high & 0xffff, low >> 48, low & 0xffffffffffffULL);
}

absl::StatusOr<std::shared_ptr<const workload::DemandSource>> ReadDemand(const std::string& file,
                                                                         const std::string& series,
                                                                         double scale) {
  trace::ReadOptions options;
  if (!series.empty()) {
    options.names = {series};
  }
  CS_ASSIGN_OR_RETURN(std::vector<trace::Trace> traces, trace::ReadTraces(file, options));
  if (traces.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": holds ", traces.size(), " series; name one with trace_series"));
  }
  return workload::MakeTraceDemand(std::move(traces.front()),
                                   {.offset = absl::ZeroDuration(), .scale = scale});
}

absl::StatusOr<std::shared_ptr<const workload::DemandSource>> MakePatternDemand(
    const config::v1::FakeVm& vm, const Rng& rng) {
  const double vcpus = VcpuCount(vm);
  workload::PatternSpec spec;
  spec.pattern = ToPattern(vm.pattern());
  spec.mean = vm.has_cpu_mean_cores() ? vm.cpu_mean_cores() / vcpus : kDefaultMeanRatio;
  spec.amplitude =
      vm.has_cpu_amplitude_cores() ? vm.cpu_amplitude_cores() / vcpus : kDefaultAmplitudeRatio;
  spec.noise_ratio = vm.has_noise_ratio() ? vm.noise_ratio() : kDefaultNoiseRatio;
  spec.period = Period(vm);
  spec.step = std::min(absl::Seconds(1), spec.period / 2);
  spec.length = spec.period * kPatternPeriods;
  CS_ASSIGN_OR_RETURN(trace::Trace trace,
                      workload::GeneratePattern(vm.name(), spec, rng.Fork(vm.name())));
  return workload::MakeTraceDemand(std::move(trace));
}

void ValidateTraceFile(const std::string& file, absl::string_view field, Violations* v) {
  std::error_code error;
  if (!file.empty() && !std::filesystem::is_regular_file(file, error)) {
    v->Add(field, file, "a readable trace file");
  }
}

void ValidateVm(const config::v1::FakeVm& vm, Violations* v) {
  RequireNotEmpty(*v, "name", vm.name());
  if (vm.vcpu_count() != 0) {
    RequireInRange(*v, "vcpu_count", vm.vcpu_count(), 1, 256);
  }
  if (vm.memory_bytes() != 0) {
    RequireInRange(*v, "memory_bytes", static_cast<double>(vm.memory_bytes()), 1 << 20, 1e15);
  }
  ValidateTraceFile(vm.cpu_trace_file(), "cpu_trace_file", v);
  ValidateTraceFile(vm.memory_trace_file(), "memory_trace_file", v);
  const double vcpus = VcpuCount(vm);
  if (vm.has_cpu_trace_scale()) {
    RequirePositive(*v, "cpu_trace_scale", vm.cpu_trace_scale());
  }
  if (vm.has_memory_trace_scale()) {
    RequirePositive(*v, "memory_trace_scale", vm.memory_trace_scale());
  }
  if (vm.has_cpu_mean_cores()) {
    RequireInRange(*v, "cpu_mean_cores", vm.cpu_mean_cores(), 0, vcpus);
  }
  if (vm.has_cpu_amplitude_cores()) {
    RequireInRange(*v, "cpu_amplitude_cores", vm.cpu_amplitude_cores(), 0, vcpus);
  }
  if (vm.has_noise_ratio()) {
    RequireInRange(*v, "noise_ratio", vm.noise_ratio(), 0, 1);
  }
  if (vm.has_period() && (Period(vm) < absl::Seconds(2) || Period(vm) > absl::Seconds(5000))) {
    v->Add("period", absl::FormatDuration(Period(vm)), "2s to 5000s");
  }
}

}  // namespace

config::v1::FakeScenario DefaultFakeScenario() {
  struct Row {
    const char* name;
    config::v1::FakePattern pattern;
    int vcpus;
    double mean_cores;
    double amplitude_cores;
    int64_t period_seconds;
  };
  static constexpr Row kRows[] = {
      {"web-1", config::v1::FAKE_PATTERN_WEB, 4, 1.6, 1.2, 900},
      {"web-2", config::v1::FAKE_PATTERN_SINE, 4, 1.4, 1.0, 600},
      {"db-1", config::v1::FAKE_PATTERN_BURSTY, 4, 1.2, 1.4, 1800},
      {"batch-1", config::v1::FAKE_PATTERN_BATCH, 2, 0.8, 0.8, 1200},
      {"cache-1", config::v1::FAKE_PATTERN_CONSTANT, 2, 0.5, 0.0, 60},
  };
  config::v1::FakeScenario scenario;
  for (const Row& row : kRows) {
    auto* vm = scenario.add_vms();
    vm->set_name(row.name);
    vm->set_pattern(row.pattern);
    vm->set_vcpu_count(row.vcpus);
    vm->set_cpu_mean_cores(row.mean_cores);
    vm->set_cpu_amplitude_cores(row.amplitude_cores);
    vm->mutable_period()->set_seconds(row.period_seconds);
  }
  return scenario;
}

void ValidateFakeConfig(const config::v1::FakeConfig& config, absl::string_view prefix,
                        Violations* violations) {
  Violations v;
  if (config.cpu_capacity_cores() != 0) {
    RequireInRange(v, "cpu_capacity_cores", config.cpu_capacity_cores(), 0.01, 4096);
  }
  if (config.memory_bytes() != 0) {
    RequireInRange(v, "memory_bytes", static_cast<double>(config.memory_bytes()), 1 << 20, 1e16);
  }
  if (config.time_factor() != 0) {
    RequireInRange(v, "time_factor", config.time_factor(), 0.001, 100000);
  }
  if (config.scenario().vms_size() > kMaxVms) {
    v.Add("scenario.vms", absl::StrCat(config.scenario().vms_size()),
          absl::StrCat("at most ", kMaxVms));
  }
  std::set<std::string> names;
  std::set<std::string> uuids;
  for (int i = 0; i < config.scenario().vms_size() && i < kMaxVms; ++i) {
    const config::v1::FakeVm& vm = config.scenario().vms(i);
    Violations inner;
    ValidateVm(vm, &inner);
    if (!names.insert(vm.name()).second) {
      inner.Add("name", vm.name(), "a name of its own");
    }
    if (!vm.vm_uuid().empty() && !uuids.insert(vm.vm_uuid()).second) {
      inner.Add("vm_uuid", vm.vm_uuid(), "a UUID of its own");
    }
    v.AddAll(absl::StrCat("scenario.vms[", i, "]"), inner);
  }
  violations->AddAll(prefix, v);
}

absl::StatusOr<std::vector<fake::FakeVmSpec>> MakeFakeVms(const config::v1::FakeConfig& config) {
  const int64_t seed = config.seed() == 0 ? 1 : config.seed();
  const Rng rng(static_cast<uint64_t>(seed));
  const config::v1::FakeScenario scenario =
      config.scenario().vms_size() > 0 ? config.scenario() : DefaultFakeScenario();
  std::vector<fake::FakeVmSpec> specs;
  for (const config::v1::FakeVm& vm : scenario.vms()) {
    fake::FakeVmSpec spec;
    spec.name = vm.name();
    spec.uuid = vm.vm_uuid().empty() ? MakeUuid(seed, vm.name()) : vm.vm_uuid();
    spec.vcpu_count = VcpuCount(vm);
    if (vm.memory_bytes() > 0) {
      spec.memory_maximum_bytes = vm.memory_bytes();
    }
    spec.balloon = ToBalloon(vm.balloon());
    if (!vm.cpu_trace_file().empty()) {
      CS_ASSIGN_OR_RETURN(spec.cpu_demand,
                          ReadDemand(vm.cpu_trace_file(), vm.trace_series(),
                                     vm.has_cpu_trace_scale() ? vm.cpu_trace_scale() : 1.0));
    } else {
      CS_ASSIGN_OR_RETURN(spec.cpu_demand, MakePatternDemand(vm, rng));
    }
    if (!vm.memory_trace_file().empty()) {
      CS_ASSIGN_OR_RETURN(spec.memory_demand,
                          ReadDemand(vm.memory_trace_file(), vm.trace_series(),
                                     vm.has_memory_trace_scale() ? vm.memory_trace_scale() : 1.0));
    } else {
      spec.memory_demand = workload::MakeConstantDemand(kConstantMemoryRatio);
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace cloudscale::hypervisor
