#include "services/predictor/sizing/record_law.h"

#include <cmath>
#include <numeric>

namespace cloudscale::predictor {
namespace {

constexpr float kTail = 2;
constexpr float kPerRun = 0.25F;
// Less is as good as nothing.
constexpr float kLeast = 1e-5F;

}  // namespace

void LargestBySeen(int steps, const ValueCounts& seen, GridDistribution& below) {
  const ValueGrid& grid = ValueGrid::Get();
  const auto ahead = static_cast<float>(steps);
  const auto count = static_cast<float>(std::accumulate(seen.begin(), seen.end(), 0));
  const float record = ahead / (count + ahead);
  size_t largest = ValueGrid::kSize - 1;
  while (largest > 0 && seen[largest] == 0 && seen[largest + 1] == 0) {
    --largest;
  }
  const float inverse = 1 / grid[largest];
  for (size_t k = largest; k < ValueGrid::kSize; ++k) {
    below[k] = 1 - record / (1 + kTail * (grid[k] * inverse - 1));
  }
  const float log_part = std::log(1 - record);
  int above = 0;
  float part = 1 - record;
  for (size_t k = largest; k-- > 0;) {
    if (seen[k + 1] > 0) {
      above += seen[k + 1];
      part = part < kLeast ? 0 : std::exp(log_part * (1 + kPerRun * static_cast<float>(above)));
    }
    below[k] = part;
  }
}

}  // namespace cloudscale::predictor
