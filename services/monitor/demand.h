#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace cloudscale::monitor {

// What is known of a VM's CPU over one interval. All in cores, that is seconds of vCPU time per
// second; absent = the hypervisor does not tell.
struct CpuObservation {
  double usage_cores = 0;
  std::optional<double> throttled_cores = std::nullopt;  // wanted to run, held back by the cap
  std::optional<double> wait_cores = std::nullopt;       // runnable while another VM ran (steal)
  std::optional<double> cap_cores =
      std::nullopt;  // in force during the interval; absent = uncapped
  int64_t vcpu_count = 0;
  // Intervals in a row before this one in which it was held back; see `CpuDemand`.
  int64_t held_back_intervals = 0;
};

// Demand and how sure it is.
struct CpuDemand {
  double cores = 0;
  // The real demand may be higher: the VM was held back by more than can be told.
  bool is_lower_bound = false;
  // It was held back by its cap in this interval.
  bool is_held_back = false;
};

// Share of the cap from which a VM counts as held back, when no throttled time is known.
// Enforcement is in periods (CFS bandwidth, credit scheduler), so a VM that wants far more than its
// cap is still seen a little below it.
inline constexpr double kCensoredUsageRatio = 0.98;

// Throttled time counts not at all below the first share of the cap used, and whole from the second
// on.
inline constexpr double kIdleQuotaRatio = 0.75;
inline constexpr double kFullQuotaRatio = 0.92;

// Of the cap, how much throttled time counts at most in the first interval in which the VM is held
// back. It doubles from interval to interval, up to the cap itself.
inline constexpr double kFirstThrottledRatio = 0.25;

// Growth assumed for a VM that is held back by an unknown amount. One step at a time: the estimate
// compounds while the cap follows, as CloudScale's fast correction does.
inline constexpr double kBlindGrowthRatio = 1.12;

// Estimates what the VM would have consumed without cap and without competitors: a forecast of the
// usage of a capped VM only ever learns the cap.
//
//   demand = usage + w throttled + wait           where these are known, w rises from 0 to 1 with
//                                                 usage / cap, and throttled is at most a quarter
//                                                 of the cap, then a half, then the cap,
//   demand = max(that, kBlindGrowthRatio * cap)   and a lower bound, when usage >= 0.98 * cap and
//                                                 the throttled time is not known,
//   usage <= demand <= max(usage, vcpu_count).
//
// The sum is right for work that is lost when it is not done at once. For work that queues up, time
// spent throttled includes the backlog, so the estimate errs upwards until the backlog is gone:
// the safe side, and what is needed to work it off. But where much of a cap was left unused, the
// backlog was gone within the interval: a server that works in bursts is throttled in single
// periods of enforcement at half of its cap, and on average wants no more than it used. What its
// users feel of that, latencies tell.
// Throttled time beyond its bound says that more is wanted, not how much, since it is counted on
// each CPU for as long as anything waits: 20 ms of work that came too late may be throttled for the
// rest of the second. A single interval at the cap is therefore little evidence, several in a row
// are much, and what is cut off makes the demand a lower bound. Fast correction does not wait for
// any of this. A VM at its cap with zero throttled time was not held back; its demand is its usage.
[[nodiscard]] CpuDemand EstimateCpuDemand(const CpuObservation& observation);

// What is known of a VM's memory at one instant; bytes, absent = not known.
struct MemoryObservation {
  int64_t used_bytes = 0;
  std::optional<int64_t> limit_bytes =
      std::nullopt;  // target in force, or what the VM holds while it is higher
  std::optional<int64_t> maximum_bytes = std::nullopt;       // hard upper bound of a target
  std::optional<double> pressure_some_ratio = std::nullopt;  // 0 to 1
  bool has_new_oom_kill = false;  // a process was killed for lack of memory
};

// Used memory at or above this share of the limit is squeezed: caches are gone already.
inline constexpr double kMemorySqueezedRatio = 0.95;

// Estimates the memory that the VM wants:
//
//   demand = used * (1 + min(0.25, 2.5 * pressure))  PSI of 10 % or more: a quarter more,
//   demand >= used * kBlindGrowthRatio               when used >= 0.95 * limit,
//   demand >= max(1.2 * used, used + 100 MiB)        after an OOM kill (rule of Kubernetes' VPA),
//   used <= demand <= max(used, maximum).
[[nodiscard]] int64_t EstimateMemoryDemand(const MemoryObservation& observation);

}  // namespace cloudscale::monitor
