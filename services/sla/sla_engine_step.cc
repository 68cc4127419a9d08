// The deciding half of SlaEngine: verdicts, violations, corrections.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {
namespace {

// A boost is renewed when less than this share of it is left.
constexpr double kRenewRatio = 0.2;
// A price lasts longer and grows: it is renewed when less than this share of it is left.
constexpr double kPriceRenewRatio = 0.5;

}  // namespace

StepResult SlaEngine::Step(absl::Time now) {
  StepResult result;
  result.changed = std::exchange(pending_, {});
  for (auto& [id, state] : objectives_) {
    if (state.objective.is_disabled) {
      continue;
    }
    for (const Judgement& judgement : state.window.Advance(now)) {
      Judge(state, judgement, now, result);
    }
    if (state.open_number != 0) {
      Correct(state, now, result);
    }
  }
  std::erase_if(boosted_until_, [&](const auto& entry) { return entry.second <= now; });
  std::erase_if(prices_, [&](const auto& entry) { return entry.second.until <= now; });
  return result;
}

void SlaEngine::Judge(State& state, const Judgement& judgement, absl::Time now,
                      StepResult& result) {
  if (judgement.verdict != Judgement::Verdict::kTooFew) {
    state.log.AddJudgement(judgement.end, judgement.verdict == Judgement::Verdict::kGood);
  }
  const ViolationTracker::Event event = state.tracker.Observe(judgement);
  if (state.open_number != 0 && judgement.verdict == Judgement::Verdict::kBad) {
    UpdateViolation(state, judgement, now);
  }
  switch (event) {
    case ViolationTracker::Event::kNone:
      break;
    case ViolationTracker::Event::kOpened:
      OpenViolation(state, judgement, now, result);
      break;
    case ViolationTracker::Event::kWorsened:
      result.changed.push_back(violations_.at(state.open_number));
      break;
    case ViolationTracker::Event::kClosed:
    case ViolationTracker::Event::kClosedSilently:
      CloseViolation(state,
                     event == ViolationTracker::Event::kClosed ? "ended: windows are good again"
                                                               : "ended: too few requests",
                     now);
      result.changed.insert(result.changed.end(), pending_.begin(), pending_.end());
      pending_.clear();
      break;
  }
}

std::vector<std::string> SlaEngine::ConcernedVms(const Objective& objective,
                                                 const Judgement& judgement) const {
  std::set<std::string> members;
  for (const Member& member : objective.members) {
    members.insert(member.vm_uuid);
  }
  std::vector<std::string> known;
  for (const std::string& vm : judgement.bad_vm_uuids) {
    if (members.contains(vm)) {
      known.push_back(vm);
    }
  }
  return known.empty() ? std::vector<std::string>(members.begin(), members.end()) : known;
}

void SlaEngine::OpenViolation(State& state, const Judgement& judgement, absl::Time now,
                              StepResult& result) {
  Violation violation;
  violation.number = ++last_number_;
  violation.started_at = state.tracker.first_bad_start();
  violation.id = absl::StrCat(state.objective.id, "-", absl::ToUnixSeconds(violation.started_at),
                              "-", violation.number);
  violation.objective_id = state.objective.id;
  violation.application = state.objective.application;
  violation.threshold = ThresholdOf(state.objective);
  state.open_number = violation.number;
  violations_.emplace(violation.number, std::move(violation));
  DropOldViolations();
  UpdateViolation(state, judgement, now);
  Correct(state, now, result);
  result.changed.push_back(violations_.at(state.open_number));
}

void SlaEngine::UpdateViolation(State& state, const Judgement& judgement, absl::Time now) {
  Violation& violation = violations_.at(state.open_number);
  if (judgement.observed >= violation.observed) {
    violation.observed = judgement.observed;
    violation.request_count = judgement.request_count;
    violation.bad_request_count = judgement.bad_count;
    violation.source = judgement.source;
  }
  std::set<std::string> vms(violation.vm_uuids.begin(), violation.vm_uuids.end());
  for (std::string& vm : ConcernedVms(state.objective, judgement)) {
    if (vms.size() < kMaxMembers) {
      vms.insert(std::move(vm));
    }
  }
  violation.vm_uuids.assign(vms.begin(), vms.end());
  violation.burn_rate =
      state.log.BadRatio(now - absl::Hours(1), now) / (1.0 - state.objective.target_ratio);
  changed_violations_[violation.number] = true;
}

