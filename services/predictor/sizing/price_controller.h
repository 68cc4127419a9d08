#pragma once

#include <algorithm>
#include <cmath>

namespace cloudscale::predictor {

// The price of a violation, in allocation of one peak for one step, steered so that a target rate
// is met. It starts at what reaches the target on a typical series, and follows the measured rate:
//   price = base(target) · ((V + c) / (target · N + c)) ^ kGain
// with violations V and steps N fading (half in kMemory steps) and c steps of benefit of the doubt.
// A proportional rule on the ratio, unlike adaptive conformal inference (Gibbs and Candès, 2021),
// lets series differ a little where equality would be dear, and does not swing with each violation.
// It never falls below kLeast of its base.
// Thread safety: thread-compatible.
class PriceController {
 public:
  // `target` in (0, 0.5].
  explicit PriceController(double target) : target_(target) {}

  void Observe(bool is_violation) {
    violations_ = violations_ * kFading + (is_violation ? 1 : 0);
    steps_ = steps_ * kFading + 1;
  }
  [[nodiscard]] double price() const {
    const double ratio = (violations_ + kDoubt) / (target_ * steps_ + kDoubt);
    return base() * std::max(kLeast, std::pow(ratio, kGain));
  }
  // What reaches the target on a typical series, as fitted to recorded ones.
  [[nodiscard]] double base() const { return std::max(0.32, 0.011 * std::pow(target_, -1.3)); }
  [[nodiscard]] double target() const { return target_; }
  void set_target(double target) { target_ = target; }

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.violations_, self.steps_);
    archive.Require(self.violations_ >= 0 && self.steps_ >= self.violations_ &&
                    self.steps_ <= 1 / (1 - kFading));
  }

 private:
  static constexpr double kGain = 2.5;
  // A flat series must not be starved for the sake of a target that it need not use up.
  static constexpr double kLeast = 0.15;
  static constexpr double kDoubt = 6;
  static constexpr double kFading = 0.99976898;  // half in 3000 steps

  double target_;
  double violations_ = 0;
  double steps_ = 0;
};

}  // namespace cloudscale::predictor
