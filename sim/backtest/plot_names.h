#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "sim/backtest/demand_trace.h"

namespace cloudscale::backtest {

// `text` as it may stand in the name of a file on any system: letters, digits, '_' and '-' stay,
// everything else becomes '_'; cut to 80 bytes, never empty.
[[nodiscard]] std::string FileWord(absl::string_view text);

// A word for each of `traces` for the name of its plot: its name as a FileWord. Traces whose words
// are the same, also when only in case, get that of their file in front; what is then still the
// same gets a number, in the order given. Depends on nothing but names and files.
[[nodiscard]] std::vector<std::string> PlotWords(const std::vector<DemandTrace>& traces);

}  // namespace cloudscale::backtest
