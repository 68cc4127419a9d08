#include "services/predictor/sizing/ewma.h"

#include <algorithm>
#include <cmath>

#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr double kMeanGain = 1.0 / 8;
constexpr double kDeviationGain = 1.0 / 4;

class EwmaState final : public RatioState {
 public:
  EwmaState(const SeriesTraits& traits, double deviations)
      : RatioState(traits), deviations_(deviations) {}
  size_t bytes() const override { return sizeof(*this); }

 private:
  void Learn(const Sample& sample) override {
    if (mean_ < 0) {
      mean_ = sample.ratio;
      deviation_ = sample.ratio / 2;
      return;
    }
    const double error = sample.ratio - mean_;
    mean_ += kMeanGain * error;
    const double change = kDeviationGain * (std::abs(error) - deviation_);
    deviation_ += sample.is_censored ? std::max(0.0, change) : change;
  }
  double SizeRatio(int) override { return mean_ + deviations_ * deviation_; }
  double ExpectedRatio(int) override { return mean_; }

  const double deviations_;
  double mean_ = -1;  // before the first value
  double deviation_ = 0;
};

}  // namespace

std::unique_ptr<SizingMethod> MakeEwmaMethod() {
  return MakeMethod(
      {.name = "ewma",
       .description = "Exponential mean plus mean deviations.",
       .source = "Jacobson: Congestion Avoidance and Control, SIGCOMM 1988, appendix A",
       .knob = DeviationKnob(4),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<EwmaState>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
