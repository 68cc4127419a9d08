#pragma once

#include <array>
#include <cstddef>

#include "services/predictor/sizing/value_grid.h"

namespace cloudscale::predictor {

// A point forecast with what it was wrong by: an exponentially fading histogram of scaled residuals
// z = (demand - point) / scale, where the scale is the recent mean absolute residual. Together they
// are a distribution of demand whatever shape the errors have. Bins are narrow where quantiles are
// asked for (z up to 6) and grow by 22 % beyond. Values are parts of the capacity. State: 256
// bytes. Thread safety: thread-compatible.
class ResidualExpert {
 public:
  static constexpr size_t kBins = 61;

  // Takes the point forecast for the steps to come.
  void Point(float point) { point_ = point; }
  // One step of that point's time: demand, and the factor by which the histogram fades. The first
  // sets the scale only.
  void Observe(float demand, float fading);

  // Smallest value that demand stays within with this probability.
  [[nodiscard]] float Quantile(float ratio) const;
  void Distribution(GridDistribution& below) const;

  // The capacity grew by the inverse of this factor.
  void Rescale(float factor);
  // The histogram, adding up to one; it does not depend on the scale.
  [[nodiscard]] std::array<float, kBins> Shape() const;
  // Starts with this shape as if it had been seen for so many steps.
  void StartWith(const float* shape, float steps);
  // What was learnt counts as at most so many steps.
  void KeepSteps(float count);

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.histogram_, self.point_, self.scale_sum_, self.scale_weight_);
    archive.Require(self.is_valid());
  }

 private:
  [[nodiscard]] float scale() const;
  [[nodiscard]] bool is_valid() const;

  std::array<float, kBins> histogram_ = [] {
    std::array<float, kBins> flat{};
    flat.fill(1e-3F);
    return flat;
  }();
  float point_ = 0;
  float scale_sum_ = 0;
  float scale_weight_ = 0;
};

}  // namespace cloudscale::predictor
