#include "services/predictor/sizing/seasonal_naive.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "services/predictor/sizing/day_slots.h"
#include "services/predictor/sizing/decayed_mean.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr int64_t kMaxSlots = 1440;
constexpr float kUnknown = -1;

class SeasonalNaiveState final : public RatioState {
 public:
  SeasonalNaiveState(const SeriesTraits& traits, double deviations)
      : RatioState(traits),
        deviations_(deviations),
        day_(traits, kMaxSlots),
        yesterday_(day_.count(), kUnknown),
        deviation_(std::max(12.0, static_cast<double>(day_.steps_per_day()) / 8)) {}
  size_t bytes() const override { return sizeof(*this) + HeapBytes(yesterday_); }

 private:
  void Learn(const Sample& sample) override {
    const double error = has_last_ ? std::abs(sample.ratio - ExpectedRatio(1)) : 0;
    if (has_last_) {
      deviation_.Add(sample.is_censored ? std::max(error, deviation_.value()) : error);
    }
    last_ = sample.ratio;
    has_last_ = true;
    slot_maximum_ = std::max(slot_maximum_, static_cast<float>(sample.ratio));
    Move(1);
  }
  void Pass(int64_t steps) override { Move(steps); }

  // The slot that runs still says what the day before had; it is replaced when it is left.
  void Move(int64_t steps) {
    const size_t before = day_.Slot(0);
    const bool is_left = steps > 1 || day_.Slot(1) != before || day_.count() == 1;
    if (is_left && slot_maximum_ != kUnknown) {
      yesterday_[before] = slot_maximum_;
      slot_maximum_ = kUnknown;
    }
    day_.Advance(steps);
  }

  double SizeRatio(int steps) override {
    return ExpectedRatio(steps) + deviations_ * deviation_.value();
  }
  double ExpectedRatio(int steps) override {
    double largest = 0;
    day_.ForEachAhead(steps, [&](size_t slot) {
      const float value = yesterday_[slot];
      largest = std::max(largest, value == kUnknown ? last_ : static_cast<double>(value));
    });
    return largest;
  }

  const double deviations_;
  DaySlots day_;
  std::vector<float> yesterday_;
  DecayedMean deviation_;
  float slot_maximum_ = kUnknown;
  double last_ = 0;
  bool has_last_ = false;
};

}  // namespace

std::unique_ptr<SizingMethod> MakeSeasonalNaiveMethod() {
  return MakeMethod(
      {.name = "seasonal_naive",
       .description = "The same time of the day before, plus deviations of its errors.",
       .source = "Hyndman, Athanasopoulos: Forecasting: Principles and Practice, section 5.2",
       .knob = DeviationKnob(3),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<SeasonalNaiveState>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
