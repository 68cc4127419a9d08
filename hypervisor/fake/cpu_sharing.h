#pragma once

#include <cstdint>
#include <vector>

namespace cloudscale::hypervisor::fake {

// What one VM asks of the shared cores.
struct CpuClaim {
  double cores = 0;      // most it can use now: demand within vCPUs and cap; >= 0
  int64_t weight = 100;  // > 0
};

// Divides `capacity_cores` work-conservingly: in proportion to the weights, but nobody gets more
// than it claims and what it leaves goes to the others (max-min fairness by water-filling;
// Bertsekas and Gallager, Data Networks, 1992, section 6.5). Exact; O(n log n).
[[nodiscard]] std::vector<double> ShareCores(double capacity_cores,
                                             const std::vector<CpuClaim>& claims);

}  // namespace cloudscale::hypervisor::fake
