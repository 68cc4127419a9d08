#pragma once

#include <cstdint>
#include <vector>

#include "services/scaler/policy.h"

namespace cloudscale::scaler {

// One taker of a shared amount.
struct Claim {
  double floor = 0;   // kept whatever happens; 0 <= floor
  double wish = 0;    // never gets more; a wish below the floor counts as the floor
  double weight = 1;  // > 0; share within its class
  ServiceClass service_class = ServiceClass::kStandard;
};

// Shares `capacity`. Every claim keeps its floor, also when the floors alone exceed the capacity
// (nothing grows then). What remains serves class by class, GUARANTEED first, BEST_EFFORT last, and
// within a class in proportion to weight until wishes are met (weighted max-min fairness; the
// "differentiated" rule of CloudScale section 3.5 with classes as priorities).
// Result in the order of `claims`; the sum is at most max(capacity, sum of floors). O(n log n).
[[nodiscard]] std::vector<double> WaterFill(double capacity, const std::vector<Claim>& claims);

}  // namespace cloudscale::scaler
