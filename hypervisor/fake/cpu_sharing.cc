#include "hypervisor/fake/cpu_sharing.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "common/check/check.h"

namespace cloudscale::hypervisor::fake {

std::vector<double> ShareCores(double capacity_cores, const std::vector<CpuClaim>& claims) {
  std::vector<size_t> order(claims.size());
  std::iota(order.begin(), order.end(), size_t{0});
  double weights = 0;
  for (const CpuClaim& claim : claims) {
    CS_CHECK(claim.cores >= 0 && claim.weight > 0);
    weights += static_cast<double>(claim.weight);
  }
  // Who needs least per weight is satisfied first; the level only rises from then on.
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const double left = claims[a].cores * static_cast<double>(claims[b].weight);
    const double right = claims[b].cores * static_cast<double>(claims[a].weight);
    return left != right ? left < right : a < b;
  });
  std::vector<double> granted(claims.size(), 0.0);
  double left = std::max(capacity_cores, 0.0);
  for (const size_t i : order) {
    const auto weight = static_cast<double>(claims[i].weight);
    granted[i] = std::min(claims[i].cores, left * weight / weights);
    left = std::max(left - granted[i], 0.0);
    weights -= weight;
  }
  return granted;
}

}  // namespace cloudscale::hypervisor::fake
