#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "sim/backtest/demand_trace.h"

namespace cloudscale::bench {

using Traces = std::vector<backtest::DemandTrace>;

// $CLOUDSCALE_TRACES, or nothing.
[[nodiscard]] std::string DefaultTraceDirectory();

// Reads a set of recorded traces: `traces.csv.gz` (trace,t,value) and, if there is one,
// `manifest.csv` (trace,pool,resource,…) for the resource of each. With `large` > 0 every so many
// rows of `large_planetlab.csv.gz` (day,vm,p0,…: per cent of the VM at 5 minutes) instead.
[[nodiscard]] absl::StatusOr<Traces> ReadTraceSet(const std::string& directory, int64_t large);

// Keeps those of at least so many days.
void KeepLong(double days, Traces& traces);

}  // namespace cloudscale::bench
