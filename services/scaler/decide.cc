#include "services/scaler/decide.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cloudscale::scaler {
namespace {

std::string Show(Resource resource, double value) {
  return resource == Resource::kCpu ? absl::StrFormat("%.2f cores", value)
                                    : absl::StrFormat("%.0f MiB", value / (1024.0 * 1024.0));
}

// Carries the wish through the limits and writes down each one that changes it.
class Pipeline {
 public:
  Pipeline(const DecisionInputs& in, double previous, double wish)
      : in_(in),
        config_(*in.config),
        bounds_(in.policy->of(in.resource)),
        previous_(previous),
        value_(wish) {}

  void Run(Decision& d) {
    Trust();
    Holds();
    Pause();
    // A correction answers a shortage that is there now; what follows up to the step sizes would
    // only delay it.
    if (!IsUrgent()) {
      DeadBand();
      Quiet(d);
    }
    Steps();
    CoolDown(d);
    Floor();
    Range();
    Host();
    Round();
    RateLimit();
    d.clamps = std::move(clamps_);
    for (Reason& reason : reasons_) {
      d.reasons.push_back(std::move(reason));
    }
    d.target = value_;
  }

 private:
  bool Grows() const { return value_ > previous_; }
  bool Shrinks() const { return value_ < previous_; }
  bool IsUrgent() const { return in_.is_short() && Grows(); }
  std::string Text(double x) const { return Show(in_.resource, x); }

  void Apply(ClampKind kind, double after, std::string detail, ReasonCode code) {
    if (after == value_) {
      return;
    }
    clamps_.push_back({kind, value_, after, detail});
    reasons_.push_back({code, std::move(detail)});
    value_ = after;
  }
  void Hold(ClampKind kind, std::string detail, ReasonCode code) {
    Apply(kind, previous_, std::move(detail), code);
  }

  void Trust() {
    if (in_.fresh_samples < config_.warm_up_samples) {
      Hold(ClampKind::kNoBlindShrink,
           absl::StrCat("warming up: ", in_.fresh_samples, " of ", config_.warm_up_samples,
                        " fresh samples"),
           ReasonCode::kNotWarm);
      return;
    }
    if (in_.is_stale) {
      Hold(ClampKind::kNoBlindShrink, "the sample came too late to act on it",
           ReasonCode::kDataStale);
    }
    if (!Shrinks()) {
      return;
    }
    const VmObservation& vm = in_.vm();
    const SampleQuality quality =
        in_.resource == Resource::kCpu ? vm.cpu_quality : vm.memory_quality;
    if (quality != SampleQuality::kFresh || in_.fresh_streak < in_.fresh_streak_needed ||
        !UsageOf(vm, in_.resource)) {
      Hold(ClampKind::kNoBlindShrink,
           absl::StrCat("data is not fresh for the whole window: ", QualityName(quality), ", ",
                        in_.fresh_streak, " of ", in_.fresh_streak_needed, " samples"),
           ReasonCode::kDataMissing);
    } else if (in_.observation->predictor_link != PredictorLink::kOff &&
               UsableForecast(vm, in_.resource, config_) == nullptr) {
      Hold(ClampKind::kNoBlindShrink, "no usable forecast though a predictor is configured",
           ReasonCode::kReactiveFallback);
    } else if (in_.resource == Resource::kMemory) {
      MemoryTrust(vm);
    }
  }

  void MemoryTrust(const VmObservation& vm) {
    if (!vm.has_guest_report || !vm.memory_used) {
      Hold(ClampKind::kNoBlindShrink, "memory shrinks only when hypervisor and guest both report",
           ReasonCode::kDataMissing);
    } else if (vm.memory_pressure_some_ratio.value_or(0) > config_.memory.pressure_limit_ratio) {
      Hold(ClampKind::kNoBlindShrink,
           absl::StrFormat("memory pressure %.3f is above %.3f", *vm.memory_pressure_some_ratio,
                           config_.memory.pressure_limit_ratio),
           ReasonCode::kMemoryPressure);
    } else if (vm.memory_allocated && vm.memory_target &&
               *vm.memory_allocated > *vm.memory_target + 2 * config_.memory_granularity_bytes) {
      Hold(ClampKind::kBalloon,
           in_.balloon_refused_for ? "nothing more is asked of a balloon that refuses"
                                   : "the balloon has not reached its present target",
           ReasonCode::kBalloonSlow);
    }
  }

