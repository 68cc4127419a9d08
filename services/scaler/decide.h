#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "services/scaler/decision.h"
#include "services/scaler/observation.h"
#include "services/scaler/policy.h"
#include "services/scaler/scaler_config.h"

namespace cloudscale::scaler {

// Everything that one decision depends on. Kept in its receipt.
struct DecisionInputs {
  std::shared_ptr<const ScalerConfig> config;
  std::shared_ptr<const EffectivePolicy> policy;
  std::shared_ptr<const HostObservation> observation;
  size_t vm_index = 0;  // into observation->vms
  Resource resource = Resource::kCpu;
  absl::Time decided_at;
  bool is_full_step = true;

  // Trust, counted by the engine.
  int64_t fresh_samples = 0;              // since the start; `warm_up_samples` are needed
  int64_t fresh_streak = 0;               // in a row, up to now
  int64_t fresh_streak_needed = 0;        // the whole shrink window
  bool is_stale = false;                  // the sample itself came too late
  std::optional<double> last_allocation;  // last one that was known
  std::optional<double> recent_peak;      // highest demand of the last `peak_window_steps`
  // Of their highest demands the one that no more of them exceed than the target says: what no
  // shrink may undercut. For memory the highest.
  std::optional<double> recent_level;

  // Progress of rules that wait.
  int64_t quiet_steps = 0;                          // shrink wanted in a row, this step included
  std::optional<absl::Duration> since_last_change;  // absent = never changed
  std::optional<absl::Duration> foreign_hold_left;  // > 0 while somebody else's value is kept
  std::optional<absl::Duration> failure_hold_left;
  int64_t failures_in_a_row = 0;
  bool is_outdated = false;  // the sample does not show our own last change yet

  // Fast correction.
  bool is_under_estimate = false;  // this sample
  double alpha = 1;                // 1 when not
  int64_t under_estimate_streak = 0;
  std::optional<double> rollback_to;  // size before a shrink that proved bad
  bool is_oom = false;                // the guest killed a process since the last sample
  // Bytes per second that the guest swaps in, when that is much and not becoming less.
  std::optional<double> swap_in_rate;
  // For how long the balloon has not come nearer to its target, once that is too long.
  std::optional<absl::Duration> balloon_refused_for;

  double boost_factor = 1;  // asked for because an objective is missed
  std::string boost_objective;

  // Second pass: what the host can give, and whether a rate limit holds it back.
  std::optional<double> host_limit;
  bool is_rate_limited = false;

  // A shortage that is there now.
  [[nodiscard]] bool is_short() const { return is_under_estimate || is_oom || swap_in_rate; }

  [[nodiscard]] const VmObservation& vm() const { return observation->vms[vm_index]; }
};

// Ratio of steps that may exceed the allocation. Memory that is missing hurts more than a target
// for CPU says, so there it is at most what the memory's own quantile leaves.
[[nodiscard]] double TargetViolationRatio(const EffectivePolicy& policy, Resource resource,
                                          const ScalerConfig& config);

// Present allocation of a series: cap or memory target; what the VM was defined with when it is
// uncapped; nullopt when not known.
[[nodiscard]] std::optional<double> PresentAllocation(const VmObservation& vm, Resource resource);

// Largest legal allocation; nullopt when not known.
[[nodiscard]] std::optional<double> VmMaximum(const VmObservation& vm, Resource resource);

// Usage and demand of a series. Memory: the larger of what hypervisor and guest tell, so that a
// guest that lies can only raise its own allocation (P8).
[[nodiscard]] std::optional<double> UsageOf(const VmObservation& vm, Resource resource);
[[nodiscard]] std::optional<double> DemandOf(const VmObservation& vm, Resource resource);

// The forecast of a series when it may be used: present, warm, not too old, not empty.
[[nodiscard]] const Forecast* UsableForecast(const VmObservation& vm, Resource resource,
                                             const ScalerConfig& config);

// Forecast plus padding before any limit.
struct Wish {
  bool is_known = false;
  bool is_reactive = false;
  double value = 0;  // forecast + padding.total
  std::optional<double> forecast;
  double quantile_ratio = 0;
  Padding padding;
};

// What the series should get. With a usable forecast of the shortest horizon:
//   max(Q(forecast_quantile_ratio) + padding.total, what the model advises),
// where a model that advises nothing advises Q(1 - target_violation_ratio), and memory gets at
// least Q(memory.quantile_ratio); never below Q(forecast_quantile_ratio) / threshold of the fast
// correction: less would call its own steady state an under-estimate. Without one: the highest
// recent demand plus a margin. A boost multiplies the sum. All that exceeds the forecast is told as
// padding by kind.
[[nodiscard]] Wish MakeWish(const DecisionInputs& in);

// Lowest memory that the guest can live with: need + max(ratio * present, reserve). nullopt while
// the need is not known.
[[nodiscard]] std::optional<double> MemoryFloor(const VmObservation& vm,
                                                const MemoryConfig& config);

// True when nothing may make the series smaller now: not warm, data not FRESH for the whole window,
// forecast missing although a predictor exists, memory without a second source, under pressure, a
// pause, a hold.
[[nodiscard]] bool ShrinkForbidden(const DecisionInputs& in);

// Pure: the same inputs give the same decision (P18). Limits in this order: data quality and
// warm-up, holds, pause, dead band and quiet steps, step sizes, cool-down, memory floor, min and
// max, host capacity, rounding, rate limit. The mode decides the outcome, not the target.
// `action_id` and `inputs` stay empty.
[[nodiscard]] Decision Decide(const DecisionInputs& in);

}  // namespace cloudscale::scaler
