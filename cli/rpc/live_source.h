#pragma once

#include "absl/status/statusor.h"
#include "cli/top/live_sample.h"
#include "cli/top/top_summary.h"

namespace cloudscale::cli {

class Session;

// One look through ScalerService: GetStatus and all pages of ListVmStates.
[[nodiscard]] absl::StatusOr<LiveSample> ReadLiveSample(Session& session);

// Fills in the actions that began at or after `start` (of the scaler's clock).
absl::Status ReadActionCounts(Session& session, absl::Time start, TopSummary* summary);

}  // namespace cloudscale::cli
