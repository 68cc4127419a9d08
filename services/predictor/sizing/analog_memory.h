#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "services/predictor/sizing/value_grid.h"

namespace cloudscale::predictor {

// Forecasts by analogy: the moments of the past that were most like the present one, and what came
// after each. How alike two moments are is the squared distance of the values up to them, those
// further back counting less:
//   D(t, a) = kFading · D(t-1, a) + (x[t-a] - x[t])²,
// so that one step costs one pass over the memory. A moment counts exp(-D·(1 - kFading) / 2b² -
// age / A); the
// bandwidth b follows the series so that about kNeighbours moments count in full.
// Source: nearest-neighbour prediction by delay embedding (Farmer and Sidorowich, 1987) with a
// kernel, updated recursively. Values are parts of the capacity. Values are kept in 65535 parts.
// State: 6.5 KiB. Thread safety: thread-compatible.
class AnalogMemory {
 public:
  static constexpr size_t kMoments = 1024;

  void Observe(float value);

  // Distribution of a step out of the next `steps`: from the values that came (`levels`) and from
  // the changes that came, added to the present value (`changes`). `fallback` counts as one more
  // neighbour, alone while there are no others. Returns how many moments counted, weights added up;
  // `Adapt` takes that once a step. At least one value must have been observed.
  float Forecast(int steps, const GridDistribution& fallback, GridDistribution& levels,
                 GridDistribution& changes) const;
  void Adapt(float neighbours);

  // Distribution of all remembered values, each counting the same, and `fallback` as one more.
  void Marginal(const GridDistribution& fallback, GridDistribution& levels) const;

  // Of all remembered values.
  [[nodiscard]] const ValueCounts& counts() const { return counts_; }

  [[nodiscard]] size_t size() const { return static_cast<size_t>(count_); }
  // Value so many steps before the newest; age < size().
  [[nodiscard]] float at_age(size_t age) const {
    return ValueOf(values_[(static_cast<size_t>(newest_) + age) % kMoments]);
  }

  // The capacity grew by the inverse of this factor.
  void Rescale(float factor);

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.values_, self.distances_, self.log_bandwidth_, self.newest_, self.count_);
    archive.Require(self.is_valid());
    if constexpr (!std::is_const_v<Self>) {
      self.Count();
    }
  }

 private:
  [[nodiscard]] bool is_valid() const;
  void Count();

  static constexpr float kFading = 0.9F;
  static constexpr float kNeighbours = 16;
  static constexpr float kRecency = 1.0F / 4096;  // per step of age

  static constexpr float kUnit = 1.0F / 65535;
  [[nodiscard]] static float ValueOf(uint16_t held) { return kUnit * static_cast<float>(held); }

  std::array<uint16_t, kMoments> values_{};  // ring; newest_ is the newest, then older ones
  ValueCounts counts_{};  // of the values; kept along, since each forecast needs it
  std::array<float, kMoments> distances_{};  // by age; [0] unused
  float log_bandwidth_ = -2;
  int32_t newest_ = 0;
  int32_t count_ = 0;
};

}  // namespace cloudscale::predictor
