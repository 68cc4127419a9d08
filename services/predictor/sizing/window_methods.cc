#include "services/predictor/sizing/window_methods.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr double kReserve = 1.2;

template <size_t kSteps>
class WindowMaximumState final : public RatioState {
 public:
  WindowMaximumState(const SeriesTraits& traits, double factor)
      : RatioState(traits), factor_(factor) {}
  size_t bytes() const override { return sizeof(*this); }

 private:
  void Learn(const Sample& sample) override {
    window_[next_] = sample.ratio;
    next_ = (next_ + 1) % kSteps;
  }
  double SizeRatio(int steps) override { return factor_ * ExpectedRatio(steps); }
  double ExpectedRatio(int) override { return *std::max_element(window_.begin(), window_.end()); }

  const double factor_;
  std::array<double, kSteps> window_{};
  size_t next_ = 0;
};

template <size_t kSteps>
std::unique_ptr<SizingMethod> Make(std::string name, std::string description) {
  return MakeMethod(
      {.name = std::move(name),
       .description = std::move(description),
       .source = "customary; no publication",
       .knob = FactorKnob(kReserve),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<WindowMaximumState<kSteps>>(traits, knob);
       }});
}

}  // namespace

std::unique_ptr<SizingMethod> MakeLastMethod() {
  return Make<1>("last", "The last value times a factor.");
}
std::unique_ptr<SizingMethod> MakeMax6Method() {
  return Make<6>("max6", "Largest of the last 6 values times a factor.");
}
std::unique_ptr<SizingMethod> MakeMax24Method() {
  return Make<24>("max24", "Largest of the last 24 values times a factor.");
}

}  // namespace cloudscale::predictor
