#include "hypervisor/fake/fake_fleet.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/check/check.h"
#include "common/random/rng.h"
#include "common/workload/demand_source.h"
#include "common/workload/pattern.h"

namespace cloudscale::hypervisor::fake {
namespace {

constexpr double kIdleCpuFraction = 0.1;
constexpr double kSteadyMemoryFraction = 0.5;

FakeVmSpec Named(uint64_t seed, const std::string& name) {
  FakeVmSpec spec;
  spec.uuid = MakeVmUuid(seed, name);
  spec.name = name;
  return spec;
}

FakeVmSpec FromPattern(uint64_t seed, const std::string& name, const workload::PatternSpec& cpu,
                       const workload::PatternSpec& memory, absl::Duration offset) {
  FakeVmSpec spec = Named(seed, name);
  const Rng rng = Rng(seed).Fork(name);
  auto cpu_trace = workload::GeneratePattern(name, cpu, rng.Fork("cpu"));
  auto memory_trace = workload::GeneratePattern(name, memory, rng.Fork("memory"));
  CS_CHECK(cpu_trace.ok() && memory_trace.ok());  // the specs below are constants
  spec.cpu_demand =
      workload::MakeTraceDemand(*std::move(cpu_trace), {.offset = offset, .scale = 1});
  spec.memory_demand =
      workload::MakeTraceDemand(*std::move(memory_trace), {.offset = offset, .scale = 1});
  return spec;
}

}  // namespace

std::string MakeVmUuid(uint64_t seed, absl::string_view name) {
  Rng rng = Rng(seed).Fork(absl::StrCat("vm-uuid/", name));
  const uint64_t high = rng.Next();
  const uint64_t low = rng.Next();
  // Version 4 and variant 1 of RFC 4122.
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", high >> 32, (high >> 16) & 0xffff,
                         high & 0xfff, 0x8000 | ((low >> 48) & 0x3fff), low & 0xffffffffffff);
}

std::vector<FakeVmSpec> DefaultFleet(uint64_t seed) {
  using workload::Pattern;
  const workload::PatternSpec web = {.pattern = Pattern::kWeb, .mean = 0.45, .amplitude = 0.35};
  const workload::PatternSpec batch = {
      .pattern = Pattern::kBatch, .mean = 0.5, .amplitude = 0.4, .period = absl::Seconds(40)};
  const workload::PatternSpec bursty = {
      .pattern = Pattern::kBursty, .mean = 0.3, .amplitude = 0.4, .period = absl::Seconds(60)};
  const workload::PatternSpec trend = {
      .pattern = Pattern::kTrend, .mean = 0.4, .amplitude = 0.3, .length = absl::Seconds(600)};
  const workload::PatternSpec steady = {
      .pattern = Pattern::kFlat, .mean = kSteadyMemoryFraction, .noise_ratio = 0.01};
  const workload::PatternSpec growing = {.pattern = Pattern::kTrend,
                                         .mean = 0.5,
                                         .amplitude = 0.2,
                                         .noise_ratio = 0.01,
                                         .length = absl::Seconds(600)};
  std::vector<FakeVmSpec> fleet;
  fleet.push_back(FromPattern(seed, "web-day", web, steady, absl::ZeroDuration()));
  fleet.push_back(FromPattern(seed, "web-night", web, steady, absl::Seconds(60)));
  fleet.push_back(FromPattern(seed, "batch", batch, growing, absl::ZeroDuration()));
  fleet.push_back(FromPattern(seed, "bursty", bursty, steady, absl::ZeroDuration()));
  fleet.push_back(FromPattern(seed, "trend", trend, growing, absl::ZeroDuration()));
  return fleet;
}

absl::StatusOr<std::vector<FakeVmSpec>> FleetFromTraces(const std::vector<trace::Trace>& traces,
                                                        const TraceFleetOptions& options) {
  if (traces.empty()) {
    return absl::InvalidArgumentError("no trace to make a VM of");
  }
  std::set<std::string> names;
  std::vector<FakeVmSpec> fleet;
  for (const trace::Trace& trace : traces) {
    if (!names.insert(trace.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("two traces named '", trace.name, "'"));
    }
    FakeVmSpec spec = Named(options.seed, trace.name);
    spec.vcpu_count = options.vcpu_count;
    spec.memory_maximum_bytes = options.memory_bytes;
    const bool is_memory = trace.resource == "mem" || absl::EndsWith(trace.name, "_mem");
    spec.cpu_demand = is_memory ? workload::MakeConstantDemand(kIdleCpuFraction)
                                : workload::MakeTraceDemand(trace);
    spec.memory_demand = is_memory ? workload::MakeTraceDemand(trace)
                                   : workload::MakeConstantDemand(kSteadyMemoryFraction);
    fleet.push_back(std::move(spec));
  }
  return fleet;
}

}  // namespace cloudscale::hypervisor::fake
