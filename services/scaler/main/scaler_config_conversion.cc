#include "services/scaler/main/scaler_config_conversion.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/rpc/component.h"
#include "common/rpc/time_conversion.h"
#include "services/scaler/rpc/convert.h"

namespace cloudscale::scaler {
namespace {

// A report outlives this many steps without a new one.
constexpr int kReportSteps = 3;

template <typename Source>
void TakeDuration(bool has, const Source& source, absl::Duration* target) {
  if (has) {
    *target = rpc::FromProto(source);
  }
}

// 0 = not set.
void TakeCount(int64_t value, int64_t* target) {
  if (value != 0) {
    *target = value;
  }
}

void TakeCorrection(const config::v1::CorrectionConfig& in, CorrectionConfig* out) {
  if (in.has_is_enabled()) {
    out->is_enabled = in.is_enabled();
  }
  if (in.has_threshold_ratio()) {
    out->threshold_ratio = in.threshold_ratio();
  }
  if (in.has_alpha_min()) {
    out->alpha_min = in.alpha_min();
  }
  if (in.has_alpha_max()) {
    out->alpha_max = in.alpha_max();
  }
  if (in.has_alpha_step()) {
    out->alpha_step = in.alpha_step();
  }
  TakeCount(in.retrain_streak(), &out->retrain_streak);
}

ScalerConfig EngineFromProto(const config::v1::ScalerConfig& in) {
  ScalerConfig c;
  TakeDuration(in.has_step(), in.step(), &c.step);
  TakeCorrection(in.cpu_correction(), &c.cpu_correction);
  TakeCorrection(in.memory_correction(), &c.memory_correction);
  const config::v1::ScalerLimits& l = in.limits();
  TakeDuration(l.has_max_forecast_age(), l.max_forecast_age(), &c.max_forecast_age);
  TakeDuration(l.has_max_sample_age(), l.max_sample_age(), &c.max_sample_age);
  TakeCount(l.warm_up_samples(), &c.warm_up_samples);
  TakeCount(l.max_actions_per_minute(), &c.max_actions_per_minute);
  TakeCount(l.max_actions_per_vm_per_minute(), &c.max_actions_per_vm_per_minute);
  TakeCount(l.max_failures_before_pause(), &c.max_failures_before_pause);
  if (l.has_host_reserve_ratio()) {
    c.host_reserve_ratio = l.host_reserve_ratio();
  }
  if (in.has_forecast_quantile_ratio()) {
    c.forecast_quantile_ratio = in.forecast_quantile_ratio();
  }
  const config::v1::MemoryConfig& m = in.memory();
  if (m.has_guest_reserve_bytes()) {
    c.memory.guest_reserve_bytes = static_cast<double>(m.guest_reserve_bytes());
  }
  if (m.has_guest_reserve_ratio()) {
    c.memory.guest_reserve_ratio = m.guest_reserve_ratio();
  }
  if (m.has_pressure_limit_ratio()) {
    c.memory.pressure_limit_ratio = m.pressure_limit_ratio();
  }
  if (m.has_oom_growth_bytes()) {
    c.memory.oom_growth_bytes = static_cast<double>(m.oom_growth_bytes());
  }
  if (m.has_swap_in_limit_bytes_per_second()) {
    c.memory.swap_in_limit_bytes_per_second =
        static_cast<double>(m.swap_in_limit_bytes_per_second());
  }
  TakeDuration(m.has_balloon_patience(), m.balloon_patience(), &c.memory.balloon_patience);
  return c;
}

// What nothing reads yet must not look as if it were in force.
void RefuseUnread(const config::v1::ScalerConfig& in, Violations& violations) {
  const auto refuse = [&](bool is_set, absl::string_view field) {
    if (is_set) {
      violations.Add(field, "set", "not set: not supported by this version");
    }
  };
  refuse(in.has_conflict(), "conflict");
  refuse(in.has_peers(), "peers");
  refuse(in.has_energy(), "energy");
  refuse(in.limits().has_action_timeout(), "limits.action_timeout");
}

void TakeCapacityReport(const config::v1::CapacityReportConfig& in, ScalerCore::Config* out,
                        Violations& violations) {
  TakeDuration(in.has_shrink_wait(), in.shrink_wait(), &out->shrink_wait);
  RequireInRange(violations, "capacity_report.shrink_wait", absl::ToDoubleSeconds(out->shrink_wait),
                 0, 60);
  if (in.has_time_to_live()) {
    RequireInRange(violations, "capacity_report.time_to_live",
                   absl::ToDoubleSeconds(rpc::FromProto(in.time_to_live())), 1, 3600);
  }
}

}  // namespace

CapacityClient::Options CapacityOptionsOf(const config::v1::ScalerConfig& in) {
  absl::Duration step = ScalerConfig().step;
  TakeDuration(in.has_step(), in.step(), &step);
  CapacityClient::Options out;
  out.host_id = in.host_id();
  out.address = in.lbctl_address();
  TakeDuration(in.client().has_deadline(), in.client().deadline(), &out.deadline);
  out.time_to_live = std::min(std::max(kReportSteps * step, absl::Seconds(30)), absl::Hours(1));
  TakeDuration(in.capacity_report().has_time_to_live(), in.capacity_report().time_to_live(),
               &out.time_to_live);
  return out;
}

ScalerCore::Config ConfigFromProto(const config::v1::ScalerConfig& in, Violations& violations) {
  ScalerCore::Config out;
  out.host_id = in.host_id();
  out.engine = EngineFromProto(in);
  Validate(out.engine, violations);
  RequireNotEmpty(violations, "monitor_address", in.monitor_address());
  if (in.journal_path().empty() && in.monitor_address() != rpc::kInProcessAddress) {
    violations.Add("journal_path", "", "a file; without it a restart forgets original sizes");
  }
  RefuseUnread(in, violations);
  TakeCapacityReport(in.capacity_report(), &out, violations);
  if (in.mode() != v1::MODE_UNSPECIFIED) {
    if (v1::Mode_IsValid(in.mode())) {
      out.base.host_mode = static_cast<Mode>(in.mode());
    } else {
      violations.Add("mode", absl::StrCat(static_cast<int>(in.mode())),
                     "OBSERVE, RECOMMEND, CANARY, AUTO");
    }
  }
  out.base.defaults = FromProto(in.default_policy(), "default_policy", violations);
  if (in.default_policy().selector_case() != v1::Policy::SELECTOR_NOT_SET) {
    violations.Add("default_policy.vm_uuid", in.default_policy().vm_uuid(), "empty");
  }
  if (in.policies_size() > static_cast<int>(PolicyStore::kMaxPolicies)) {
    violations.Add("policies", absl::StrCat(in.policies_size(), " policies"),
                   absl::StrCat("at most ", PolicyStore::kMaxPolicies));
  }
  for (int i = 0; i < in.policies_size(); ++i) {
    const v1::Policy& policy = in.policies(i);
    const std::string at = absl::StrCat("policies[", i, "]");
    PolicyOverlay overlay = FromProto(policy, at, violations);
    if (policy.vm_uuid().empty()) {
      violations.Add(absl::StrCat(at, ".vm_uuid"), "", "must not be empty");
    } else if (!out.base.configured.emplace(policy.vm_uuid(), std::move(overlay)).second) {
      violations.Add(absl::StrCat(at, ".vm_uuid"), policy.vm_uuid(), "named only once");
    }
  }
  const int64_t history = in.limits().decision_history();
  if (history != 0) {
    if (history < 100 || history > 10'000'000) {
      violations.Add("limits.decision_history", absl::StrCat(history), "100 to 10000000");
    } else {
      out.decision_history = static_cast<size_t>(history);
    }
  }
  return out;
}

}  // namespace cloudscale::scaler
