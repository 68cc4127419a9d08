#include "services/scaler/rpc/convert.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::scaler {
namespace {

namespace cv1 = cloudscale::common::v1;

// The domain's enums carry the contract's numbers; these keep it so.
static_assert(static_cast<int>(Outcome::kFailed) == v1::DECISION_OUTCOME_FAILED);
static_assert(static_cast<int>(ClampKind::kGuarantee) == v1::CLAMP_KIND_GUARANTEE);
static_assert(static_cast<int>(ReasonCode::kNoChange) == v1::REASON_CODE_NO_CHANGE);
static_assert(static_cast<int>(ReasonCode::kForeignChange) == v1::REASON_CODE_FOREIGN_CHANGE);
static_assert(static_cast<int>(ActionState::kSuperseded) == v1::ACTION_STATE_SUPERSEDED);
static_assert(static_cast<int>(ActionKind::kSetVcpuCount) == v1::ACTION_KIND_SET_VCPU_COUNT);
static_assert(static_cast<int>(JournalStage::kDone) == v1::JOURNAL_STAGE_DONE);
static_assert(static_cast<int>(Mode::kAuto) == v1::MODE_AUTO);
static_assert(static_cast<int>(ServiceClass::kBestEffort) == v1::SERVICE_CLASS_BEST_EFFORT);
static_assert(static_cast<int>(SampleQuality::kWarming) == cv1::SAMPLE_QUALITY_WARMING);

v1::ActionValue ValueToProto(ActionKind kind, std::optional<double> value) {
  v1::ActionValue out;
  switch (kind) {
    case ActionKind::kSetCpuCap:
      out.set_cpu_cap_cores(value.value_or(0));
      break;
    case ActionKind::kSetCpuWeight:
      out.set_cpu_weight(value.value_or(100) / 100);
      break;
    case ActionKind::kSetMemoryTarget:
      out.set_memory_target_bytes(static_cast<int64_t>(std::llround(value.value_or(0))));
      break;
    case ActionKind::kSetVcpuCount:
      out.set_vcpu_count(static_cast<int32_t>(value.value_or(0)));
      break;
  }
  return out;
}

std::string CommandOf(const ActionRecord& r) {
  const std::string value = r.target ? absl::StrFormat("%.10g", *r.target) : "unlimited";
  switch (r.kind) {
    case ActionKind::kSetCpuCap:
      return absl::StrCat("set cpu cap of ", r.vm_uuid, " to ", value, " cores");
    case ActionKind::kSetCpuWeight:
      return absl::StrCat("set cpu weight of ", r.vm_uuid, " to ", value);
    case ActionKind::kSetMemoryTarget:
      return absl::StrCat("set memory target of ", r.vm_uuid, " to ", value, " bytes");
    case ActionKind::kSetVcpuCount:
      return absl::StrCat("set vcpus of ", r.vm_uuid, " to ", value);
  }
  return "";
}

void BoundsToProto(const BoundsOverlay& b, v1::ResourceBounds* out) {
  if (b.min) {
    out->set_min(*b.min);
  }
  if (b.max) {
    out->set_max(*b.max);
  }
  if (b.step_up_ratio) {
    out->set_step_up_ratio(*b.step_up_ratio);
  }
  if (b.step_down_ratio) {
    out->set_step_down_ratio(*b.step_down_ratio);
  }
  if (b.dead_band_ratio) {
    out->set_dead_band_ratio(*b.dead_band_ratio);
  }
  if (b.cool_down_up) {
    *out->mutable_cool_down_up() = rpc::ToProto(*b.cool_down_up);
  }
  if (b.cool_down_down) {
    *out->mutable_cool_down_down() = rpc::ToProto(*b.cool_down_down);
  }
  if (b.quiet_steps) {
    out->set_quiet_steps(static_cast<int32_t>(*b.quiet_steps));
  }
  if (b.guaranteed) {
    out->set_guaranteed(*b.guaranteed);
  }
  if (b.is_managed) {
    out->set_is_managed(*b.is_managed);
  }
}

BoundsOverlay BoundsFromProto(const v1::ResourceBounds& in) {
  BoundsOverlay b;
  if (in.has_min()) {
    b.min = in.min();
  }
  if (in.has_max()) {
    b.max = in.max();
  }
  if (in.has_step_up_ratio()) {
    b.step_up_ratio = in.step_up_ratio();
  }
  if (in.has_step_down_ratio()) {
    b.step_down_ratio = in.step_down_ratio();
  }
  if (in.has_dead_band_ratio()) {
    b.dead_band_ratio = in.dead_band_ratio();
  }
  if (in.has_cool_down_up()) {
    b.cool_down_up = rpc::FromProto(in.cool_down_up());
  }
  if (in.has_cool_down_down()) {
    b.cool_down_down = rpc::FromProto(in.cool_down_down());
  }
  if (in.has_quiet_steps()) {
    b.quiet_steps = in.quiet_steps();
  }
  if (in.has_guaranteed()) {
    b.guaranteed = in.guaranteed();
  }
  if (in.has_is_managed()) {
    b.is_managed = in.is_managed();
  }
  return b;
}

void PlacementToProto(const Placement& p, v1::PlacementRules* out) {
  for (const std::string& host : p.pinned_host_ids) {
    out->add_pinned_host_ids(host);
  }
  for (const std::string& host : p.excluded_host_ids) {
    out->add_excluded_host_ids(host);
  }
  out->set_affinity_group(p.affinity_group);
  out->set_anti_affinity_group(p.anti_affinity_group);
}

v1::PolicyLevel LevelToProto(PolicyLevel level) {
  switch (level) {
    case PolicyLevel::kVm:
      return v1::POLICY_LEVEL_VM;
    case PolicyLevel::kHost:
      return v1::POLICY_LEVEL_HOST;
    case PolicyLevel::kDefault:
      return v1::POLICY_LEVEL_DEFAULT;
  }
  return v1::POLICY_LEVEL_UNSPECIFIED;
}

}  // namespace

