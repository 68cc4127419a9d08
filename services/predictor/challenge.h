#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace cloudscale::predictor {

// Whether the challenger does better than the model in use, by the costs of the same steps. Errors
// of neighbouring steps resemble each other, so the mean differences of blocks of steps are
// compared, not of steps: the advantage is their mean over its standard error (a paired t statistic
// over batch means; Law and Kelton, Simulation Modeling and Analysis). Old blocks fade, half in 200
// of them, so that a challenger cannot live on the past. Thread safety:
// thread-compatible.
class Challenge {
 public:
  static constexpr int kBlockSteps = 30;
  static constexpr double kLeastBlocks = 9;  // ten, faded

  // Costs of one step, >= 0, in the unit of the series.
  void Observe(double in_use, double challenger) {
    open_difference_ += in_use - challenger;
    if (++open_steps_ < kBlockSteps) {
      return;
    }
    const double difference = open_difference_ / kBlockSteps;
    open_steps_ = 0;
    open_difference_ = 0;
    blocks_ = blocks_ * kFading + 1;
    sum_ = sum_ * kFading + difference;
    squares_ = squares_ * kFading + difference * difference;
  }

  // How much less a step costs with the challenger, in standard errors; 0 before enough blocks.
  [[nodiscard]] double advantage() const {
    if (!is_telling()) {
      return 0;
    }
    const double mean = sum_ / blocks_;
    const double variance = (squares_ / blocks_ - mean * mean) * blocks_ / (blocks_ - 1);
    if (!(variance > 0)) {
      return mean > 0 ? kCertain : mean < 0 ? -kCertain : 0;
    }
    return std::clamp(mean / std::sqrt(variance / blocks_), -kCertain, kCertain);
  }
  [[nodiscard]] bool is_telling() const { return blocks_ >= kLeastBlocks; }
  // Blocks that count.
  [[nodiscard]] double blocks() const { return blocks_; }

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.open_difference_, self.open_steps_, self.blocks_, self.sum_, self.squares_);
    archive.Require(self.open_steps_ >= 0 && self.open_steps_ < kBlockSteps && self.blocks_ >= 0 &&
                    self.squares_ >= 0);
  }

 private:
  static constexpr double kFading = 0.99654026;  // half in 200
  static constexpr double kCertain = 1000;       // where blocks do not differ at all

  double open_difference_ = 0;
  int32_t open_steps_ = 0;
  double blocks_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

}  // namespace cloudscale::predictor
