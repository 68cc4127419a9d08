#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// Exponential mean plus deviations, as TCP estimates its round trips (Jacobson, Congestion
// Avoidance and Control, SIGCOMM 1988, appendix A):
//   e = x - m;  m <- m + e / 8;  v <- v + (|e| - v) / 4;  size = m + k v, k = 4
// The first value gives m = x, v = x / 2, as there.
//
// Expected: m, whatever the horizon. State: two numbers. Gaps change nothing. Censored: v never
// shrinks.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeEwmaMethod();

}  // namespace cloudscale::predictor
