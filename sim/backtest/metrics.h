#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "sim/backtest/demand_trace.h"

namespace cloudscale::backtest {

// How caps are scored. Everything is in fractions of the VM: caps and demand over capacity. The
// first min(one day, a quarter) of a trace, rounded up to 6 steps, is a warm-up and not scored;
// neither are steps whose demand is not known. A step is in violation when demand is above the cap
// by more than kTieTolerance. Every trace weighs the same.
inline constexpr double kMinCap = 0.01;  // caps are clamped to [kMinCap, 1]
inline constexpr double kTieTolerance = 1e-6;
// Traces whose P99 is below are scaled as if it were this, so that an idle one decides nothing.
inline constexpr double kMinScale = 0.05;
// A trace of at least so many seconds is long enough to hold a violation rate to its target.
inline constexpr double kLongTraceSeconds = 7 * 86400.0;

// What scoring needs to know of a trace.
struct TraceBasis {
  int64_t warm_up_steps = 0;
  int64_t scored_steps = 0;
  double scale = 1;        // max(kMinScale, P99 of the whole trace)
  double mean_demand = 0;  // over the scored steps
};
[[nodiscard]] TraceBasis BasisOf(const DemandTrace& trace);

// Caps of one run over one trace, scored.
struct TraceScore {
  double violation_ratio = 0;
  double mean_cap = 0;
  double mean_under = 0;           // demand above the cap
  double mean_over = 0;            // cap above the demand
  std::vector<float> depths = {};  // (demand - cap) / demand of each violation
};

// Scores one step after the other. Thread safety: thread-compatible.
class TraceScorer {
 public:
  // `basis` outlives the scorer.
  explicit TraceScorer(const TraceBasis& basis) : basis_(basis) {}

  // Demand (kUnknown if not known) and clamped cap of step `t`.
  void Add(int64_t t, double demand, double cap);
  // After the last step; once.
  [[nodiscard]] TraceScore Finish();

 private:
  const TraceBasis& basis_;
  int64_t violations_ = 0;
  TraceScore sum_;
};

// One setting of the knob over all traces.
struct Aggregate {
  double knob = 0;
  double violation_ratio = 0;  // mean over traces
  // Σ mean cap / scale ÷ Σ mean demand / scale; NaN when there is no demand at all.
  double over_allocation = 0;
  double fleet = 0;          // the same without scale: VMs of equal size
  double violation_p90 = 0;  // 90th percentile over traces of the violation ratio
  double depth_p95 = 0;      // of the depth of violations, by trace weight; 0 without violations
  double pinball_95 = 0;     // mean pinball loss over scale as a 95 % quantile, x 100
  double pinball_99 = 0;
};
[[nodiscard]] Aggregate AggregateOf(double knob, absl::Span<const TraceBasis> bases,
                                    absl::Span<const TraceScore> scores);

// `values` of a sweep where its violation ratio crosses `target`, linear in log(violation ratio);
// nullopt when the sweep does not reach it.
[[nodiscard]] std::optional<double> AtViolation(absl::Span<const double> violation_ratios,
                                                absl::Span<const double> values, double target);

// A sweep where it crosses a target.
struct TargetPoint {
  double target = 0;
  std::optional<double> knob, over_allocation, fleet, violation_p90, depth_p95;
};
[[nodiscard]] TargetPoint AtTarget(absl::Span<const Aggregate> sweep, double target);

// Each trace at the setting that meets `target` on it alone: the shape of the forecast, without the
// evenness. Traces that the sweep does not bring there count with a full VM.
struct PerTracePoint {
  double over_allocation = 0;
  double reached_ratio = 0;  // of the traces
};
// `scores[k][i]`: setting k, trace i.
[[nodiscard]] PerTracePoint PerTraceAtTarget(absl::Span<const TraceBasis> bases,
                                             absl::Span<const std::vector<TraceScore>> scores,
                                             double target);

// A knob that asks for a violation ratio, against what came out.
struct Calibration {
  double asked = 0;
  double got = 0;                     // mean over traces
  int64_t long_traces = 0;            // of at least kLongTraceSeconds
  double long_traces_near_ratio = 0;  // of these, within ±50 % of the target; NaN without any
};

// The value below which `percent` of `values` lie, interpolated linearly between neighbours
// (numpy's default); NaN when empty.
[[nodiscard]] double Percentile(std::vector<double> values, double percent);

}  // namespace cloudscale::backtest