cv1::Resource ToProto(Resource resource) {
  return resource == Resource::kCpu ? cv1::RESOURCE_CPU : cv1::RESOURCE_MEMORY;
}

Resource FromProto(cv1::Resource resource, Resource unspecified) {
  switch (resource) {
    case cv1::RESOURCE_CPU:
      return Resource::kCpu;
    case cv1::RESOURCE_MEMORY:
      return Resource::kMemory;
    default:
      return unspecified;
  }
}

cv1::StreamHeader ToProto(const ObservationHeader& header) {
  cv1::StreamHeader out;
  out.set_host_id(header.host_id);
  out.set_boot_id(header.boot_id);
  out.set_sequence(header.sequence);
  *out.mutable_sample_time() = rpc::ToProto(header.sample_time);
  *out.mutable_monotonic_time() = rpc::ToProto(header.monotonic_time);
  return out;
}

cv1::Padding ToProto(const Padding& padding) {
  cv1::Padding out;
  out.set_total(padding.total);
  for (const PaddingPart& part : padding.parts) {
    cv1::PaddingPart* p = out.add_parts();
    p->set_kind(static_cast<cv1::PaddingKind>(static_cast<int>(part.kind) + 1));
    p->set_value(part.value);
  }
  return out;
}

cv1::Forecast ToProto(const Forecast& f, const std::string& vm_uuid, Resource resource) {
  cv1::Forecast out;
  out.set_vm_uuid(vm_uuid);
  out.set_resource(ToProto(resource));
  *out.mutable_made_at() = rpc::ToProto(f.made_at);
  out.set_based_on_sequence(f.based_on_sequence);
  out.set_model(f.model);
  out.set_is_warm(f.is_warm);
  out.set_reason(f.reason);
  *out.mutable_padding() = ToProto(f.padding);
  if (f.advised_allocation) {
    out.set_advised_allocation(*f.advised_allocation);
  }
  for (const HorizonForecast& h : f.horizons) {
    cv1::HorizonForecast* horizon = out.add_horizons();
    *horizon->mutable_horizon() = rpc::ToProto(h.horizon);
    horizon->set_expected(h.expected);
    for (const Quantile& q : h.quantiles) {
      cv1::QuantileValue* value = horizon->add_quantiles();
      value->set_ratio(q.ratio);
      value->set_value(q.value);
    }
  }
  return out;
}

v1::Reason ToProto(const Reason& reason) {
  v1::Reason out;
  out.set_code(static_cast<v1::ReasonCode>(reason.code));
  out.set_text(reason.text);
  return out;
}

