#include "sim/backtest/backtest.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "common/sync/mutex.h"

namespace cloudscale::backtest {
namespace {

constexpr int kMaxHold = 100'000;
constexpr int kMaxJobs = 1024;
// Progress is told about so often in a run.
constexpr int64_t kProgressParts = 1000;

}  // namespace

absl::string_view LoopName(Loop loop) { return loop == Loop::kOpen ? "open" : "closed"; }

bool HasTargetKnob(const predictor::SizingMethod& method) {
  return absl::StrContains(method.knob().meaning, "target violation ratio");
}

absl::Status Play(const DemandTrace& trace, const predictor::SizingMethod& method, double knob,
                  int hold, Loop loop, bool with_expected,
                  const std::function<void(const PlayedStep&)>& take) {
  const double capacity = trace.capacity;
  const std::unique_ptr<predictor::SizingState> state = method.Start(
      {.resource = trace.resource, .step = absl::Seconds(trace.step_seconds), .capacity = capacity},
      knob);
  const auto steps = static_cast<int64_t>(trace.demand.size());
  int64_t unknown = 0;  // steps that the state has not been told of yet
  const auto fraction = [&](double answer) {
    return std::min(1.0, std::max(kMinCap, answer / capacity));
  };
  for (int64_t begin = 0; begin < steps; begin += hold) {
    if (unknown > 0) {
      state->Skip(std::exchange(unknown, 0));
    }
    const double asked = state->Size(hold);
    const double expected = with_expected ? state->Expected(hold) : asked;
    if (std::isnan(asked) || std::isnan(expected)) {
      return absl::InternalError(
          absl::StrFormat("method %s with knob %g asked for no number at "
                          "step %d of trace '%s'",
                          method.name(), knob, begin, trace.name));
    }
    PlayedStep step{.cap = fraction(asked), .expected = fraction(expected)};
    for (int64_t t = begin; t < std::min(steps, begin + hold); ++t) {
      const double demand = trace.demand[static_cast<size_t>(t)];
      step.t = t;
      step.demand = demand / capacity;
      take(step);
      if (std::isnan(demand)) {
        ++unknown;
        continue;
      }
      if (unknown > 0) {
        state->Skip(std::exchange(unknown, 0));
      }
      const bool is_held_back = loop == Loop::kClosed && step.demand - step.cap > kTieTolerance;
      state->Observe(
          {.demand = is_held_back ? step.cap * capacity : demand, .is_censored = is_held_back});
    }
  }
  return absl::OkStatus();
}

namespace {

// One method, hold and loop while it is played. Its (knob, trace) pairs are the units of work.
struct Plan {
  const predictor::SizingMethod* method = nullptr;
  int hold = 1;
  Loop loop = Loop::kOpen;
  std::vector<double> knobs;  // all that are played, in the order of the sweep
  size_t sweep_size = 0;      // the first so many make the frontier
  std::optional<size_t> published;
  std::vector<std::vector<TraceScore>> scores;  // [knob][trace]
  std::atomic<size_t> units_left = 0;
  MethodResult result;
};

void AddKnobs(const BacktestOptions& options, Plan& plan) {
  const predictor::SizingKnob& knob = plan.method->knob();
  if (options.knob.has_value()) {
    plan.knobs = {*options.knob};
    plan.sweep_size = 1;
    return;
  }
  plan.knobs = knob.sweep;
  if (HasTargetKnob(*plan.method)) {
    for (const double target : options.targets) {
      if (std::find(plan.knobs.begin(), plan.knobs.end(), target) == plan.knobs.end()) {
        plan.knobs.push_back(target);
      }
    }
    // From the least to the most careful, as in the sweep.
    std::sort(plan.knobs.begin(), plan.knobs.end(), std::greater<>());
  }
  if (plan.knobs.empty()) {
    plan.knobs = {knob.published};
  }
  plan.sweep_size = plan.knobs.size();
  const auto found = std::find(plan.knobs.begin(), plan.knobs.end(), knob.published);
  plan.published = static_cast<size_t>(found - plan.knobs.begin());
  if (found == plan.knobs.end()) {
    plan.knobs.push_back(knob.published);
  }
}

// Of an aggregate at a target knob.
Calibration CalibrationOf(const std::vector<DemandTrace>& traces, const Aggregate& point,
                          const std::vector<TraceScore>& scores) {
  Calibration calibration{.asked = point.knob, .got = point.violation_ratio};
  int64_t near_count = 0;
  for (size_t i = 0; i < traces.size(); ++i) {
    const double seconds = static_cast<double>(traces[i].demand.size()) * traces[i].step_seconds;
    if (seconds < kLongTraceSeconds) {
      continue;
    }
    ++calibration.long_traces;
    near_count += std::abs(scores[i].violation_ratio - point.knob) <= 0.5 * point.knob ? 1 : 0;
  }
  calibration.long_traces_near_ratio =
      static_cast<double>(near_count) / static_cast<double>(calibration.long_traces);
  return calibration;
}

// Makes the result of a plan whose units are all played, and frees the scores.
void FinishPlan(const std::vector<DemandTrace>& traces, const BacktestResult& whole, Plan& plan) {
  MethodResult& result = plan.result;
  result.method = std::string(plan.method->name());
  result.description = std::string(plan.method->description());
  result.knob_meaning = std::string(plan.method->knob().meaning);
  result.hold = plan.hold;
  result.loop = plan.loop;
  std::vector<Aggregate> all;
  for (size_t k = 0; k < plan.knobs.size(); ++k) {
    all.push_back(AggregateOf(plan.knobs[k], whole.bases, plan.scores[k]));
  }
  if (plan.published.has_value()) {
    result.published = all[*plan.published];
  }
  result.sweep.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(plan.sweep_size));
  result.best_pinball_95 = result.sweep.front().pinball_95;
  result.best_pinball_99 = result.sweep.front().pinball_99;
  const auto distance = [&](const Aggregate& point) {
    return std::abs(point.violation_ratio - whole.reference_target);
  };
  for (size_t k = 0; k < result.sweep.size(); ++k) {
    const Aggregate& point = result.sweep[k];
    result.best_pinball_95 = std::min(result.best_pinball_95, point.pinball_95);
    result.best_pinball_99 = std::min(result.best_pinball_99, point.pinball_99);
    if (distance(point) < distance(result.sweep[result.reference])) {
      result.reference = k;
    }
    if (HasTargetKnob(*plan.method)) {
      result.calibration.push_back(CalibrationOf(traces, point, plan.scores[k]));
    }
  }
  for (const double target : whole.targets) {
    result.targets.push_back(AtTarget(result.sweep, target));
  }
  plan.scores.resize(plan.sweep_size);
  result.per_trace = PerTraceAtTarget(whole.bases, plan.scores, whole.reference_target);
  result.traces = std::move(plan.scores[result.reference]);
  for (TraceScore& score : result.traces) {
    score.depths = {};
  }
  plan.scores = {};
}

absl::Status CheckOptions(const std::vector<DemandTrace>& traces, const BacktestOptions& options) {
  Violations violations;
  if (traces.empty()) {
    violations.Add("traces", "none", "at least one");
  }
  if (options.methods.empty()) {
    violations.Add("methods", "none", "at least one");
  }
  if (options.holds.empty()) {
    violations.Add("hold", "none", "at least one");
  }
  for (const int hold : options.holds) {
    RequireInRange(violations, "hold", hold, 1, kMaxHold);
  }
  if (options.targets.empty()) {
    violations.Add("targets", "none", "at least one");
  }
  for (const double target : options.targets) {
    if (!(target > 0 && target < 1)) {
      violations.Add("targets", absl::StrCat(target), "0 < x < 1");
    }
  }
  if (options.knob.has_value() && !std::isfinite(*options.knob)) {
    violations.Add("knob", absl::StrCat(*options.knob), "a finite number");
  }
  RequireInRange(violations, "jobs", options.jobs, 1, kMaxJobs);
  return violations.ToStatus();
}

// Ascending in over-allocation at the reference target, those that do not reach it last.
bool IsBetter(const MethodResult& a, const MethodResult& b, size_t reference) {
  const auto key = [reference](const MethodResult& r) {
    const std::optional<double>& at = r.targets[reference].over_allocation;
    return std::make_tuple(static_cast<int>(r.loop), r.hold, !at.has_value(), at.value_or(0),
                           r.method);
  };
  return key(a) < key(b);
}

}  // namespace

