#include "services/predictor/sizing/ratio_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace cloudscale::predictor {
namespace {

constexpr double kSmallestRatio = 1e-12;
// A held-back demand counts as so much more than was seen of it.
constexpr double kCensoredLift = 1.2;

double Bounded(double ratio, double floor) {
  return std::isfinite(ratio) ? std::clamp(std::max(ratio, floor), 0.0, 1.0) : 1.0;
}

class SpecifiedMethod final : public SizingMethod {
 public:
  explicit SpecifiedMethod(MethodSpec spec) : spec_(std::move(spec)) {}
  absl::string_view name() const override { return spec_.name; }
  absl::string_view description() const override { return spec_.description; }
  absl::string_view source() const override { return spec_.source; }
  const SizingKnob& knob() const override { return spec_.knob; }
  std::unique_ptr<SizingState> Start(const SeriesTraits& traits, double knob) const override {
    return spec_.start(traits, knob);
  }

 private:
  const MethodSpec spec_;
};

}  // namespace

void RatioState::HoldFloor() {
  if (has_observed_) {
    size_floor_ = Bounded(SizeRatio(asked_steps_), size_floor_);
    expected_floor_ = Bounded(ExpectedRatio(asked_steps_), expected_floor_);
  }
}

void RatioState::Observe(const StepDemand& step) {
  Sample sample{.is_censored = step.is_censored,
                .allocation = step.allocation / capacity_,
                .is_complete = step.is_complete,
                .is_judged = step.is_judged};
  sample.seen = step.demand > 0 ? std::min(1.0, step.demand / capacity_) : 0.0;
  if (sample.seen < kSmallestRatio) {
    sample.seen = 0;
  }
  sample.ratio = sample.seen;
  sample.held = step.held >= 0 ? std::min(sample.seen, step.held / capacity_) : sample.seen;
  if (step.is_censored || !step.is_complete) {
    HoldFloor();
  } else {
    size_floor_ = 0;
    expected_floor_ = 0;
  }
  if (step.is_censored) {
    sample.ratio = std::min(1.0, std::max(sample.seen, kCensoredLift * sample.held));
    if (has_observed_) {
      sample.ratio = Bounded(ExpectedRatio(1), sample.ratio);
    }
  }
  Learn(sample);
  has_observed_ = true;
}

double RatioState::SetCapacity(double capacity) {
  const double factor = capacity_ / capacity;
  capacity_ = capacity;
  for (double* ratio : {&applied_ratio_, &size_floor_, &expected_floor_}) {
    *ratio = std::min(1.0, *ratio * factor);
  }
  return factor;
}

void RatioState::Skip(int64_t steps) {
  HoldFloor();
  Pass(steps);
}

double RatioState::Size(int steps) {
  if (!has_observed_) {
    return capacity_;
  }
  asked_steps_ = steps;
  applied_ratio_ = Bounded(SizeRatio(steps), size_floor_);
  return applied_ratio_ * capacity_;
}

double RatioState::Expected(int steps) {
  return has_observed_ ? Bounded(ExpectedRatio(steps), expected_floor_) * capacity_ : capacity_;
}

int64_t StepsIn(absl::Duration time, const SeriesTraits& traits) {
  return std::max<int64_t>(1, std::llround(absl::FDivDuration(time, traits.step)));
}

int64_t StepsPerDay(const SeriesTraits& traits) { return StepsIn(absl::Hours(24), traits); }

double DecayPerStep(double steps) { return std::exp2(-1 / steps); }

std::unique_ptr<SizingMethod> MakeMethod(MethodSpec spec) {
  return std::make_unique<SpecifiedMethod>(std::move(spec));
}

SizingKnob FactorKnob(double published) {
  return {
      .meaning = "factor on the recommendation",
      .published = published,
      .sweep = {0.5,  0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5,
                1.65, 1.8, 2,   2.3, 2.6,  3,   3.5,  4, 5,    7,   10,   15,  25,   50,  100}};
}

SizingKnob DeviationKnob(double published) {
  return {.meaning = "deviations above the expectation",
          .published = published,
          .sweep = {0, 0.25, 0.5, 0.75, 1,  1.25, 1.5, 1.75, 2,  2.25, 2.5, 3,   3.5, 4,  4.5,
                    5, 6,    7,   8,    10, 12,   15,  20,   30, 50,   80,  120, 200, 400}};
}

}  // namespace cloudscale::predictor
