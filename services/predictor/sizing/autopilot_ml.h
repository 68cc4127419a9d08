#pragma once

#include <array>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The learning recommender of Autopilot (Rzadca et al., EuroSys 2020, section 3.2.3). Models
// m = (decay d_m, margin M_m) each choose a limit; the recommender follows the model that was the
// cheapest lately, and both change with reluctance:
//   o(L) <- (1 - d_m) o(L) + d_m [x > L];   u(L) <- (1 - d_m) u(L) + d_m (L - x)+ / mean
//   L'_m = argmin_L w_o o(L) + u(L) + w_l [L != L'_m before];   L_m = (1 + M_m) L'_m
//   c_m <- (1 - d) c_m + d (w_o [x > L_m] + (L_m - x)+ / mean + w_l [L_m changed])
//   m = argmin_m c_m + w_m [m != m before] + w_l [L_m != L before]
// The knob is w_o; the weight of u is 1. 96 limits from 1 % of the capacity to all of it, growing
// by 5 %; half-lives 30 minutes, 2 hours, 12 hours and 2 days; margins 0, 5, 10 and 20 %.
//
// Changed: u counts how far a limit is above the demand, as a part of the mean demand. The
// published one counts the samples below the limit, which by itself does not make a lower limit
// better. The weights are not published: w_l = 0.01, w_m = 0.02 and w_o = 15 are chosen, the costs
// c_m halve in a quarter of a day.
//
// Expected: the median of the model with the 2-hour half-life. State: 4 x 96 doubles and 16 models.
// Gaps change nothing.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeAutopilotMlMethod();

// Index of the cheapest limit for a histogram: weights[k] is the weight of demand in
// (limits[k - 1], limits[k]], counted as limits[k]; they sum up to `total` > 0. `before` is the
// index of the last choice, or limits.size(). The lowest of equals.
[[nodiscard]] size_t CheapestLimit(absl::Span<const double> weights, double total,
                                   absl::Span<const double> limits, double mean,
                                   double overrun_cost, double change_cost, size_t before);

}  // namespace cloudscale::predictor