absl::StatusOr<BacktestResult> RunBacktest(const std::vector<DemandTrace>& traces,
                                           const BacktestOptions& options,
                                           const ProgressCallback& progress) {
  CS_RETURN_IF_ERROR(CheckOptions(traces, options));
  BacktestResult whole;
  whole.traces = &traces;
  whole.targets = options.targets;
  whole.knob = options.knob;
  const size_t reference = options.targets.size() / 2;
  whole.reference_target = options.targets[reference];
  int64_t steps = 0;
  for (const DemandTrace& trace : traces) {
    whole.bases.push_back(BasisOf(trace));
    steps += static_cast<int64_t>(trace.demand.size());
    if (whole.bases.back().scored_steps == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("trace '", trace.name, "' has ", trace.demand.size(), " steps, ",
                       whole.bases.back().warm_up_steps,
                       " of them for warming up: no known step is left to score"));
    }
  }
  std::vector<std::unique_ptr<Plan>> plans;
  std::vector<std::pair<Plan*, size_t>> units;  // plan, and knob · traces + trace
  int64_t total = 0;
  for (const Loop loop : options.loops) {
    for (const int hold : options.holds) {
      for (const predictor::SizingMethod* method : options.methods) {
        auto plan = std::make_unique<Plan>();
        plan->method = method;
        plan->hold = hold;
        plan->loop = loop;
        AddKnobs(options, *plan);
        plan->scores.resize(plan->knobs.size());
        plan->units_left = plan->knobs.size() * traces.size();
        for (size_t unit = 0; unit < plan->units_left; ++unit) {
          units.emplace_back(plan.get(), unit);
        }
        total += steps * static_cast<int64_t>(plan->knobs.size());
        plans.push_back(std::move(plan));
      }
    }
  }

  Mutex mutex;
  absl::Status failure;  // of the first unit that was seen to fail
  size_t failed_unit = units.size();
  int64_t done = 0;
  int64_t told = 0;
  std::atomic<size_t> next = 0;
  std::atomic<bool> is_failed = false;
  const auto work = [&] {
    for (size_t u = next++; u < units.size() && !is_failed; u = next++) {
      Plan& plan = *units[u].first;
      const size_t k = units[u].second / traces.size();
      const size_t i = units[u].second % traces.size();
      TraceScorer scorer(whole.bases[i]);
      const absl::Status status = Play(traces[i], *plan.method, plan.knobs[k], plan.hold, plan.loop,
                                       /*with_expected=*/false, [&scorer](const PlayedStep& step) {
                                         scorer.Add(step.t, step.demand, step.cap);
                                       });
      TraceScore score = scorer.Finish();
      {
        MutexLock lock(&mutex);
        if (!status.ok() && u < failed_unit) {
          failed_unit = u;
          failure = status;
          is_failed = true;
        }
        plan.scores[k].resize(traces.size());
        plan.scores[k][i] = std::move(score);
        done += static_cast<int64_t>(traces[i].demand.size());
        if (progress && (done - told >= total / kProgressParts || done == total)) {
          told = done;
          progress(done, total);
        }
      }
      if (--plan.units_left == 0 && !is_failed) {
        FinishPlan(traces, whole, plan);
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int j = 1; j < std::min(options.jobs, static_cast<int>(units.size())); ++j) {
      threads.emplace_back(work);
    }
    work();
  }
  CS_RETURN_IF_ERROR(failure);
  for (const auto& plan : plans) {
    whole.results.push_back(std::move(plan->result));
  }
  std::stable_sort(whole.results.begin(), whole.results.end(),
                   [reference](const MethodResult& a, const MethodResult& b) {
                     return IsBetter(a, b, reference);
                   });
  return whole;
}

absl::StatusOr<std::vector<const predictor::SizingMethod*>> ChooseMethods(
    const predictor::SizingRegistry& registry, absl::Span<const std::string> names) {
  std::vector<const predictor::SizingMethod*> chosen;
  std::vector<std::string> unknown;
  const auto add = [&chosen](const predictor::SizingMethod* method) {
    if (std::find(chosen.begin(), chosen.end(), method) == chosen.end()) {
      chosen.push_back(method);
    }
  };
  for (const std::string& name : names) {
    if (name == "all") {
      for (const auto& method : registry.methods()) {
        add(method.get());
      }
    } else if (const predictor::SizingMethod* method = registry.Find(name); method != nullptr) {
      add(method);
    } else {
      unknown.push_back(name);
    }
  }
  if (!unknown.empty()) {
    std::vector<std::string> known;
    for (const auto& method : registry.methods()) {
      known.emplace_back(method->name());
    }
    return absl::NotFoundError(absl::StrCat("no method '", absl::StrJoin(unknown, "', '"),
                                            "'; known: ", absl::StrJoin(known, ", ")));
  }
  return chosen;
}

}  // namespace cloudscale::backtest
