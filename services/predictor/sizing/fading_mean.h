#pragma once

#include <cmath>

namespace cloudscale::predictor {

// Exponentially fading mean that is exact from the first value on. Thread safety:
// thread-compatible.
struct FadingMean {
  float sum = 0;
  float weight = 0;

  void Add(float value, float gain) {
    sum += gain * (value - sum);
    weight += gain * (1 - weight);
  }
  [[nodiscard]] float value() const { return weight > 0 ? sum / weight : 0; }

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.sum, self.weight);
    // Means of parts.
    archive.Require(self.sum >= 0 && self.weight >= 0 && self.weight <= 1.001F &&
                    self.sum <= 1.001F * self.weight);
  }
};

// Gain with which weights halve within so many steps.
[[nodiscard]] inline float GainOf(double half_life) {
  return static_cast<float>(1 - std::exp2(-1 / half_life));
}

}  // namespace cloudscale::predictor
