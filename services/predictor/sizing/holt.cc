#include "services/predictor/sizing/holt.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "services/predictor/sizing/day_slots.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr double kDamping = 0.9;
constexpr std::array<double, 4> kAlphas = {0.1, 0.3, 0.6, 0.95};
constexpr std::array<double, 2> kBetas = {0.0, 0.05};
constexpr double kGamma = 0.2;
constexpr size_t kPlain = kAlphas.size() * kBetas.size();
constexpr int64_t kMaxSlots = 288;
// A spread before any error is known, part of the capacity squared.
constexpr double kFirstVariance = 1e-4;
// The trend of later steps is lost in rounding.
constexpr int kTrendSteps = 64;

struct Model {
  double alpha = 0;
  double beta = 0;
  double level = 0;
  double trend = 0;
  double squared_error = 0;
};

class HoltState final : public RatioState {
 public:
  HoltState(const SeriesTraits& traits, double deviations, bool is_seasonal)
      : RatioState(traits),
        deviations_(deviations),
        is_seasonal_(is_seasonal && StepsPerDay(traits) >= 4),
        day_(traits, kMaxSlots),
        decay_(DecayPerStep(std::max(50.0, static_cast<double>(day_.steps_per_day()) / 4))),
        gamma_(kGamma * static_cast<double>(day_.count()) /
               static_cast<double>(day_.steps_per_day())),
        models_(is_seasonal_ ? 2 * kPlain : kPlain) {
    for (size_t m = 0; m < models_.size(); ++m) {
      models_[m].alpha = kAlphas[m % kPlain / kBetas.size()];
      models_[m].beta = kBetas[m % kBetas.size()];
    }
    if (is_seasonal_) {
      seasons_.assign(kPlain * day_.count(), 0);
      first_day_.assign(day_.count(), 0);
    }
  }
  size_t bytes() const override {
    return sizeof(*this) + HeapBytes(models_) + HeapBytes(seasons_) + HeapBytes(first_day_);
  }

 private:
  [[nodiscard]] bool has_season(size_t model) const { return model >= kPlain; }
  float& Season(size_t model, size_t slot) {
    return seasons_[(model - kPlain) * day_.count() + slot];
  }

  void Learn(const Sample& sample) override {
    const double x = sample.ratio;
    const size_t slot = day_.Slot(0);
    if (!has_level_) {
      for (Model& model : models_) {
        model.level = x;
      }
      has_level_ = true;
    } else {
      Update(x, slot, sample.is_censored);
    }
    last_ = x;
    Record(1);
  }

  void Update(double x, size_t slot, bool is_censored) {
    const size_t best = Best();
    for (size_t m = 0; m < models_.size(); ++m) {
      Model& model = models_[m];
      const double forecast = model.level + kDamping * model.trend +
                              (has_season(m) ? static_cast<double>(Season(m, slot)) : 0.0);
      const double error = x - forecast;
      const double square = error * error;
      if (m == best) {
        const double change = (1 - decay_) * (square - variance_);
        variance_ += is_censored ? std::max(0.0, change) : change;
      }
      model.squared_error = decay_ * model.squared_error + square;
      model.level += kDamping * model.trend + model.alpha * error;
      model.trend = kDamping * model.trend + model.alpha * model.beta * error;
      if (has_season(m) && is_season_known_) {
        Season(m, slot) += static_cast<float>(gamma_ * (1 - model.alpha) * error);
      }
    }
  }

  void Pass(int64_t steps) override {
    for (Model& model : models_) {
      model.trend = 0;
    }
    Record(steps);
  }

  // Lets time pass; during the first day, with the last value known.
  void Record(int64_t steps) {
    if (is_seasonal_ && !is_season_known_ && has_level_) {
      for (int64_t i = 0; i < steps && first_steps_ < day_.steps_per_day(); ++i, ++first_steps_) {
        float& value = first_day_[day_.Slot(i)];
        value = std::max(value, static_cast<float>(last_));
      }
      if (first_steps_ == day_.steps_per_day()) {
        StartSeason();
      }
    }
    day_.Advance(steps);
  }

