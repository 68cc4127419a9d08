#include "services/monitor/demand.h"

#include <algorithm>
#include <cmath>

namespace cloudscale::monitor {
namespace {

constexpr double kOomGrowthRatio = 1.2;
constexpr double kOomGrowthBytes = 100.0 * 1024 * 1024;
constexpr double kPressureGain = 2.5;
constexpr double kPressureGrowthMax = 0.25;

}  // namespace

CpuDemand EstimateCpuDemand(const CpuObservation& observation) {
  CpuDemand demand;
  double throttled = std::max(0.0, observation.throttled_cores.value_or(0));
  if (observation.cap_cores.has_value() && *observation.cap_cores > 0) {
    const double bound =
        std::min(1.0, std::ldexp(kFirstThrottledRatio, static_cast<int>(std::min<int64_t>(
                                                           observation.held_back_intervals, 2)))) *
        *observation.cap_cores;
    const bool is_cut = throttled > bound;
    throttled = std::min(throttled, bound);
    const double used = observation.usage_cores / *observation.cap_cores;
    const double weight =
        std::clamp((used - kIdleQuotaRatio) / (kFullQuotaRatio - kIdleQuotaRatio), 0.0, 1.0);
    throttled *= weight;
    demand.is_held_back = throttled > 0;
    demand.is_lower_bound = is_cut && demand.is_held_back;
  }
  demand.cores =
      observation.usage_cores + throttled + std::max(0.0, observation.wait_cores.value_or(0));
  const bool at_cap = observation.cap_cores.has_value() &&
                      observation.usage_cores >= kCensoredUsageRatio * *observation.cap_cores;
  // A cap of all vCPUs or more cannot hold anything back.
  const bool cap_binds = observation.cap_cores.has_value() &&
                         *observation.cap_cores < static_cast<double>(observation.vcpu_count);
  if (at_cap && cap_binds && !observation.throttled_cores.has_value()) {
    demand.cores = std::max(demand.cores, kBlindGrowthRatio * *observation.cap_cores);
    demand.is_lower_bound = true;
    demand.is_held_back = true;
  }
  const double bound =
      std::max(observation.usage_cores, static_cast<double>(observation.vcpu_count));
  demand.cores = std::clamp(demand.cores, observation.usage_cores, bound);
  return demand;
}

int64_t EstimateMemoryDemand(const MemoryObservation& observation) {
  const auto used = static_cast<double>(observation.used_bytes);
  const double pressure = std::clamp(observation.pressure_some_ratio.value_or(0), 0.0, 1.0);
  double demand = used * (1 + std::min(kPressureGrowthMax, kPressureGain * pressure));
  if (observation.limit_bytes.has_value() &&
      used >= kMemorySqueezedRatio * static_cast<double>(*observation.limit_bytes)) {
    demand = std::max(demand, used * kBlindGrowthRatio);
  }
  if (observation.has_new_oom_kill) {
    demand = std::max({demand, used * kOomGrowthRatio, used + kOomGrowthBytes});
  }
  if (observation.maximum_bytes.has_value()) {
    demand = std::min(demand, static_cast<double>(*observation.maximum_bytes));
  }
  return std::max(observation.used_bytes, static_cast<int64_t>(demand));
}

}  // namespace cloudscale::monitor