v1::Decision ToProto(const Decision& d) {
  v1::Decision out;
  out.set_decision_id(d.decision_id);
  *out.mutable_header() = ToProto(d.header);
  *out.mutable_decided_at() = rpc::ToProto(d.decided_at);
  out.set_vm_uuid(d.vm_uuid);
  out.set_vm_name(d.vm_name);
  out.set_resource(ToProto(d.resource));
  out.set_mode(static_cast<v1::Mode>(d.mode));
  out.set_outcome(static_cast<v1::DecisionOutcome>(d.outcome));
  if (d.usage) {
    out.set_usage(*d.usage);
  }
  if (d.demand) {
    out.set_demand(*d.demand);
  }
  out.set_sample_quality(static_cast<cv1::SampleQuality>(d.quality));
  if (d.forecast) {
    out.set_forecast(*d.forecast);
  }
  out.set_forecast_quantile_ratio(d.forecast_quantile_ratio);
  out.set_model(d.model);
  if (d.forecast_age) {
    *out.mutable_forecast_age() = rpc::ToProto(*d.forecast_age);
  }
  *out.mutable_padding() = ToProto(d.padding);
  out.set_raw_wish(d.raw_wish);
  for (const ClampStep& c : d.clamps) {
    v1::ClampStep* clamp = out.add_clamps();
    clamp->set_kind(static_cast<v1::ClampKind>(c.kind));
    clamp->set_before(c.before);
    clamp->set_after(c.after);
    clamp->set_detail(c.detail);
  }
  out.set_target(d.target);
  if (d.previous) {
    out.set_previous(*d.previous);
  }
  for (const Reason& r : d.reasons) {
    *out.add_reasons() = ToProto(r);
  }
  out.set_action_id(d.action_id);
  for (const FiringCounter& c : d.counters) {
    v1::FiringCounter* counter = out.add_counters();
    counter->set_rule(c.rule);
    counter->set_current(c.current);
    counter->set_required(c.required);
    if (c.remaining) {
      *counter->mutable_remaining() = rpc::ToProto(*c.remaining);
    }
  }
  out.set_alpha(d.alpha);
  out.set_under_estimate_streak(d.under_estimate_streak);
  out.set_is_reactive(d.is_reactive);
  return out;
}

v1::Action ToProto(const ActionRecord& r) {
  v1::Action out;
  out.set_action_id(r.action_id);
  out.set_request_id(r.request_id);
  out.set_decision_id(r.decision_id);
  out.set_host_id(r.host_id);
  out.set_vm_uuid(r.vm_uuid);
  out.set_kind(static_cast<v1::ActionKind>(r.kind));
  out.set_state(static_cast<v1::ActionState>(r.state));
  out.set_stage(static_cast<v1::JournalStage>(r.stage));
  *out.mutable_target() = ValueToProto(r.kind, r.target);
  *out.mutable_before() = ValueToProto(r.kind, r.before);
  if (r.has_observed) {
    *out.mutable_observed() = ValueToProto(r.kind, r.observed);
  }
  out.set_fencing_token(r.fencing_token);
  for (const Reason& reason : r.reasons) {
    *out.add_reasons() = ToProto(reason);
  }
  *out.mutable_created_at() = rpc::ToProto(r.created_at);
  *out.mutable_updated_at() = rpc::ToProto(r.updated_at);
  if (r.expires_at) {
    *out.mutable_expires_at() = rpc::ToProto(*r.expires_at);
  }
  out.set_attempt_count(static_cast<int32_t>(r.attempt_count));
  out.set_error(r.error);
  out.set_undo_of(r.undo_of);
  out.set_superseded_by(r.superseded_by);
  out.set_actor(r.actor);
  out.set_etag(absl::StrCat(r.version));
  out.set_command(CommandOf(r));
  return out;
}

v1::Policy ToProto(const PolicyOverlay& o) {
  v1::Policy out;
  if (!(o.cpu == BoundsOverlay())) {
    BoundsToProto(o.cpu, out.mutable_cpu());
  }
  if (!(o.memory == BoundsOverlay())) {
    BoundsToProto(o.memory, out.mutable_memory());
  }
  if (o.weight) {
    out.set_weight(*o.weight);
  }
  if (o.service_class) {
    out.set_service_class(static_cast<v1::ServiceClass>(*o.service_class));
  }
  if (o.mode) {
    out.set_mode(static_cast<v1::Mode>(*o.mode));
  }
  if (o.target_violation_ratio) {
    out.set_target_violation_ratio(*o.target_violation_ratio);
  }
  if (!(o.pause == PauseOverlay())) {
    v1::PauseState* pause = out.mutable_pause();
    if (o.pause.grow) {
      pause->set_pause_grow(*o.pause.grow);
    }
    if (o.pause.shrink) {
      pause->set_pause_shrink(*o.pause.shrink);
    }
    if (o.pause.migrate) {
      pause->set_pause_migrate(*o.pause.migrate);
    }
    if (o.pause.until) {
      *pause->mutable_paused_until() = rpc::ToProto(*o.pause.until);
    }
    if (o.pause.reason) {
      pause->set_reason(*o.pause.reason);
    }
  }
  if (o.placement) {
    PlacementToProto(*o.placement, out.mutable_placement());
  }
  for (const auto& [key, value] : o.labels) {
    (*out.mutable_labels())[key] = value;
  }
  return out;
}