  void Holds() {
    if (in_.failure_hold_left) {
      Hold(ClampKind::kPause,
           absl::StrCat("paused after ", in_.failures_in_a_row, " failed actions in a row"),
           ReasonCode::kVerifyFailed);
    }
    if (in_.foreign_hold_left && Shrinks()) {
      Hold(ClampKind::kPause, "somebody else set the present value; not taken back",
           ReasonCode::kForeignChange);
    }
  }

  void Pause() {
    const EffectivePolicy& p = *in_.policy;
    const std::string why = p.pause_reason.empty() ? "" : absl::StrCat(": ", p.pause_reason);
    if (p.pause_grow && Grows()) {
      Hold(ClampKind::kPause, absl::StrCat("growing is paused", why), ReasonCode::kPaused);
    } else if (p.pause_shrink && Shrinks()) {
      Hold(ClampKind::kPause, absl::StrCat("shrinking is paused", why), ReasonCode::kPaused);
    }
  }

  // A size outside of its bounds goes back whatever the dead band says.
  bool IsOutOfBounds() const { return previous_ < Low() || previous_ > High(); }

  void DeadBand() {
    if (value_ != previous_ && !IsOutOfBounds() &&
        std::abs(value_ - previous_) < bounds_.dead_band_ratio * previous_) {
      Hold(ClampKind::kDeadBand,
           absl::StrCat("a change to ", Text(value_), " is within the dead band"),
           ReasonCode::kWithinDeadBand);
    }
  }

  void Quiet(Decision& d) {
    if (!Shrinks() || IsOutOfBounds()) {
      return;
    }
    d.counters.push_back({"shrink_quiet_steps", in_.quiet_steps, bounds_.quiet_steps, {}});
    if (in_.quiet_steps < bounds_.quiet_steps) {
      Hold(ClampKind::kQuietSteps,
           absl::StrCat("a shrink was wanted for ", in_.quiet_steps, " of ", bounds_.quiet_steps,
                        " steps"),
           ReasonCode::kWaitingQuiet);
      return;
    }
    const double threshold =
        (in_.resource == Resource::kCpu ? config_.cpu_correction : config_.memory_correction)
            .threshold_ratio;
    // Less than this would be an under-estimate again at the next peak like the last ones.
    const double least = in_.recent_level.value_or(0) / threshold * 1.02;
    if (value_ < least) {
      Apply(ClampKind::kQuietSteps, std::min(least, previous_),
            absl::StrCat("recent peaks of ", Text(in_.recent_level.value_or(0)), " still fit"),
            ReasonCode::kForecast);
      DeadBand();
    }
  }

  void Steps() {
    if (Grows() && !IsUrgent()) {
      const double most = previous_ * (1 + bounds_.step_up_ratio);
      if (value_ > most) {
        Apply(ClampKind::kStepUp, most,
              absl::StrFormat("at most +%.0f %% a step", bounds_.step_up_ratio * 100),
              ReasonCode::kStepLimited);
      }
    } else if (Shrinks()) {
      const double least = previous_ * (1 - bounds_.step_down_ratio);
      if (value_ < least) {
        Apply(ClampKind::kStepDown, least,
              absl::StrFormat("at most -%.0f %% a step", bounds_.step_down_ratio * 100),
              ReasonCode::kStepLimited);
      }
    }
    if (in_.policy->mode == Mode::kCanary) {
      const double most = previous_ * (1 + config_.canary_step_ratio);
      const double least = previous_ * (1 - config_.canary_step_ratio);
      Apply(ClampKind::kCanary, std::clamp(value_, least, most), "canary: small steps only",
            ReasonCode::kStepLimited);
    }
  }

  void CoolDown(Decision& d) {
    if (!in_.since_last_change || value_ == previous_ || IsUrgent()) {
      return;
    }
    const absl::Duration needed = Grows() ? bounds_.cool_down_up : bounds_.cool_down_down;
    const absl::Duration left = needed - *in_.since_last_change;
    if (left > absl::ZeroDuration()) {
      d.counters.push_back({Grows() ? "cool_down_up" : "cool_down_down", 0, 0, left});
      Hold(ClampKind::kCoolDown,
           absl::StrCat("changed less than ", absl::FormatDuration(needed), " ago"),
           ReasonCode::kCoolingDown);
    }
  }

