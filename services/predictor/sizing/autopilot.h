#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The moving-window recommender of Autopilot (Rzadca et al., EuroSys 2020, section 3.2.2):
//   h[b_k] = b_k * sum over samples in bucket k of 2^(-age / half-life)     (load-adjusted)
//   S = P95(h), half-life 12 h for CPU; P98(h), half-life 48 h for memory
//   size = margin * max of S over the last hour, margin 1.10 to 1.15
// In 200 buckets of equal width.
//
// Changed: the maximum of the last hour is kept in 12 parts of it, so up to a twelfth more counts.
//
// Expected: without the margin, whatever the horizon. State: 200 + 13 doubles. Gaps change nothing.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeAutopilotMethod();

}  // namespace cloudscale::predictor
