#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The repeating pattern of PRESS (Gong, Gu, Wilkes, CNSM 2010, section III; see signature.h and
// markov.h for the formulas) and what CloudScale (Shen, Subbiah, Gu, Wilkes, SoCC 2011, section 3)
// builds on it:
//   signature    x' = the pattern after the aligned phase, the last value where there is no
//   pattern;
//                size = factor * x'
//   press        x' = the pattern, else the Markov chain's most probable state; size = factor * x';
//                the published padding is 5 % to 10 %
//   cloudscale   x' as press; size = x' + factor * max(burst, remedial) (padding.h), and fast
//                correction of under-estimates: when the pressure P = demand / size reaches 0.9,
//                the next size is at least alpha * size, alpha = 1 + (alpha_max - 1) (P - 0.9) /
//                0.1 + 0.1 for each step that P stays there, at most alpha_max = 2 for CPU, 1.5 for
//                memory.
// The largest x' of the horizon counts. Window: three days, 200 to 4320 steps.
//
// Changed: the pattern is looked for every 1/128 of a window instead of at each step, and followed
// in between; that is every 30 minutes with steps of five minutes.
//
// State: the window, and a pattern of at most half of it. Gaps: the history goes on after them, the
// pattern's phase too. The pressure takes the last `Size` for the allocation in force.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeSignatureMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakePressMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeCloudScaleMethod();

}  // namespace cloudscale::predictor