  void StartSeason() {
    const auto count = static_cast<std::ptrdiff_t>(first_day_.size());
    const std::ptrdiff_t reach = std::max<std::ptrdiff_t>(1, count / 48);
    double mean = 0;
    for (const float value : first_day_) {
      mean += static_cast<double>(value) / static_cast<double>(count);
    }
    for (std::ptrdiff_t slot = 0; slot < count; ++slot) {
      double sum = 0;
      for (std::ptrdiff_t i = -reach; i <= reach; ++i) {
        sum += static_cast<double>(first_day_[static_cast<size_t>((slot + i + count) % count)]);
      }
      const double season = sum / static_cast<double>(2 * reach + 1) - mean;
      for (size_t m = kPlain; m < models_.size(); ++m) {
        Season(m, static_cast<size_t>(slot)) = static_cast<float>(season);
      }
    }
    for (size_t m = kPlain; m < models_.size(); ++m) {
      models_[m].level = last_ - static_cast<double>(Season(m, day_.Slot(0)));
    }
    is_season_known_ = true;
    first_day_ = {};
  }

  [[nodiscard]] size_t Best() const {
    size_t best = 0;
    for (size_t m = 1; m < models_.size(); ++m) {
      if (models_[m].squared_error < models_[best].squared_error) {
        best = m;
      }
    }
    return best;
  }

  double SizeRatio(int steps) override {
    return ExpectedRatio(steps) + deviations_ * std::sqrt(variance_);
  }
  double ExpectedRatio(int steps) override {
    const size_t best = Best();
    const Model& model = models_[best];
    if (!has_season(best)) {
      // The path is monotone: its largest value is the first or the last.
      return model.level + model.trend * TrendSum(model.trend > 0 ? steps : 1);
    }
    double largest = 0;
    double trend_sum = 0;
    double power = 1;
    const int64_t last_step = std::min<int64_t>(steps, day_.steps_per_day());
    for (int64_t h = 0; h < last_step; ++h) {
      power *= kDamping;
      trend_sum += power;
      largest = std::max(largest, model.level + trend_sum * model.trend +
                                      static_cast<double>(Season(best, day_.Slot(h))));
    }
    return largest;
  }

  static double TrendSum(int steps) {
    return kDamping * (1 - std::pow(kDamping, std::min(steps, kTrendSteps))) / (1 - kDamping);
  }

  const double deviations_;
  const bool is_seasonal_;
  DaySlots day_;
  const double decay_;
  const double gamma_;
  std::vector<Model> models_;
  std::vector<float> seasons_;    // of the models from kPlain on
  std::vector<float> first_day_;  // largest of each slot; empty when it is over
  int64_t first_steps_ = 0;
  bool is_season_known_ = false;
  bool has_level_ = false;
  double last_ = 0;
  double variance_ = kFirstVariance;
};

template <bool kIsSeasonal>
std::unique_ptr<SizingState> Start(const SeriesTraits& traits, double knob) {
  return std::make_unique<HoltState>(traits, knob, kIsSeasonal);
}

}  // namespace

std::unique_ptr<SizingMethod> MakeHoltMethod() {
  return MakeMethod({.name = "holt",
                     .description = "Exponential smoothing with a damped trend, plus deviations.",
                     .source = "Gardner, McKenzie: Forecasting Trends in Time Series, Management "
                               "Science 31, 1985",
                     .knob = DeviationKnob(3),
                     .start = &Start<false>});
}

std::unique_ptr<SizingMethod> MakeHoltWintersMethod() {
  return MakeMethod(
      {.name = "holt_winters",
       .description =
           "Exponential smoothing with a damped trend and a season of a day, plus deviations.",
       .source = "Winters: Forecasting Sales by Exponentially Weighted Moving Averages, Management "
                 "Science 6, 1960; Gardner, McKenzie 1985",
       .knob = DeviationKnob(3),
       .start = &Start<true>});
}

}  // namespace cloudscale::predictor
