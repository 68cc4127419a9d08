#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The day before, with a reserve: x'[t] = max of the demand of the day before over the steps of the
// horizon, the last value where there is none yet; size = x' + k * D, where D is the exponential
// mean of |x - x'| one step ahead with a half-life of an eighth of a day, at least 12 steps.
//
// The seasonal naive forecast is textbook (Hyndman & Athanasopoulos, Forecasting: Principles and
// Practice, section 5.2); the reserve has no publication, k = 3 is chosen.
//
// State: one float for each step of a day, in at most 1440 slots (the largest of a slot counts).
// Gaps: the day goes on, its slots keep what the day before had. Censored: D never shrinks.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeSeasonalNaiveMethod();

}  // namespace cloudscale::predictor
