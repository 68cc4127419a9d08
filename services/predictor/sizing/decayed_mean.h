#pragma once

#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {

// Mean of all values with weights 2^(-age / half_life), normalised, so that the first values are
// not drawn to zero. Zero before the first value.
class DecayedMean {
 public:
  // In values.
  explicit DecayedMean(double half_life) : gain_(1 - DecayPerStep(half_life)) {}
  void Add(double value) {
    sum_ += gain_ * (value - sum_);
    weight_ += gain_ * (1 - weight_);
  }
  [[nodiscard]] double value() const { return weight_ > 0 ? sum_ / weight_ : 0; }

 private:
  double gain_;
  double sum_ = 0;
  double weight_ = 0;
};

}  // namespace cloudscale::predictor
