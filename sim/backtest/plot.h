#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "sim/backtest/backtest.h"

namespace cloudscale::backtest {

// Plots as SVG documents: colours that colour-blind people tell apart (Okabe and Ito), axes with
// units, labels at the lines instead of a key. Deterministic.

// One run over one trace: demand, cap, the band from the expected demand to the cap, violations as
// marks below; the warm-up is shaded and, as methods give the whole VM at first, does not count for
// the scale. `steps` are those of Play. Each pixel column shows the range
// of what happened in it, so that no peak is lost.
[[nodiscard]] std::string TracePlot(const DemandTrace& trace, const TraceBasis& basis,
                                    absl::string_view method, double knob, int hold, Loop loop,
                                    const std::vector<PlayedStep>& steps);

// Waste (allocation ÷ demand − 1) against violations for the methods of one loop and hold. The
// best seven at the reference target have colours and are named at their lines, the others are grey
// and listed.
[[nodiscard]] std::string FrontierPlot(const BacktestResult& result, Loop loop, int hold);

}  // namespace cloudscale::backtest
