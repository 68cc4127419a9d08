#include "services/scaler/scaler_config.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace cloudscale::scaler {
namespace {

void CheckDuration(Violations& v, absl::string_view field, absl::Duration value, absl::Duration low,
                   absl::Duration high) {
  if (value < low || value > high) {
    v.Add(field, absl::FormatDuration(value),
          absl::StrCat(absl::FormatDuration(low), " to ", absl::FormatDuration(high)));
  }
}

void CheckCount(Violations& v, absl::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    v.Add(field, absl::StrCat(value), absl::StrCat(low, " to ", high));
  }
}

void CheckCorrection(Violations& v, absl::string_view prefix, const CorrectionConfig& c) {
  const auto field = [&](absl::string_view name) { return absl::StrCat(prefix, ".", name); };
  RequireInRange(v, field("threshold_ratio"), c.threshold_ratio, 0.5, 1);
  RequireInRange(v, field("alpha_min"), c.alpha_min, 1, 2);
  RequireInRange(v, field("alpha_max"), c.alpha_max, 1, 2);
  if (c.alpha_max < c.alpha_min) {
    v.Add(field("alpha_max"), absl::StrCat(c.alpha_max),
          absl::StrCat("at least alpha_min (", c.alpha_min, ")"));
  }
  RequireInRange(v, field("alpha_step"), c.alpha_step, 0, 1);
  CheckCount(v, field("retrain_streak"), c.retrain_streak, 1, 100);
}

}  // namespace

void Validate(const ScalerConfig& c, Violations& v) {
  CheckDuration(v, "step", c.step, absl::Milliseconds(100), absl::Hours(1));
  CheckCorrection(v, "cpu_correction", c.cpu_correction);
  CheckCorrection(v, "memory_correction", c.memory_correction);
  if (!(c.forecast_quantile_ratio > 0 && c.forecast_quantile_ratio < 1)) {
    v.Add("forecast_quantile_ratio", absl::StrCat(c.forecast_quantile_ratio), "0 < x < 1");
  }
  CheckDuration(v, "limits.max_forecast_age", c.max_forecast_age, absl::Milliseconds(100),
                absl::Hours(24));
  CheckDuration(v, "limits.max_sample_age", c.max_sample_age, absl::Milliseconds(100),
                absl::Hours(1));
  CheckCount(v, "limits.warm_up_samples", c.warm_up_samples, 1, 10'000);
  CheckCount(v, "limits.max_actions_per_minute", c.max_actions_per_minute, 1, 100'000);
  CheckCount(v, "limits.max_actions_per_vm_per_minute", c.max_actions_per_vm_per_minute, 1, 600);
  CheckCount(v, "limits.max_failures_before_pause", c.max_failures_before_pause, 1, 100);
  RequireInRange(v, "limits.host_reserve_ratio", c.host_reserve_ratio, 0, 0.5);
  RequireInRange(v, "memory.guest_reserve_bytes", c.memory.guest_reserve_bytes, 0, 1e15);
  RequireInRange(v, "memory.guest_reserve_ratio", c.memory.guest_reserve_ratio, 0, 1);
  RequireInRange(v, "memory.pressure_limit_ratio", c.memory.pressure_limit_ratio, 0, 1);
  RequireInRange(v, "memory.oom_growth_bytes", c.memory.oom_growth_bytes, 0, 1e15);
  RequireInRange(v, "memory.swap_in_limit_bytes_per_second",
                 c.memory.swap_in_limit_bytes_per_second, 0, 1e15);
  CheckDuration(v, "memory.balloon_patience", c.memory.balloon_patience, absl::Seconds(1),
                absl::Hours(1));
}

}  // namespace cloudscale::scaler
