#pragma once

#include <string>

#include "sim/backtest/backtest.h"

namespace cloudscale::backtest {

// League tables in text, one for each loop and hold; the calibration of methods whose knob is a
// target below. Lines end in '\n'; no trailing spaces.
[[nodiscard]] std::string TableReport(const BacktestResult& result);

// The same tables in Markdown, without the explanation of the columns (docs/backtest.md has it).
[[nodiscard]] std::string MarkdownReport(const BacktestResult& result);

// One JSON document, numbers in full precision, absent ones null. Keys are only ever added:
//
//   schema    "cloudscale.backtest/1"
//   targets   violation ratios; reference_target: the one that per-trace figures are for
//   traces[]  name, resource, steps, unknown_steps, step_seconds, capacity, warm_up_steps,
//             scored_steps, mean_demand, scale
//   runs[]    loop, hold, method, knob_meaning,
//             targets[]      target, knob, over_allocation, fleet, violation_p90, depth_p95
//             per_trace      over_allocation, reached_ratio
//             best_pinball_95, best_pinball_99
//             published      as an entry of sweep, or null
//             sweep[]        knob, violation_ratio, over_allocation, fleet, violation_p90,
//                            depth_p95, pinball_95, pinball_99
//             calibration[]  asked, got, long_traces, long_traces_near_ratio
//             traces[]       trace, knob, violation_ratio, mean_cap, mean_under, mean_over
[[nodiscard]] std::string JsonReport(const BacktestResult& result);

}  // namespace cloudscale::backtest