void SlaEngine::CloseViolation(State& state, const std::string& effect, absl::Time now) {
  Violation& violation = violations_.at(state.open_number);
  violation.is_open = false;
  violation.ended_at = std::clamp(state.tracker.last_bad_end(), violation.started_at,
                                  std::max(violation.started_at, now));
  NoteEffect(violation, effect);
  changed_violations_[violation.number] = true;
  state.open_number = 0;
  state.tracker = ViolationTracker(hysteresis_);
  pending_.push_back(violation);
}

void SlaEngine::NoteEffect(Violation& violation, const std::string& effect) {
  if (violation.effects.size() < kMaxEffects) {
    violation.effects.push_back(effect);
    changed_violations_[violation.number] = true;
  }
}

void SlaEngine::Correct(State& state, absl::Time now, StepResult& result) {
  if (!state.objective.boost.is_enabled) {
    return;
  }
  for (const std::string& vm : violations_.at(state.open_number).vm_uuids) {
    Boost(vm, state, now, result);
    Retrain(vm, state, now, result);
    RaisePrice(vm, state, now, result);
  }
}

void SlaEngine::Boost(const std::string& vm, const State& state, absl::Time now,
                      StepResult& result) {
  const BoostTerms& terms = state.objective.boost;
  const auto boosted = boosted_until_.find(vm);
  if (boosted != boosted_until_.end() && boosted->second - now >= kRenewRatio * terms.duration) {
    return;
  }
  Violation& violation = violations_.at(state.open_number);
  boosted_until_[vm] = now + terms.duration;
  result.boosts.push_back({.vm_uuid = vm,
                           .factor = terms.factor,
                           .duration = terms.duration,
                           .objective_id = state.objective.id,
                           .violation_id = violation.id});
  NoteEffect(violation, absl::StrCat("boost vm ", vm, " by ", terms.factor, " for ",
                                     absl::FormatDuration(terms.duration)));
}

void SlaEngine::Retrain(const std::string& vm, const State& state, absl::Time now,
                        StepResult& result) {
  const auto retrained = retrained_at_.find(vm);
  // A time in the future is left over from a clock that was set back; it must not block for ever.
  if (retrained != retrained_at_.end() &&
      now - retrained->second < state.objective.boost.retrain_interval &&
      retrained->second <= now) {
    return;
  }
  Violation& violation = violations_.at(state.open_number);
  retrained_at_[vm] = now;
  changed_retrains_[vm] = now;
  result.retrains.push_back(
      {.vm_uuid = vm, .objective_id = state.objective.id, .violation_id = violation.id});
  NoteEffect(violation, absl::StrCat("retrain vm ", vm));
}

void SlaEngine::RaisePrice(const std::string& vm, const State& state, absl::Time now,
                           StepResult& result) {
  if (!price_.is_enabled) {
    return;
  }
  const auto raised = prices_.find(vm);
  const absl::Duration left =
      raised == prices_.end() ? absl::ZeroDuration() : raised->second.until - now;
  // More left than was ever given: the clock was set back, and the predictor's time is unknown.
  if (left >= kPriceRenewRatio * price_.duration && left <= price_.duration) {
    return;
  }
  Violation& violation = violations_.at(state.open_number);
  const double factor = left > absl::ZeroDuration()
                            ? std::min(raised->second.factor * price_.growth, price_.max_factor)
                            : price_.factor;
  prices_[vm] = {.factor = factor, .until = now + price_.duration};
  changed_prices_[vm] = prices_[vm];
  result.prices.push_back({.vm_uuid = vm,
                           .factor = factor,
                           .duration = price_.duration,
                           .objective_id = state.objective.id,
                           .violation_id = violation.id});
  NoteEffect(violation, absl::StrCat("price of vm ", vm, " times ", factor, " for ",
                                     absl::FormatDuration(price_.duration)));
}

void SlaEngine::DropOldViolations() {
  auto it = violations_.begin();
  while (violations_.size() > limits_.violation_history && it != violations_.end()) {
    if (it->second.is_open) {
      ++it;
      continue;
    }
    changed_violations_[it->first] = false;
    it = violations_.erase(it);
  }
}

int64_t SlaEngine::open_violation_count() const {
  return std::count_if(objectives_.begin(), objectives_.end(),
                       [](const auto& entry) { return entry.second.open_number != 0; });
}

}  // namespace cloudscale::sla