  void Floor() {
    if (in_.resource != Resource::kMemory || !Shrinks()) {
      return;
    }
    const std::optional<double> floor = MemoryFloor(in_.vm(), config_.memory);
    if (floor && value_ < *floor) {
      Apply(ClampKind::kMemoryFloor, std::min(*floor, previous_),
            absl::StrCat("the guest needs at least ", Text(*floor)), ReasonCode::kMemoryPressure);
    }
  }

  double Low() const { return std::min(bounds_.min, High()); }
  double High() const {
    const std::optional<double> vm_max = VmMaximum(in_.vm(), in_.resource);
    return std::min(bounds_.max.value_or(HUGE_VAL), vm_max.value_or(HUGE_VAL));
  }

  // Bounds limit what is set; they do not start a change that trust, a hold or a pause forbids.
  void Range() {
    const bool may_grow = !HeldBack(true);
    const bool may_shrink = !HeldBack(false);
    if (value_ < Low() && (may_grow || value_ != previous_)) {
      Apply(ClampKind::kMin, Low(), absl::StrCat("minimum ", Text(Low())), ReasonCode::kAtMin);
    }
    if (value_ > High() && (may_shrink || value_ != previous_)) {
      const bool is_vm = !bounds_.max || *bounds_.max > High();
      // A maximum below the present size is reached in steps where a guest must follow.
      const double least = in_.resource == Resource::kMemory
                               ? std::min(previous_, previous_ * (1 - bounds_.step_down_ratio))
                               : 0;
      Apply(is_vm ? ClampKind::kVmMaximum : ClampKind::kMax,
            previous_ > High() ? std::max(High(), least) : High(),
            absl::StrCat("maximum ", Text(High())), ReasonCode::kAtMax);
      if (Shrinks() && !may_shrink) {
        Hold(ClampKind::kNoBlindShrink, "cannot go down to the maximum now",
             ReasonCode::kDataMissing);
      }
      Floor();
    }
  }

  bool HeldBack(bool grow) const {
    if (in_.fresh_samples < config_.warm_up_samples || in_.is_stale || in_.failure_hold_left) {
      return true;
    }
    return grow ? in_.policy->pause_grow : ShrinkForbidden(in_);
  }

  void Host() {
    if (!in_.host_limit || value_ <= *in_.host_limit) {
      return;
    }
    double limit = *in_.host_limit;
    if (limit < previous_ && ShrinkForbidden(in_)) {
      limit = previous_;
    }
    if (value_ > limit) {
      Apply(ClampKind::kHostCapacity, std::max(limit, std::min(Low(), value_)),
            absl::StrCat("the host can give ", Text(limit)), ReasonCode::kHostShort);
    }
  }

  // Up to the backend's grain, so that what is read back is what was asked for.
  void Round() {
    if (value_ == previous_) {
      return;
    }
    const double grain = in_.resource == Resource::kCpu ? config_.cpu_granularity_cores
                                                        : config_.memory_granularity_bytes;
    if (grain <= 0) {
      return;
    }
    double rounded = std::ceil(value_ / grain - 1e-6) * grain;
    if (rounded > High()) {
      rounded = std::floor(High() / grain + 1e-6) * grain;
      if (rounded < Low()) {
        rounded = value_;
      }
    }
    if (std::abs(rounded - previous_) < grain / 2) {
      rounded = previous_;
    }
    if (std::abs(rounded - value_) > grain * 1e-6) {
      clamps_.push_back({ClampKind::kRounding, value_, rounded, "to the hypervisor's grain"});
    }
    value_ = rounded;
  }

  void RateLimit() {
    if (in_.is_rate_limited) {
      Hold(ClampKind::kRateLimit, "too many actions in the last minute", ReasonCode::kRateLimited);
    }
  }

