#pragma once

#include <memory>

#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

// The plainest references: size = factor * max(d[t-1], ..., d[t-n]) for n = 1 (`last`), 6 (`max6`)
// and 24 (`max24`) known steps, whatever the horizon. Without a publication; the reserve of 20 % is
// customary. What is expected is the same without the factor.
//
// State: n values. Gaps change nothing.
[[nodiscard]] std::unique_ptr<SizingMethod> MakeLastMethod();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeMax6Method();
[[nodiscard]] std::unique_ptr<SizingMethod> MakeMax24Method();

}  // namespace cloudscale::predictor
