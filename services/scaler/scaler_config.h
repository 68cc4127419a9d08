#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/status/violations.h"

namespace cloudscale::scaler {

// Fast correction of under-estimates (CloudScale, SoCC 2011, section 3.4): at every sample with
// pressure P = usage / allocation >= `threshold_ratio` the allocation is multiplied by
//   alpha = alpha_min + (P - threshold) / (1 - threshold) * (alpha_max - alpha_min),
// and alpha grows by `alpha_step` for each further sample in a row.
struct CorrectionConfig {
  bool is_enabled = true;
  double threshold_ratio = 0.9;  // 0.5..1
  double alpha_min = 1.0;        // 1..2
  double alpha_max = 2.0;        // alpha_min..2; memory 1.5
  double alpha_step = 0.1;       // 0..1
  double throttled_ratio_min =
      0.1;                     // above it a sample counts as censored, so as an under-estimate
  int64_t retrain_streak = 3;  // 1..100 in a row before a retrain is asked for
};

struct MemoryConfig {
  double guest_reserve_bytes = 64.0 * 1024 * 1024;
  double guest_reserve_ratio = 0.1;    // of the present allocation; the larger of both counts
  double pressure_limit_ratio = 0.05;  // above this PSI nothing shrinks
  double oom_growth_bytes = 100.0 * 1024 * 1024;
  double oom_growth_ratio = 1.2;
  // Swapping in faster than this, and not slower than before, grows like a kill; 0 = off.
  double swap_in_limit_bytes_per_second = 1024.0 * 1024;
  absl::Duration balloon_patience = absl::Seconds(60);  // without progress; then it refuses
  double quantile_ratio = 0.995;  // running out of memory costs more than running out of CPU
};

// Settings of the planning engine; see config.proto for what operators may set.
struct ScalerConfig {
  absl::Duration step = absl::Seconds(10);
  CorrectionConfig cpu_correction;
  CorrectionConfig memory_correction{.alpha_max = 1.5};
  MemoryConfig memory;
  double forecast_quantile_ratio = 0.5;  // (0, 1); padding is added to this quantile
  absl::Duration max_forecast_age = absl::Seconds(30);
  absl::Duration max_sample_age = absl::Seconds(5);
  int64_t warm_up_samples = 30;  // fresh samples of a VM after a start before any decision
  int64_t max_actions_per_minute = 600;
  int64_t max_actions_per_vm_per_minute = 30;
  int64_t max_failures_before_pause = 5;
  double host_reserve_ratio = 0.05;  // [0, 0.5]; share of the host that is never given
  // Reacting without a predictor: room above the highest recent demand.
  double reactive_margin_ratio = 0.2;
  // Steps whose highest demand no shrink may undercut.
  int64_t peak_window_steps = 6;
  double canary_step_ratio = 0.1;
  absl::Duration foreign_hold = absl::Minutes(10);     // no shrink after somebody else's change
  absl::Duration failure_hold = absl::Minutes(10);     // no action after too many failures
  absl::Duration rollback_window = absl::Seconds(60);  // a shrink is on probation for this long
  absl::Duration vanished_ttl = absl::Minutes(10);     // state of a VM that is gone
  double cpu_granularity_cores = 0.01;
  double memory_granularity_bytes = 1024.0 * 1024;
  bool can_cap_cpu = true;
  bool can_set_memory = true;
};

// Adds every fault.
void Validate(const ScalerConfig& config, Violations& violations);

}  // namespace cloudscale::scaler