  const DecisionInputs& in_;
  const ScalerConfig& config_;
  const Bounds& bounds_;
  const double previous_;
  double value_;
  std::vector<ClampStep> clamps_;
  std::vector<Reason> reasons_;
};

Decision Describe(const DecisionInputs& in) {
  const VmObservation& vm = in.vm();
  Decision d;
  d.header = in.observation->header;
  d.decided_at = in.decided_at;
  d.decision_id = absl::StrCat(d.header.host_id, ":", d.header.sequence, ":", vm.uuid, ":",
                               ResourceName(in.resource));
  d.vm_uuid = vm.uuid;
  d.vm_name = vm.name;
  d.resource = in.resource;
  d.mode = in.policy->mode;
  d.usage = UsageOf(vm, in.resource);
  d.demand = DemandOf(vm, in.resource);
  d.quality = in.resource == Resource::kCpu ? vm.cpu_quality : vm.memory_quality;
  d.previous = in.resource == Resource::kCpu ? vm.cpu_cap : vm.memory_target;
  d.alpha = in.alpha;
  d.under_estimate_streak = in.under_estimate_streak;
  d.is_fast_correction = !in.is_full_step;
  return d;
}

Decision Held(Decision d, double target, ReasonCode code, std::string text) {
  d.outcome = Outcome::kHeld;
  d.target = target;
  d.raw_wish = target;
  d.reasons.insert(d.reasons.begin(), {code, std::move(text)});
  return d;
}

// Why nothing at all is decided for the series; nullopt when something may be.
std::optional<Reason> NotDecidable(const DecisionInputs& in) {
  const VmObservation& vm = in.vm();
  if (!in.policy->of(in.resource).is_managed) {
    return Reason{ReasonCode::kNotManaged, "the policy leaves this resource alone"};
  }
  if (vm.state == VmRunState::kMigrating) {
    return Reason{ReasonCode::kMigrating, "the VM is moving"};
  }
  if (vm.state != VmRunState::kRunning) {
    return Reason{ReasonCode::kVmNotRunning, "the VM does not run"};
  }
  if (in.policy->mode == Mode::kObserve) {
    return Reason{ReasonCode::kModeForbids, "mode is observe"};
  }
  if (!PresentAllocation(vm, in.resource)) {
    return Reason{ReasonCode::kDataMissing, "the present allocation is not known"};
  }
  if (in.is_outdated) {
    return Reason{ReasonCode::kDataStale, "the sample does not show the last change yet"};
  }
  if (!(in.resource == Resource::kCpu ? in.config->can_cap_cpu : in.config->can_set_memory)) {
    return Reason{ReasonCode::kUnsupported, "the hypervisor cannot set it"};
  }
  return std::nullopt;
}

// A balloon that does not follow is told of in every decision, whatever that is.
std::string BalloonText(const DecisionInputs& in) {
  const VmObservation& vm = in.vm();
  const double distance = vm.memory_allocated.value_or(0) - vm.memory_target.value_or(0);
  return absl::StrFormat(
      "the balloon refuses: %s %s its target for %s", Show(Resource::kMemory, std::abs(distance)),
      distance > 0 ? "above" : "below", absl::FormatDuration(*in.balloon_refused_for));
}

// The wish after the fast correction: max(planned, present * alpha), and back to the size before a
// shrink that proved bad.
double Corrected(const DecisionInputs& in, double previous, double planned, Decision& d) {
  double value = planned;
  if (in.is_under_estimate) {
    value = std::max({planned, previous * in.alpha, in.rollback_to.value_or(0)});
    d.reasons.push_back(
        {ReasonCode::kUnderEstimate,
         absl::StrFormat("usage is %.0f %% of the allocation, %d in a row: alpha %.2f",
                         previous > 0 ? d.usage.value_or(0) / previous * 100 : 0,
                         in.under_estimate_streak, in.alpha)});
    if (in.rollback_to && value == *in.rollback_to) {
      d.reasons.push_back({ReasonCode::kRolledBack, "the last shrink is taken back"});
    }
  }
  if (in.is_oom || in.swap_in_rate) {
    const MemoryConfig& m = in.config->memory;
    value = std::max({value, previous * m.oom_growth_ratio, previous + m.oom_growth_bytes});
    d.reasons.push_back({ReasonCode::kMemoryPressure,
                         in.is_oom
                             ? "the guest killed a process for memory"
                             : absl::StrFormat("the guest swaps in %.1f MiB a second",
                                               in.swap_in_rate.value_or(0) / (1024.0 * 1024.0))});
  }
  if (in.balloon_refused_for) {
    d.reasons.push_back({ReasonCode::kBalloonSlow, BalloonText(in)});
  }
  if (in.resource == Resource::kMemory) {
    value = std::max(value, MemoryFloor(in.vm(), in.config->memory).value_or(0));
  }
  return value;
}

Outcome OutcomeOf(const DecisionInputs& in, const Decision& d) {
  if (d.wants_change_) {
    return d.mode >= Mode::kCanary ? Outcome::kApplied : Outcome::kRecommended;
  }
  for (const ClampStep& c : d.clamps) {
    if (c.kind == ClampKind::kPause) {
      return in.policy->pause_grow || in.policy->pause_shrink ? Outcome::kPaused : Outcome::kHeld;
    }
    if (c.kind == ClampKind::kRateLimit) {
      return Outcome::kDeferred;
    }
  }
  return Outcome::kHeld;
}

// The reason that stopped or shaped the decision most comes first: the last clamp when nothing
// changes, the wish's own reason when something does.
void OrderReasons(size_t own_reasons, Decision& d) {
  if (!d.wants_change_ && d.reasons.size() > own_reasons) {
    std::rotate(d.reasons.begin(), d.reasons.begin() + static_cast<std::ptrdiff_t>(own_reasons),
                d.reasons.end());
  }
  if (d.reasons.empty()) {
    d.reasons.push_back({ReasonCode::kNoChange, "already as wanted"});
  }
}

}  // namespace

