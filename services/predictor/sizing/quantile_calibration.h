#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "services/predictor/sizing/value_grid.h"

namespace cloudscale::predictor {

// Corrects the quantiles of a forecast by how often its quantiles were exceeded before: a mixture
// of distributions that each hold what they say is too wide in its middle. Each ended forecast is
// counted by the quantiles that it lay between; as a start it is believed as if it had held what it
// says kDoubt times. Source: recalibration by the empirical distribution of past probabilities
// (Kuleshov, Fenner and Ermon, 2018), fading. State: 64 bytes. Thread safety: thread-compatible.
class QuantileCalibration {
 public:
  static constexpr size_t kLevels = 15;
  // Of a forecast: places in the grid of the values that are exceeded with certain probabilities.
  using Ladder = std::array<uint8_t, kLevels>;

  [[nodiscard]] static Ladder LadderOf(const GridDistribution& below);
  // The capacity grew by the inverse of this factor.
  static void Rescale(float factor, Ladder& ladder);
  [[nodiscard]] static bool IsValid(const Ladder& ladder);

  // A forecast has ended with this value; it counts `weight` in (0, 1].
  void Observe(float value, const Ladder& ladder, float weight, float fading);
  // What probabilities of the forecast to ask for, so that its quantiles hold with these growing
  // ones; by the forecast's own word exceeded at most thrice as often, and at least half as often.
  void RatiosFor(absl::Span<const double> ratios, absl::Span<double> asked) const;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.counts_);
    archive.Require(std::all_of(self.counts_.begin(), self.counts_.end(),
                                [](float count) { return count >= 0 && count <= 1e9F; }));
  }

 private:
  std::array<float, kLevels + 1> counts_{};  // by how many values of the ladder were exceeded
};

}  // namespace cloudscale::predictor
