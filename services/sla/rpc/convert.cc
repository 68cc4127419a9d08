#include "services/sla/rpc/convert.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::sla {

using rpc::FromProto;
using rpc::ToProto;

Objective FromWire(const v1::Objective& in) {
  Objective out;
  out.id = in.objective_id();
  out.application = in.application();
  const v1::ObjectiveTerms& terms = in.terms();
  if (terms.has_latency()) {
    out.indicator = LatencyIndicator{.threshold = FromProto(terms.latency().threshold()),
                                     .percentile_ratio = terms.latency().percentile_ratio()};
  } else if (terms.has_errors()) {
    out.indicator = ErrorIndicator{.max_error_ratio = terms.errors().max_error_ratio()};
  } else if (terms.has_slow_rate()) {
    out.indicator = SlowRateIndicator{.max_per_second = terms.slow_rate().max_per_second()};
  }
  out.window = FromProto(terms.window());
  out.target_ratio = terms.target_ratio();
  if (terms.has_period()) {
    out.period = FromProto(terms.period());
  }
  if (terms.min_request_count() != 0) {
    out.min_request_count = terms.min_request_count();
  }
  for (const auto& member : in.members()) {
    out.members.push_back(
        {.vm_uuid = member.vm_uuid(), .backend = member.backend(), .server = member.server()});
  }
  out.is_disabled = in.is_disabled();
  if (in.boost().has_is_enabled()) {
    out.boost.is_enabled = in.boost().is_enabled();
  }
  if (in.boost().has_factor()) {
    out.boost.factor = in.boost().factor();
  }
  if (in.boost().has_duration()) {
    out.boost.duration = FromProto(in.boost().duration());
  }
  if (in.boost().has_retrain_interval()) {
    out.boost.retrain_interval = FromProto(in.boost().retrain_interval());
  }
  out.revision = RevisionOf(in.etag()).value_or(0);
  out.updated_at = FromProto(in.updated_at());
  return out;
}

v1::Objective ToWire(const Objective& in) {
  v1::Objective out;
  out.set_objective_id(in.id);
  out.set_application(in.application);
  v1::ObjectiveTerms& terms = *out.mutable_terms();
  if (const auto* latency = std::get_if<LatencyIndicator>(&in.indicator)) {
    *terms.mutable_latency()->mutable_threshold() = ToProto(latency->threshold);
    terms.mutable_latency()->set_percentile_ratio(latency->percentile_ratio);
  } else if (const auto* errors = std::get_if<ErrorIndicator>(&in.indicator)) {
    terms.mutable_errors()->set_max_error_ratio(errors->max_error_ratio);
  } else if (const auto* rate = std::get_if<SlowRateIndicator>(&in.indicator)) {
    terms.mutable_slow_rate()->set_max_per_second(rate->max_per_second);
  }
  *terms.mutable_window() = ToProto(in.window);
  terms.set_target_ratio(in.target_ratio);
  *terms.mutable_period() = ToProto(in.period);
  terms.set_min_request_count(in.min_request_count);
  for (const Member& member : in.members) {
    auto* added = out.add_members();
    added->set_vm_uuid(member.vm_uuid);
    added->set_backend(member.backend);
    added->set_server(member.server);
  }
  out.set_is_disabled(in.is_disabled);
  out.mutable_boost()->set_is_enabled(in.boost.is_enabled);
  out.mutable_boost()->set_factor(in.boost.factor);
  *out.mutable_boost()->mutable_duration() = ToProto(in.boost.duration);
  *out.mutable_boost()->mutable_retrain_interval() = ToProto(in.boost.retrain_interval);
  out.set_etag(absl::StrCat(in.revision));
  *out.mutable_updated_at() = ToProto(in.updated_at);
  return out;
}

std::optional<int64_t> RevisionOf(const std::string& etag) {
  if (etag.empty()) {
    return std::nullopt;
  }
  int64_t revision = -1;
  return absl::SimpleAtoi(etag, &revision) ? revision : -1;
}

LatencyReport FromWire(const v1::LatencyReport& in) {
  LatencyReport out;
  out.application = in.application();
  out.source_id = in.source_id();
  out.sequence = in.sequence();
  out.start = FromProto(in.start_time());
  out.duration = FromProto(in.duration());
  if (in.has_values()) {
    out.data = std::vector<double>(in.values().latency_seconds().begin(),
                                   in.values().latency_seconds().end());
  } else if (in.has_histogram()) {
    const v1::LatencyHistogram& h = in.histogram();
    out.data = ForeignHistogram{
        .base = h.base(),
        .offset = h.offset(),
        .counts = std::vector<int64_t>(h.counts().begin(), h.counts().end()),
        .zero_count = h.zero_count(),
        .total_count = h.total_count(),
        .sum_seconds = h.sum_seconds(),
        .max_seconds = h.has_max_seconds() ? std::optional<double>(h.max_seconds()) : std::nullopt};
  }
  out.error_count = in.error_count();
  out.vm_uuid = in.vm_uuid();
  return out;
}