v1::Policy ToProto(const EffectivePolicy& p) {
  v1::Policy out;
  for (const Resource r : kResources) {
    const Bounds& b = p.of(r);
    BoundsOverlay all{.min = b.min,
                      .max = b.max,
                      .step_up_ratio = b.step_up_ratio,
                      .step_down_ratio = b.step_down_ratio,
                      .dead_band_ratio = b.dead_band_ratio,
                      .cool_down_up = b.cool_down_up,
                      .cool_down_down = b.cool_down_down,
                      .quiet_steps = b.quiet_steps,
                      .guaranteed = b.guaranteed,
                      .is_managed = b.is_managed};
    BoundsToProto(all, r == Resource::kCpu ? out.mutable_cpu() : out.mutable_memory());
  }
  out.set_weight(p.weight);
  out.set_service_class(static_cast<v1::ServiceClass>(p.service_class));
  out.set_mode(static_cast<v1::Mode>(p.mode));
  out.set_target_violation_ratio(p.target_violation_ratio);
  v1::PauseState* pause = out.mutable_pause();
  pause->set_pause_grow(p.pause_grow);
  pause->set_pause_shrink(p.pause_shrink);
  pause->set_pause_migrate(p.pause_migrate);
  pause->set_reason(p.pause_reason);
  if (p.paused_until) {
    *pause->mutable_paused_until() = rpc::ToProto(*p.paused_until);
  }
  if (p.placement) {
    PlacementToProto(*p.placement, out.mutable_placement());
  }
  for (const auto& [key, value] : p.labels) {
    (*out.mutable_labels())[key] = value;
  }
  for (const ValueSource& s : p.sources) {
    v1::ValueSource* source = out.add_sources();
    source->set_field(s.field);
    source->set_level(LevelToProto(s.level));
  }
  return out;
}

PolicyOverlay FromProto(const v1::Policy& in, absl::string_view prefix, Violations& violations) {
  Violations faults;
  PolicyOverlay o;
  o.cpu = BoundsFromProto(in.cpu());
  o.memory = BoundsFromProto(in.memory());
  if (in.has_weight()) {
    o.weight = in.weight();
  }
  if (in.service_class() != v1::SERVICE_CLASS_UNSPECIFIED) {
    if (v1::ServiceClass_IsValid(in.service_class())) {
      o.service_class = static_cast<ServiceClass>(in.service_class());
    } else {
      faults.Add("service_class", absl::StrCat(static_cast<int>(in.service_class())),
                 "GUARANTEED, STANDARD, BEST_EFFORT");
    }
  }
  if (in.mode() != v1::MODE_UNSPECIFIED) {
    if (v1::Mode_IsValid(in.mode())) {
      o.mode = static_cast<Mode>(in.mode());
    } else {
      faults.Add("mode", absl::StrCat(static_cast<int>(in.mode())),
                 "OBSERVE, RECOMMEND, CANARY, AUTO");
    }
  }
  if (in.has_target_violation_ratio()) {
    o.target_violation_ratio = in.target_violation_ratio();
  }
  const v1::PauseState& pause = in.pause();
  if (pause.has_pause_grow()) {
    o.pause.grow = pause.pause_grow();
  }
  if (pause.has_pause_shrink()) {
    o.pause.shrink = pause.pause_shrink();
  }
  if (pause.has_pause_migrate()) {
    o.pause.migrate = pause.pause_migrate();
  }
  if (pause.has_paused_until()) {
    o.pause.until = rpc::FromProto(pause.paused_until());
  }
  if (!pause.reason().empty()) {
    o.pause.reason = pause.reason();
  }
  if (in.has_placement()) {
    o.placement = Placement{
        {in.placement().pinned_host_ids().begin(), in.placement().pinned_host_ids().end()},
        {in.placement().excluded_host_ids().begin(), in.placement().excluded_host_ids().end()},
        in.placement().affinity_group(),
        in.placement().anti_affinity_group()};
  }
  for (const auto& [key, value] : in.labels()) {
    o.labels[key] = value;
  }
  Validate(o, faults);
  if (prefix.empty()) {
    for (const FieldViolation& f : faults.kept()) {
      violations.Add(f.field, f.value, f.allowed);
    }
  } else {
    violations.AddAll(prefix, faults);
  }
  return o;
}

}  // namespace cloudscale::scaler
