#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// Exponential smoothing with a damped trend (Gardner & McKenzie, Management Science 31, 1985), and
// with an additive season of one day (Winters, Management Science 6, 1960):
//   e = x - (l + phi b + s)
//   l <- l + phi b + alpha e;  b <- phi b + alpha beta e;  s <- s + gamma (1 - alpha) e
//   x'[h] = l + (phi + ... + phi^h) b + s[h];  phi = 0.9
//   size = max of x'[1..steps] + k * sigma, sigma^2 the decayed mean of e^2
// alpha in {0.1, 0.3, 0.6, 0.95} x beta in {0, 0.05} run side by side (`holt`); `holt_winters` adds
// the same with gamma = 0.2. The one with the least decayed squared error speaks; errors halve in a
// quarter of a day, at least 50 steps. The season begins after the first day as that day's
// difference from its mean, smoothed over 1/24 of a day.
//
// The grid and k = 3 are chosen; the publications fit the parameters offline. gamma is shared among
// the steps of a slot.
//
// State: 8 or 16 models; for the season one float for each of 8 models and of at most 288 slots of
// the day. Gaps: the level stays, the trend ends, the day goes on. Censored: sigma never shrinks.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeHoltMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeHoltWintersMethod();

}  // namespace cloudscale::predictor
