#include "services/scaler/planning_engine.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "services/scaler/water_fill.h"

namespace cloudscale::scaler {
namespace {

// Above it the window would outlast any cool-down.
constexpr int64_t kMaxFreshStreak = 10'000;
// A target that was asked for shows with the next forecast; the request may have been lost.
constexpr absl::Duration kTargetPatience = absl::Seconds(30);
constexpr double kTargetTolerance = 1e-3;  // of the ratio

bool IsCorrection(const DecisionInputs& in, const Decision& d, double present) {
  return in.is_short() && d.target > present;
}

// What the VM takes from the host now. A VM whose present allocation nobody read keeps its last
// known one; one without a limit takes what it uses.
double Held(const VmObservation& vm, Resource resource, const SeriesState* series) {
  const std::optional<double> present = PresentAllocation(vm, resource);
  if (resource == Resource::kCpu && present && !vm.cpu_cap) {
    return std::min(*present, DemandOf(vm, resource).value_or(*present));
  }
  double held = present.value_or(0);
  if (!present) {
    const std::optional<double> maximum = VmMaximum(vm, resource);
    const std::optional<double> last = series ? series->last_allocation() : std::nullopt;
    held = last.value_or(maximum.value_or(0));
    if (resource == Resource::kCpu && series != nullptr && maximum && held >= *maximum) {
      held = std::min(held, series->recent_peak().value_or(held));  // it was not limited
    }
  }
  return resource == Resource::kCpu ? held : std::max(held, vm.memory_allocated.value_or(0));
}

// The decision's VM and the facts of the host, so that a receipt does not keep all the others.
std::shared_ptr<const HostObservation> Excerpt(const HostObservation& o, size_t vm_index) {
  auto excerpt = std::make_shared<HostObservation>();
  excerpt->header = o.header;
  excerpt->cpu_capacity_cores = o.cpu_capacity_cores;
  excerpt->memory_capacity_bytes = o.memory_capacity_bytes;
  excerpt->memory_free_bytes = o.memory_free_bytes;
  excerpt->predictor_link = o.predictor_link;
  excerpt->vms.push_back(o.vms[vm_index]);
  return excerpt;
}

}  // namespace

PlanningEngine::PlanningEngine(ScalerConfig config)
    : config_(std::make_shared<const ScalerConfig>(config)),
      policies_(std::make_shared<const PolicySet>()),
      limiter_(config.max_actions_per_minute, config.max_actions_per_vm_per_minute) {}

void PlanningEngine::SetPolicies(std::shared_ptr<const PolicySet> policies) {
  CS_CHECK(policies != nullptr);
  policies_ = std::move(policies);
  for (auto& [uuid, entry] : vms_) {
    entry.policy.reset();  // resolved again with the next sample
  }
}

void PlanningEngine::SetReserved(double cpu_cores, double memory_bytes) {
  reserved_ = {cpu_cores, memory_bytes};
}

bool PlanningEngine::Accept(StepTime now, const HostObservation& o) {
  const ObservationHeader& h = o.header;
  if (h.boot_id != boot_id_) {
    boot_id_ = h.boot_id;
    vms_.clear();
    last_step_.reset();
    least_delivery_.reset();
    has_gap_ = true;
    elapsed_ = absl::ZeroDuration();
  } else if (h.sequence <= last_sequence_ || h.monotonic_time < last_time_) {
    ++counters_.ignored_samples;
    return false;
  } else {
    const int64_t missing = h.sequence - last_sequence_ - 1;
    has_gap_ = missing > 0;
    counters_.lost_samples += missing;
    elapsed_ = h.monotonic_time - last_time_;
    if (elapsed_ > absl::ZeroDuration()) {
      sample_period_ = elapsed_ / (missing + 1);
    }
  }
  last_sequence_ = h.sequence;
  last_time_ = h.monotonic_time;
  // The two monotonic clocks have an unknown offset; the fastest delivery seen stands for it.
  const absl::Duration delivery = now.mono.since_start() - h.monotonic_time;
  least_delivery_ = least_delivery_ ? std::min(*least_delivery_, delivery) : delivery;
  is_late_ = delivery - *least_delivery_ > config_->max_sample_age;
  return true;
}

PlanningEngine::VmEntry* PlanningEngine::EntryOf(const VmObservation& vm, StepTime now) {
  auto it = vms_.find(vm.uuid);
  if (it == vms_.end()) {
    if (vms_.size() >= HostObservation::kMaxVms) {
      ++counters_.refused_vms;
      return nullptr;
    }
    VmEntry entry{{SeriesState(Resource::kCpu, *config_), SeriesState(Resource::kMemory, *config_)},
                  nullptr,
                  now.mono,
                  {}};
    for (const Resource r : kResources) {
      if (const auto r_it = restored_.find({vm.uuid, Index(r)}); r_it != restored_.end()) {
        entry.series[Index(r)].RestoreLastSet(r_it->second);
        restored_.erase(r_it);
      }
    }
    it = vms_.emplace(vm.uuid, std::move(entry)).first;
  }
  it->second.last_seen = now.mono;
  return &it->second;
}

void PlanningEngine::ForgetVanished(MonoTime now) {
  for (auto it = vms_.begin(); it != vms_.end();) {
    if (it->second.last_seen != now) {
      for (SeriesState& series : it->second.series) {
        series.OnAbsent();
      }
    }
    it = now - it->second.last_seen > config_->vanished_ttl ? vms_.erase(it) : std::next(it);
  }
}

// The forecast tells what it aims at, so a predictor that has lost its state, or never heard of it,
// is told again.
void PlanningEngine::CompareTarget(const VmObservation& vm, Resource resource, MonoTime now,
                                   VmEntry& entry, StepResult& result) const {
  const std::optional<Forecast>& forecast =
      resource == Resource::kCpu ? vm.cpu_forecast : vm.memory_forecast;
  if (!forecast || !forecast->target_violation_ratio || !entry.policy->of(resource).is_managed) {
    return;
  }
  const double target = TargetViolationRatio(*entry.policy, resource, *config_);
  std::optional<MonoTime>& asked_at = entry.target_asked_at[Index(resource)];
  if (std::abs(*forecast->target_violation_ratio - target) <= kTargetTolerance * target) {
    asked_at.reset();
  } else if (!asked_at || now - *asked_at >= kTargetPatience) {
    asked_at = now;
    result.targets.push_back({vm.uuid, resource, target});
  }
}

int64_t PlanningEngine::FreshStreakNeeded(const Bounds& bounds) const {
  const auto window = static_cast<double>(std::max<int64_t>(1, bounds.quiet_steps));
  const double samples = std::ceil(window * absl::FDivDuration(config_->step, sample_period_));
  return std::clamp<int64_t>(static_cast<int64_t>(samples), 1, kMaxFreshStreak);
}

StepResult PlanningEngine::Step(StepTime now, std::shared_ptr<const HostObservation> observation) {
  CS_CHECK(observation != nullptr);
  StepResult result;
  if (!Accept(now, *observation)) {
    return result;
  }
  const absl::Duration sample_time = observation->header.monotonic_time;
  result.is_full_step = !last_step_ || sample_time - *last_step_ >= config_->step;
  if (result.is_full_step) {
    last_step_ = sample_time;
  }
  is_warm_ = true;
  std::vector<Work> work;
  for (size_t i = 0; i < observation->vms.size(); ++i) {
    const VmObservation& vm = observation->vms[i];
    VmEntry* entry = EntryOf(vm, now);
    if (entry == nullptr) {
      continue;
    }
    if (entry->policy == nullptr || result.is_full_step) {
      // Again each full step, because pauses run out.
      auto fresh = Resolve(policies_->LayersFor(vm.uuid), now.wall);
      if (entry->policy == nullptr || !(*entry->policy == fresh)) {
        entry->policy = std::make_shared<const EffectivePolicy>(std::move(fresh));
      }
    }
    for (const Resource r : kResources) {
      SeriesState& series = entry->series[Index(r)];
      const auto sample = series.OnSample(vm, now.mono, elapsed_, has_gap_, *config_);
      counters_.foreign_changes += sample.is_foreign_change ? 1 : 0;
      if (sample.wants_retrain) {
        ++counters_.retrains;
        result.retrains.push_back({vm.uuid, r, "under-estimates in a row"});
      }
      CompareTarget(vm, r, now.mono, *entry, result);
      const bool is_managed = entry->policy->of(r).is_managed && vm.state == VmRunState::kRunning;
      is_warm_ = is_warm_ && (!is_managed || UsageOf(vm, r) == std::nullopt ||
                              series.fresh_samples() >= config_->warm_up_samples);
      Work w;
      w.inputs.config = config_;
      w.inputs.policy = entry->policy;
      w.inputs.observation = observation;
      w.inputs.vm_index = i;
      w.inputs.resource = r;
      w.inputs.decided_at = now.wall;
      w.inputs.is_full_step = result.is_full_step;
      w.inputs.is_stale = is_late_;
      series.Fill(w.inputs, sample, now.mono, FreshStreakNeeded(entry->policy->of(r)));
      // Between full steps a mode that does not act would only repeat itself.
      const bool is_urgent = w.inputs.is_short();
      if (result.is_full_step || (is_urgent && entry->policy->mode >= Mode::kCanary)) {
        work.push_back(std::move(w));
      }
    }
  }
  ForgetVanished(now.mono);
  DecideAll(now, work);
  Finish(work, result);
  if (result.is_full_step) {
    for (auto& [uuid, entry] : vms_) {
      for (SeriesState& series : entry.series) {
        series.OnStepEnd();
      }
    }
  }
  return result;
}

void PlanningEngine::DecideAll(StepTime now, std::vector<Work>& work) {
  if (work.empty()) {
    return;
  }
  const HostObservation& o = *work.front().inputs.observation;
  const bool is_full_step = work.front().inputs.is_full_step;
  for (Work& w : work) {
    if (is_full_step) {
      const Wish wish = MakeWish(w.inputs);
      const std::optional<double> present = PresentAllocation(w.inputs.vm(), w.inputs.resource);
      const double band = 1 - w.inputs.policy->of(w.inputs.resource).dead_band_ratio;
      const bool wants_shrink = wish.is_known && present && wish.value < *present * band &&
                                !w.inputs.is_under_estimate && !ShrinkForbidden(w.inputs);
      SeriesState& series = vms_.at(w.inputs.vm().uuid).series[Index(w.inputs.resource)];
      series.CountQuiet(wants_shrink);
      w.inputs.quiet_steps = wants_shrink ? w.inputs.quiet_steps + 1 : 0;
    }
    w.decision = Decide(w.inputs);
  }
  for (const Resource r : kResources) {
    if (is_full_step) {
      ShareHost(r, o, work);
    } else {
      LimitCorrections(r, o, work);
    }
  }
  LimitRates(now, work);
}

double PlanningEngine::Capacity(Resource resource, const HostObservation& o) const {
  const double all = resource == Resource::kCpu ? o.cpu_capacity_cores : o.memory_capacity_bytes;
  return std::max(0.0, all * (1 - config_->host_reserve_ratio) - reserved_[Index(resource)]);
}

void PlanningEngine::ShareHost(Resource resource, const HostObservation& o,
                               std::vector<Work>& work) {
  std::vector<Claim> claims;
  std::vector<Work*> takers;
  double wanted = 0;
  for (Work& w : work) {
    if (w.inputs.resource != resource) {
      continue;
    }
    const VmObservation& vm = w.inputs.vm();
    const Decision& d = w.decision;
    const double present = PresentAllocation(vm, resource).value_or(0);
    const bool is_uncapped = resource == Resource::kCpu && !vm.cpu_cap;
    const double held = Held(vm, resource, &vms_.at(vm.uuid).of(resource));
    Claim claim{.weight = w.inputs.policy->weight, .service_class = w.inputs.policy->service_class};
    const bool is_advice = w.inputs.policy->mode < Mode::kCanary;  // it moves nobody else
    if (is_advice || (resource == Resource::kCpu && is_uncapped && !d.wants_change())) {
      claim.floor = claim.wish = held;
    } else if (resource == Resource::kMemory) {
      // Freed memory counts only once it is free, and only what is free is given.
      claim.floor = held;
      claim.wish = std::max(claim.floor, d.target);
    } else {
      const Bounds& bounds = w.inputs.policy->of(resource);
      const double least =
          is_uncapped ? bounds.guaranteed
          : ShrinkForbidden(w.inputs)
              ? present
              : std::max({bounds.guaranteed, bounds.min, present * (1 - bounds.step_down_ratio)});
      claim.wish = d.target;
      claim.floor = std::min(d.target, least);
    }
    wanted += claim.wish;
    claims.push_back(claim);
    takers.push_back(&w);
  }
  const double capacity = Capacity(resource, o);
  if (capacity <= 0 || wanted <= capacity) {
    return;
  }
  const std::vector<double> granted = WaterFill(capacity, claims);
  for (size_t i = 0; i < takers.size(); ++i) {
    Work& w = *takers[i];
    const bool is_fixed =
        w.inputs.policy->mode < Mode::kCanary ||
        (!w.decision.wants_change() && (resource == Resource::kMemory || !w.inputs.vm().cpu_cap));
    if (!is_fixed && granted[i] < w.decision.target) {
      w.inputs.host_limit = granted[i];
      w.decision = Decide(w.inputs);
    }
  }
}

// Between full steps nobody is asked to give: a correction gets what the host has left.
void PlanningEngine::LimitCorrections(Resource resource, const HostObservation& o,
                                      std::vector<Work>& work) {
  const double capacity = Capacity(resource, o);
  if (capacity <= 0) {
    return;
  }
  double room = capacity;
  for (const VmObservation& vm : o.vms) {
    const auto it = vms_.find(vm.uuid);
    room -= Held(vm, resource, it == vms_.end() ? nullptr : &it->second.of(resource));
  }
  for (Work& w : work) {
    if (w.inputs.resource != resource || !w.decision.wants_change()) {
      continue;
    }
    const double present = PresentAllocation(w.inputs.vm(), resource).value_or(0);
    if (w.decision.target - present > room) {
      w.inputs.host_limit = present + std::max(0.0, room);
      w.decision = Decide(w.inputs);
    }
    room -= std::max(0.0, w.decision.target - present);
  }
}

void PlanningEngine::LimitRates(StepTime now, std::vector<Work>& work) {
  // Growth is asked first: when actions run short, those that help come before those that save.
  for (const bool grows : {true, false}) {
    for (Work& w : work) {
      const Decision& d = w.decision;
      const double present = PresentAllocation(w.inputs.vm(), w.inputs.resource).value_or(0);
      if (!d.wants_change() || d.mode < Mode::kCanary || (d.target > present) != grows) {
        continue;
      }
      if (IsCorrection(w.inputs, d, present)) {
        limiter_.Count(d.vm_uuid, now.mono);
      } else if (!limiter_.TryTake(d.vm_uuid, now.mono)) {
        w.inputs.is_rate_limited = true;
        w.decision = Decide(w.inputs);
      }
    }
  }
}

void PlanningEngine::Finish(std::vector<Work>& work, StepResult& result) {
  std::map<size_t, std::shared_ptr<const HostObservation>> excerpts;
  for (Work& w : work) {
    Decision& d = w.decision;
    const double present = PresentAllocation(w.inputs.vm(), w.inputs.resource).value_or(0);
    const bool is_correction = IsCorrection(w.inputs, d, present);
    std::shared_ptr<const HostObservation>& excerpt = excerpts[w.inputs.vm_index];
    if (excerpt == nullptr) {
      excerpt = Excerpt(*w.inputs.observation, w.inputs.vm_index);
    }
    w.inputs.observation = excerpt;
    w.inputs.vm_index = 0;
    d.inputs = std::make_shared<const DecisionInputs>(std::move(w.inputs));
    ++counters_.decisions;
    if (d.wants_change()) {
      PlannedAction action{.vm_uuid = d.vm_uuid,
                           .resource = d.resource,
                           .decision_id = d.decision_id,
                           .target = d.target,
                           .expected_before = d.previous,
                           .is_growth = d.target > present,
                           .is_correction = is_correction,
                           .reasons = d.reasons};
      // All that the VM may have is no limit, and is read back as none.
      if (d.resource == Resource::kMemory &&
          d.target >= VmMaximum(d.inputs->vm(), d.resource)
                          .value_or(std::numeric_limits<double>::infinity())) {
        action.target = std::nullopt;
      }
      (d.mode >= Mode::kCanary ? result.actions : result.recommendations)
          .push_back(std::move(action));
    }
    result.decisions.push_back(std::move(d));
  }
  std::stable_partition(result.actions.begin(), result.actions.end(),
                        [](const PlannedAction& a) { return !a.is_growth; });
}

void PlanningEngine::OnActionEnded(const ActionFeedback& f) {
  const auto it = vms_.find(f.vm_uuid);
  if (it == vms_.end()) {
    return;
  }
  SeriesState& series = it->second.series[Index(f.resource)];
  switch (f.result) {
    case ActionFeedback::Result::kDone:
      series.OnSet(f.before, f.value, f.at);
      break;
    case ActionFeedback::Result::kFailed:
      series.OnFailure(f.at, *config_);
      break;
    case ActionFeedback::Result::kForeign:
      ++counters_.foreign_changes;
      series.Yield(f.value, f.at, *config_);
      break;
  }
}

void PlanningEngine::RestoreLastSet(const std::string& vm_uuid, Resource resource,
                                    std::optional<double> value) {
  if (restored_.size() < 2 * HostObservation::kMaxVms) {
    restored_[{vm_uuid, Index(resource)}] = value;
  }
}

bool PlanningEngine::SetBoost(const std::string& vm_uuid, Resource resource, BoostState boost) {
  const auto it = vms_.find(vm_uuid);
  if (it == vms_.end()) {
    return false;
  }
  it->second.series[Index(resource)].SetBoost(std::move(boost));
  return true;
}

}  // namespace cloudscale::scaler
