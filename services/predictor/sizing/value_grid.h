#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace cloudscale::predictor {

// Candidate sizes of a VM as parts of its capacity: kSize points from 1 % to 100 %, each 2.3 %
// above the one before, so that a size is never further than that above what is needed.
class ValueGrid {
 public:
  static constexpr size_t kSize = 201;
  static constexpr float kLowest = 0.01F;

  // The one grid. Thread safety: immutable.
  static const ValueGrid& Get();

  [[nodiscard]] float operator[](size_t i) const { return points_[i]; }
  // A value between points i and i + 1, as its inverse and the inverse's square.
  [[nodiscard]] float inverse(size_t i) const { return inverses_[i]; }
  // The lowest point that is not below `value`; kSize beyond the last. O(1).
  [[nodiscard]] size_t CellOf(float value) const {
    if (value <= kLowest) {
      return 0;
    }
    if (value > 1) {
      return kSize;
    }
    size_t i = lookup_[static_cast<size_t>(value * kLookup)];
    while (points_[i] < value) {
      ++i;
    }
    return i;
  }

 private:
  static constexpr size_t kLookup = 8192;
  ValueGrid();

  std::array<float, kSize> points_;
  std::array<float, kSize> inverses_;
  std::array<uint8_t, kLookup + 1> lookup_;
};

// Values in each cell of the grid (ValueGrid::CellOf).
using ValueCounts = std::array<uint16_t, ValueGrid::kSize + 1>;
// Probability that demand is at most each point of the grid.
using GridDistribution = std::array<float, ValueGrid::kSize>;

}  // namespace cloudscale::predictor