bool ShrinkForbidden(const DecisionInputs& in) {
  const VmObservation& vm = in.vm();
  const SampleQuality quality = in.resource == Resource::kCpu ? vm.cpu_quality : vm.memory_quality;
  if (in.fresh_samples < in.config->warm_up_samples || in.is_stale ||
      quality != SampleQuality::kFresh || in.fresh_streak < in.fresh_streak_needed ||
      !UsageOf(vm, in.resource) || in.failure_hold_left || in.foreign_hold_left ||
      in.policy->pause_shrink) {
    return true;
  }
  if (in.observation->predictor_link != PredictorLink::kOff &&
      UsableForecast(vm, in.resource, *in.config) == nullptr) {
    return true;
  }
  return in.resource == Resource::kMemory &&
         (!vm.has_guest_report || !vm.memory_used ||
          vm.memory_pressure_some_ratio.value_or(0) > in.config->memory.pressure_limit_ratio ||
          (vm.memory_allocated && vm.memory_target &&
           *vm.memory_allocated > *vm.memory_target + 2 * in.config->memory_granularity_bytes));
}

Decision Decide(const DecisionInputs& in) {
  Decision d = Describe(in);
  const std::optional<double> present = PresentAllocation(in.vm(), in.resource);
  if (const std::optional<Reason> why = NotDecidable(in)) {
    return Held(std::move(d), present.value_or(in.last_allocation.value_or(0)), why->code,
                why->text);
  }
  const Wish wish = MakeWish(in);
  d.is_reactive = wish.is_reactive;
  if (const Forecast* f = UsableForecast(in.vm(), in.resource, *in.config)) {
    d.forecast = wish.forecast;
    d.forecast_quantile_ratio = wish.quantile_ratio;
    d.model = f->model;
    d.forecast_age = f->age;
  }
  d.padding = wish.padding;
  if (!wish.is_known && !in.is_short()) {
    return Held(std::move(d), *present, ReasonCode::kDataMissing,
                "neither a forecast nor a recent demand is known");
  }
  d.raw_wish = wish.is_known ? wish.value : *present;
  const double wanted = Corrected(in, *present, d.raw_wish, d);
  if (in.boost_factor > 1) {
    d.reasons.push_back(
        {ReasonCode::kSloBoost,
         absl::StrFormat("objective %s is missed: x %.2f", in.boost_objective, in.boost_factor)});
  }
  if (wish.is_known && wanted == d.raw_wish) {
    d.reasons.push_back(wish.is_reactive ? Reason{ReasonCode::kReactiveFallback,
                                                  "no usable forecast: recent peak plus margin"}
                                         : Reason{ReasonCode::kForecast, "follows the forecast"});
  }
  const size_t own_reasons = d.reasons.size();
  Pipeline(in, *present, wanted).Run(d);
  d.wants_change_ = d.target != *present;
  d.outcome = OutcomeOf(in, d);
  OrderReasons(own_reasons, d);
  return d;
}

}  // namespace cloudscale::scaler
