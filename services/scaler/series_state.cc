#include "services/scaler/series_state.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/container/inlined_vector.h"

namespace cloudscale::scaler {
namespace {

// Share of its limit that a VM uses before throttled time says that the limit is too small.
constexpr double kBusyRatio = 0.75;

// Samples that may still show the old value after a set: the sample under way, one in the stream,
// and a hypervisor that answers from a cache.
constexpr int64_t kConfirmSamples = 5;

// Usable for growing; a shrink asks for more.
bool IsMeasured(SampleQuality q) {
  return q == SampleQuality::kFresh || q == SampleQuality::kLate || q == SampleQuality::kSkewed;
}

// Says what the allocation is; the others repeat or guess.
bool ShowsAllocation(SampleQuality q) {
  return IsMeasured(q) || q == SampleQuality::kReset || q == SampleQuality::kWarming;
}

SampleQuality QualityOf(const VmObservation& vm, Resource r) {
  return r == Resource::kCpu ? vm.cpu_quality : vm.memory_quality;
}

std::optional<double> LimitOf(const VmObservation& vm, Resource r) {
  return r == Resource::kCpu ? vm.cpu_cap : vm.memory_target;
}

bool Matches(std::optional<double> a, std::optional<double> b, double grain) {
  if (!a || !b) {
    return a.has_value() == b.has_value();
  }
  return std::abs(*a - *b) <= std::max(grain * 1.01, 0.01 * std::abs(*b));
}

}  // namespace

SeriesState::SampleResult SeriesState::OnSample(const VmObservation& vm, MonoTime now,
                                                absl::Duration elapsed, bool has_gap,
                                                const ScalerConfig& config) {
  const SampleQuality quality = QualityOf(vm, resource_);
  const std::optional<double> usage = UsageOf(vm, resource_);
  if (quality == SampleQuality::kFresh && usage) {
    ++fresh_samples_;
    fresh_streak_ = has_gap ? 1 : fresh_streak_ + 1;
  } else {
    fresh_streak_ = 0;
  }
  const Sight sight = Compare(vm, now, config);
  if (before_shrink_ && last_change_ && now - *last_change_ > config.rollback_window) {
    before_shrink_.reset();
  }
  is_oom_ = resource_ == Resource::kMemory && vm.oom_kill_count && oom_count_ &&
            *vm.oom_kill_count > *oom_count_;
  if (vm.oom_kill_count) {
    oom_count_ = vm.oom_kill_count;
  }
  if (resource_ == Resource::kMemory) {
    WatchSwap(vm, now, elapsed, config);
    WatchBalloon(vm, now, config);
  }
  if (ShowsAllocation(quality)) {
    if (const std::optional<double> present = PresentAllocation(vm, resource_)) {
      last_allocation_ = present;
    }
  }
  if (last_allocation_) {
    const double seconds = absl::ToDoubleSeconds(elapsed);
    account_.granted_seconds += *last_allocation_ * seconds;
    account_.observed_seconds += seconds;
  }
  SampleResult result;
  if (IsMeasured(quality)) {
    if (const std::optional<double> demand = DemandOf(vm, resource_)) {
      step_peak_ = std::max(step_peak_.value_or(0), *demand);
      account_.peak_demand = std::max(account_.peak_demand, *demand);
      if (last_allocation_) {
        has_judgement_in_step_ = true;
        has_under_estimate_in_step_ =
            has_under_estimate_in_step_ || *demand > *last_allocation_ * (1 + 1e-6);
      }
    }
    if (sight != Sight::kOutdated) {
      result = Correct(vm);
    }
  }
  result.is_foreign_change = sight == Sight::kForeign;
  result.is_outdated = sight == Sight::kOutdated;
  return result;
}

void SeriesState::WatchSwap(const VmObservation& vm, MonoTime now, absl::Duration elapsed,
                            const ScalerConfig& config) {
  swap_in_rate_.reset();
  const double limit = config.memory.swap_in_limit_bytes_per_second;
  if (!vm.swap_in_bytes || limit <= 0) {
    return;  // what is not told is not zero
  }
  const absl::Duration since = std::min(now - swap_.changed_at, 2 * elapsed);
  if (!swap_.bytes || *vm.swap_in_bytes < *swap_.bytes) {
    swap_ = Swap{.bytes = vm.swap_in_bytes, .changed_at = now, .judged_at = swap_.judged_at};
    return;
  }
  if (*vm.swap_in_bytes == *swap_.bytes) {
    if (now - swap_.changed_at > 2 * elapsed) {
      swap_.judged_rate = 0;
    }
    return;
  }
  if (since <= absl::ZeroDuration()) {
    return;
  }
  const double rate =
      static_cast<double>(*vm.swap_in_bytes - *swap_.bytes) / absl::ToDoubleSeconds(since);
  swap_.bytes = vm.swap_in_bytes;
  swap_.changed_at = now;
  if (swap_.judged_at && now - *swap_.judged_at < config.step) {
    swap_.judged_rate = std::max(swap_.judged_rate, rate);
    return;
  }
  if (rate <= limit) {
    return;
  }
  if (rate >= swap_.judged_rate) {
    swap_in_rate_ = rate;
  }
  swap_.judged_at = now;
  swap_.judged_rate = rate;
}

void SeriesState::WatchBalloon(const VmObservation& vm, MonoTime now, const ScalerConfig& config) {
  if (!ShowsAllocation(vm.memory_quality) || !vm.memory_allocated || !vm.memory_target ||
      vm.state != VmRunState::kRunning) {
    return;  // nobody looked: neither progress nor refusal
  }
  const double grain = config.memory_granularity_bytes;
  const double distance = std::abs(*vm.memory_allocated - *vm.memory_target);
  if (distance <= 2 * grain) {
    balloon_.reset();
    balloon_refused_for_.reset();
    return;
  }
  if (!balloon_ || balloon_->target != *vm.memory_target ||
      distance < balloon_->best_distance - grain) {
    balloon_ = Balloon{*vm.memory_target, distance, now};
  }
  const absl::Duration stuck = now - balloon_->progress_at;
  balloon_refused_for_ =
      stuck >= config.memory.balloon_patience ? std::make_optional(stuck) : std::nullopt;
}

// An unmeasured sample neither continues nor ends a streak: a shortage does not go away because
// nobody looked.
SeriesState::SampleResult SeriesState::Correct(const VmObservation& vm) {
  SampleResult result;
  const std::optional<double> usage = UsageOf(vm, resource_);
  const std::optional<double> limit = LimitOf(vm, resource_);
  if (!correction_.is_enabled || !usage || !limit || *limit <= 0 ||
      vm.state != VmRunState::kRunning) {
    streak_ = 0;
    retrain_streak_ = 0;
    alpha_ = 1;
    return result;
  }
  const double threshold = correction_.threshold_ratio;
  double pressure = std::min(1.0, *usage / *limit);
  if (resource_ == Resource::kCpu) {
    const double throttled = std::clamp(vm.cpu_throttled_ratio.value_or(0), 0.0, 1.0);
    // With much of the limit left, what was held back within single periods of enforcement was done
    // right after.
    if (throttled > correction_.throttled_ratio_min && pressure >= kBusyRatio) {
      // A throttled VM shows less than it wants: how long it was held back stands for the rest.
      pressure = std::max(pressure, threshold + (1 - threshold) * throttled);
    }
  }
  if (pressure < threshold) {
    streak_ = 0;
    retrain_streak_ = 0;
    alpha_ = 1;
    return result;
  }
  const double span = 1 - threshold;
  const double by_pressure =
      correction_.alpha_min + (span > 0 ? (pressure - threshold) / span : 1) *
                                  (correction_.alpha_max - correction_.alpha_min);
  alpha_ = streak_ == 0 ? by_pressure
                        : std::min(correction_.alpha_max,
                                   std::max(by_pressure, alpha_ + correction_.alpha_step));
  ++streak_;
  result.is_under_estimate = true;
  if (++retrain_streak_ >= correction_.retrain_streak) {
    retrain_streak_ = 0;
    result.wants_retrain = true;
  }
  return result;
}

SeriesState::Sight SeriesState::Compare(const VmObservation& vm, MonoTime now,
                                        const ScalerConfig& config) {
  const SampleQuality quality = QualityOf(vm, resource_);
  if (!last_set_ || !ShowsAllocation(quality) || vm.state != VmRunState::kRunning) {
    return Sight::kAsSet;
  }
  const std::optional<double> limit = LimitOf(vm, resource_);
  const double grain =
      resource_ == Resource::kCpu ? config.cpu_granularity_cores : config.memory_granularity_bytes;
  if (Matches(limit, last_set_->value, grain)) {
    last_set_->is_confirmed = true;
    last_set_->unconfirmed_samples = 0;
    return Sight::kAsSet;
  }
  if (quality == SampleQuality::kReset || quality == SampleQuality::kWarming) {
    last_set_ = LastSet{limit, true, 0};  // a new incarnation starts with its own size
    return Sight::kAsSet;
  }
  if (!last_set_->is_confirmed && ++last_set_->unconfirmed_samples <= kConfirmSamples) {
    return Sight::kOutdated;
  }
  if (quality == SampleQuality::kLate) {
    return Sight::kAsSet;  // may repeat an older allocation: no proof of somebody else's change
  }
  Yield(limit, now, config);
  return Sight::kForeign;
}

void SeriesState::OnStepEnd() {
  if (step_peak_) {
    peaks_.Push(*step_peak_);
    step_peak_.reset();
  }
  if (has_judgement_in_step_) {
    ++account_.step_count;
    account_.under_estimate_count += has_under_estimate_in_step_ ? 1 : 0;
  }
  has_judgement_in_step_ = false;
  has_under_estimate_in_step_ = false;
}

void SeriesState::OnSet(std::optional<double> before, std::optional<double> value, MonoTime now) {
  const double old_size = before.value_or(last_allocation_.value_or(0));
  if (value && *value < old_size) {
    before_shrink_ = old_size;
  } else {
    before_shrink_.reset();
  }
  last_set_ = LastSet{value, false, 0};
  last_change_ = now;
  quiet_steps_ = 0;
  failures_ = 0;
}

bool SeriesState::OnFailure(MonoTime now, const ScalerConfig& config) {
  if (++failures_ < config.max_failures_before_pause) {
    return false;
  }
  failed_until_ = now + config.failure_hold;
  return true;
}

void SeriesState::Yield(std::optional<double> value, MonoTime now, const ScalerConfig& config) {
  last_set_ = LastSet{value, true, 0};
  foreign_until_ = now + config.foreign_hold;
  before_shrink_.reset();
  quiet_steps_ = 0;
}

std::optional<double> SeriesState::RecentLevel(double share) const {
  absl::InlinedVector<double, 8> peaks;
  for (size_t i = 0; i < peaks_.size(); ++i) {
    peaks.push_back(peaks_[i]);
  }
  if (step_peak_) {
    peaks.push_back(*step_peak_);
  }
  if (peaks.empty()) {
    return std::nullopt;
  }
  const size_t above = static_cast<size_t>(share * static_cast<double>(peaks.size()) + 1e-9);
  std::sort(peaks.begin(), peaks.end(), std::greater<>());
  return peaks[std::min(above, peaks.size() - 1)];
}

std::optional<BoostState> SeriesState::ActiveBoost(MonoTime now) const {
  return boost_ && boost_->until > now ? boost_ : std::nullopt;
}

void SeriesState::Fill(DecisionInputs& in, const SampleResult& sample, MonoTime now,
                       int64_t fresh_streak_needed) const {
  const auto left = [now](const std::optional<MonoTime>& until) -> std::optional<absl::Duration> {
    return until && *until > now ? std::make_optional(*until - now) : std::nullopt;
  };
  in.fresh_samples = fresh_samples_;
  in.fresh_streak = fresh_streak_;
  in.fresh_streak_needed = fresh_streak_needed;
  in.last_allocation = last_allocation_;
  in.recent_peak = recent_peak();
  in.recent_level = in.resource == Resource::kCpu && in.policy
                        ? RecentLevel(in.policy->target_violation_ratio)
                        : in.recent_peak;
  in.quiet_steps = quiet_steps_;
  in.since_last_change = last_change_ ? std::make_optional(now - *last_change_) : std::nullopt;
  in.foreign_hold_left = left(foreign_until_);
  in.failure_hold_left = left(failed_until_);
  in.failures_in_a_row = failures_;
  in.is_outdated = sample.is_outdated;
  in.is_under_estimate = sample.is_under_estimate;
  in.alpha = sample.is_under_estimate ? alpha_ : 1;
  in.under_estimate_streak = streak_;
  in.rollback_to = before_shrink_;
  in.is_oom = is_oom_;
  in.swap_in_rate = swap_in_rate_;
  in.balloon_refused_for = balloon_refused_for_;
  if (const std::optional<BoostState> boost = ActiveBoost(now)) {
    in.boost_factor = boost->factor;
    in.boost_objective = boost->objective_id;
  }
}

}  // namespace cloudscale::scaler
