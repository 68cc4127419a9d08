#include "services/predictor/sizing/value_grid.h"

#include <cmath>

namespace cloudscale::predictor {

const ValueGrid& ValueGrid::Get() {
  static const ValueGrid grid;
  return grid;
}

ValueGrid::ValueGrid() : points_(), inverses_(), lookup_() {
  for (size_t i = 0; i < kSize; ++i) {
    points_[i] = static_cast<float>(
        0.01 * std::pow(100.0, static_cast<double>(i) / static_cast<double>(kSize - 1)));
  }
  points_[kSize - 1] = 1;
  for (size_t i = 0; i < kSize; ++i) {
    const float next = i + 1 < kSize ? points_[i + 1] : points_[i] * 1.08F;
    inverses_[i] = 1 / std::sqrt(points_[i] * next);
  }
  size_t i = 0;
  for (size_t k = 0; k <= kLookup; ++k) {
    const float value = static_cast<float>(k) / static_cast<float>(kLookup);
    while (i + 1 < kSize && points_[i] < value) {
      ++i;
    }
    lookup_[k] = static_cast<uint8_t>(i > 0 && points_[i] > value ? i - 1 : i);
  }
}

}  // namespace cloudscale::predictor