v1::Violation ToWire(const Violation& in) {
  v1::Violation out;
  out.set_violation_id(in.id);
  out.set_objective_id(in.objective_id);
  out.set_application(in.application);
  out.set_state(in.is_open ? v1::VIOLATION_STATE_OPEN : v1::VIOLATION_STATE_CLOSED);
  *out.mutable_started_at() = ToProto(in.started_at);
  if (in.ended_at.has_value()) {
    *out.mutable_ended_at() = ToProto(*in.ended_at);
  }
  out.set_observed(in.observed);
  out.set_threshold(in.threshold);
  out.set_request_count(in.request_count);
  out.set_slow_request_count(in.bad_request_count);
  out.set_burn_rate(in.burn_rate);
  out.mutable_vm_uuids()->Assign(in.vm_uuids.begin(), in.vm_uuids.end());
  out.mutable_effects()->Assign(in.effects.begin(), in.effects.end());
  out.set_source(in.source);
  return out;
}

Violation FromWire(const v1::Violation& in, int64_t number) {
  Violation out;
  out.number = number;
  out.id = in.violation_id();
  out.objective_id = in.objective_id();
  out.application = in.application();
  out.is_open = in.state() == v1::VIOLATION_STATE_OPEN;
  out.started_at = FromProto(in.started_at());
  if (in.has_ended_at()) {
    out.ended_at = FromProto(in.ended_at());
  }
  out.observed = in.observed();
  out.threshold = in.threshold();
  out.request_count = in.request_count();
  out.bad_request_count = in.slow_request_count();
  out.burn_rate = in.burn_rate();
  out.vm_uuids.assign(in.vm_uuids().begin(), in.vm_uuids().end());
  out.effects.assign(in.effects().begin(), in.effects().end());
  out.source = in.source();
  return out;
}

v1::Compliance ToWire(const Compliance& in) {
  v1::Compliance out;
  out.set_objective_id(in.objective_id);
  out.set_application(in.application);
  *out.mutable_start_time() = ToProto(in.start);
  *out.mutable_end_time() = ToProto(in.end);
  out.set_window_count(in.totals.window_count);
  out.set_good_window_count(in.totals.good_window_count);
  out.set_compliance_ratio(in.compliance_ratio);
  out.set_target_ratio(in.target_ratio);
  out.set_budget_remaining_ratio(in.budget_remaining_ratio);
  for (const BurnRate& rate : in.burn_rates) {
    auto* added = out.add_burn_rates();
    *added->mutable_window() = ToProto(rate.window);
    added->set_rate(rate.rate);
  }
  out.set_request_count(in.totals.request_count);
  out.set_error_count(in.totals.error_count);
  if (in.totals.latencies.count() > 0) {
    const auto at = [&](double ratio) {
      return ToProto(absl::Seconds(*in.totals.latencies.Quantile(ratio)));
    };
    *out.mutable_latency_p50() = at(0.5);
    *out.mutable_latency_p95() = at(0.95);
    *out.mutable_latency_p99() = at(0.99);
  }
  out.set_violation_count(in.violation_count);
  *out.mutable_violation_time() = ToProto(in.violation_time);
  return out;
}

v1::ComplianceBucket ToWire(absl::Time start, const ComplianceBucket& in,
                            const Objective& objective) {
  v1::ComplianceBucket out;
  *out.mutable_start_time() = ToProto(start);
  out.set_window_count(in.window_count);
  out.set_good_window_count(in.good_window_count);
  out.set_request_count(in.request_count);
  out.set_error_count(in.error_count);
  if (in.latencies.count() > 0) {
    const auto at = [&](double ratio) {
      return ToProto(absl::Seconds(*in.latencies.Quantile(ratio)));
    };
    *out.mutable_latency_p50() = at(0.5);
    *out.mutable_latency_p95() = at(0.95);
    *out.mutable_latency_p99() = at(0.99);
    if (const auto* latency = std::get_if<LatencyIndicator>(&objective.indicator)) {
      *out.mutable_latency_promised() = at(latency->percentile_ratio);
    }
  }
  return out;
}

v1::Application ToWire(const ApplicationView& in) {
  v1::Application out;
  out.set_application(in.name);
  for (const Member& member : in.members) {
    auto* added = out.add_members();
    added->set_vm_uuid(member.vm_uuid);
    added->set_backend(member.backend);
    added->set_server(member.server);
  }
  out.mutable_objective_ids()->Assign(in.objective_ids.begin(), in.objective_ids.end());
  out.set_is_violated(in.is_violated);
  if (in.last_report_at.has_value()) {
    *out.mutable_last_report_at() = ToProto(*in.last_report_at);
  }
  out.set_refused_report_count(in.refused_report_count);
  return out;
}

}  // namespace cloudscale::sla
