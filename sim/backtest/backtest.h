#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/predictor/sizing/sizing_method.h"
#include "sim/backtest/demand_trace.h"
#include "sim/backtest/metrics.h"

namespace cloudscale::backtest {

// What a method gets to see of demand.
enum class Loop {
  kOpen,    // all of it
  kClosed,  // min(demand, cap), marked as censored in a violation: what production sees
};
[[nodiscard]] absl::string_view LoopName(Loop loop);  // "open", "closed"

// --- One method on one trace ---

// One step of a run, in fractions of the VM.
struct PlayedStep {
  int64_t t = 0;
  double demand = 0;    // kUnknown if not known
  double cap = 1;       // clamped
  double expected = 1;  // largest demand that the method expected, without margin
};

// Plays `trace`: at t = 0, hold, 2·hold … a fresh state sets one cap for the next `hold` steps,
// then sees them. `take` gets every step in order. `with_expected` costs a forecast more. INTERNAL
// when the method answers with what is no number.
[[nodiscard]] absl::Status Play(const DemandTrace& trace, const predictor::SizingMethod& method,
                                double knob, int hold, Loop loop, bool with_expected,
                                const std::function<void(const PlayedStep&)>& take);

// Whether the knob of the method is the violation ratio that is asked for.
[[nodiscard]] bool HasTargetKnob(const predictor::SizingMethod& method);

// --- All methods on all traces ---

struct BacktestOptions {
  std::vector<const predictor::SizingMethod*> methods;  // outlive the run
  std::vector<int> holds = {1};                         // steps that a cap holds, each 1 to 100000
  std::vector<Loop> loops = {Loop::kOpen};
  std::vector<double> targets = {0.01, 0.02, 0.05};  // violation ratios, in (0, 1)
  // Unset: the method's sweep (and the targets, where the knob is a target) and published setting.
  std::optional<double> knob = std::nullopt;
  int jobs = 1;  // threads; results do not depend on it
};

// One method, hold and loop over all traces.
struct MethodResult {
  std::string method;
  std::string description;
  std::string knob_meaning;
  int hold = 1;
  Loop loop = Loop::kOpen;
  std::vector<Aggregate> sweep;  // in the order of the knobs
  std::vector<TargetPoint> targets;
  std::optional<Aggregate> published;  // the source's own setting
  PerTracePoint per_trace;             // at the reference target
  double best_pinball_95 = 0;          // over the sweep
  double best_pinball_99 = 0;
  std::vector<Calibration> calibration;  // empty unless the knob is a target
  // Of each trace, at the setting of the sweep whose violation ratio is nearest to the reference
  // target. Without depths.
  size_t reference = 0;  // in `sweep`
  std::vector<TraceScore> traces;
};

struct BacktestResult {
  const std::vector<DemandTrace>* traces = nullptr;  // as given
  std::vector<TraceBasis> bases = {};                // of each
  std::vector<double> targets = {};
  double reference_target = 0;  // the middle one of `targets`
  std::optional<double> knob;
  // By loop, then hold, then from the least over-allocation at the reference target.
  std::vector<MethodResult> results = {};
};

// Steps of play done and to do. Called by any thread, one at a time, seldom.
using ProgressCallback = std::function<void(int64_t done, int64_t total)>;

// Plays everything against everything. Deterministic, whatever `jobs` is. `traces` outlive the
// result. INVALID_ARGUMENT for options out of range or a trace without a scored step.
[[nodiscard]] absl::StatusOr<BacktestResult> RunBacktest(const std::vector<DemandTrace>& traces,
                                                         const BacktestOptions& options,
                                                         const ProgressCallback& progress = {});

// Methods by name, or all for "all". NOT_FOUND lists the known ones.
[[nodiscard]] absl::StatusOr<std::vector<const predictor::SizingMethod*>> ChooseMethods(
    const predictor::SizingRegistry& registry, absl::Span<const std::string> names);

}  // namespace cloudscale::backtest
