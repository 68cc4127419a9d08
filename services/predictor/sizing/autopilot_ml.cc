#include "services/predictor/sizing/autopilot_ml.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "services/predictor/sizing/decayed_mean.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr size_t kLimits = 96;
constexpr double kLowestLimit = 0.01;
constexpr double kChangeCost = 0.01;
constexpr double kSwitchCost = 0.02;
constexpr double kOverrunCost = 15;
constexpr std::array<double, 4> kHalfLifeDays = {0.5 / 24, 2.0 / 24, 0.5, 2.0};
constexpr size_t kMedianHalfLife = 1;
constexpr std::array<double, 4> kMargins = {0, 0.05, 0.1, 0.2};
constexpr double kMeanDays = 2;
// Means below this part of the capacity count as this: an idle VM would make all waste infinite.
constexpr double kLeastMean = 1e-3;

const std::array<double, kLimits>& Limits() {
  static const std::array<double, kLimits> limits = [] {
    std::array<double, kLimits> values{};
    for (size_t k = 0; k < kLimits; ++k) {
      values[k] = std::pow(kLowestLimit, 1 - static_cast<double>(k) / (kLimits - 1));
    }
    values.back() = 1;
    return values;
  }();
  return limits;
}

// A histogram with a half-life, and the limit that it chose last.
struct Window {
  double decay = 0;
  double total = 0;
  size_t choice = kLimits;
  std::array<double, kLimits> weights{};
};

struct Model {
  double limit = 1;
  double cost = 0;
};

class AutopilotMlState final : public RatioState {
 public:
  AutopilotMlState(const SeriesTraits& traits, double overrun_cost)
      : RatioState(traits),
        overrun_cost_(overrun_cost),
        mean_(kMeanDays * static_cast<double>(StepsPerDay(traits))),
        cost_gain_(1 - DecayPerStep(std::max(12.0, static_cast<double>(StepsPerDay(traits)) / 4))) {
    for (size_t i = 0; i < windows_.size(); ++i) {
      windows_[i].decay =
          DecayPerStep(std::max(2.0, kHalfLifeDays[i] * static_cast<double>(StepsPerDay(traits))));
    }
  }
  size_t bytes() const override { return sizeof(*this); }

 private:
  void Learn(const Sample& sample) override {
    const double x = sample.ratio;
    mean_.Add(x);
    const double mean = std::max(kLeastMean, mean_.value());
    for (Model& model : models_) {
      const double cost = x > model.limit ? overrun_cost_ : (model.limit - x) / mean;
      model.cost += cost_gain_ * (cost - model.cost);
    }
    const auto& limits = Limits();
    const auto bucket = std::min<size_t>(
        kLimits - 1,
        static_cast<size_t>(std::lower_bound(limits.begin(), limits.end(), x) - limits.begin()));
    for (size_t i = 0; i < windows_.size(); ++i) {
      Choose(windows_[i], bucket, mean, i);
    }
    Follow();
  }

  void Choose(Window& window, size_t bucket, double mean, size_t index) {
    for (double& weight : window.weights) {
      weight *= window.decay;
    }
    window.weights[bucket] += 1;
    window.total = window.total * window.decay + 1;
    window.choice = CheapestLimit(window.weights, window.total, Limits(), mean, overrun_cost_,
                                  kChangeCost, window.choice);
    for (size_t j = 0; j < kMargins.size(); ++j) {
      Model& model = models_[index * kMargins.size() + j];
      const double limit = std::min(1.0, (1 + kMargins[j]) * Limits()[window.choice]);
      if (limit != model.limit) {
        model.cost += cost_gain_ * kChangeCost;
        model.limit = limit;
      }
    }
  }

  void Follow() {
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t m = 0; m < models_.size(); ++m) {
      const double cost = models_[m].cost + (m != followed_ ? kSwitchCost : 0) +
                          (models_[m].limit != limit_ ? kChangeCost : 0);
      if (cost < least) {
        least = cost;
        best = m;
      }
    }
    followed_ = best;
    limit_ = models_[best].limit;
  }

  double SizeRatio(int) override { return limit_; }
  double ExpectedRatio(int) override {
    const Window& window = windows_[kMedianHalfLife];
    double sum = 0;
    size_t k = 0;
    while (k + 1 < kLimits && (sum += window.weights[k]) < 0.5 * window.total) {
      ++k;
    }
    return Limits()[k];
  }

  const double overrun_cost_;
  DecayedMean mean_;
  const double cost_gain_;
  std::array<Window, kHalfLifeDays.size()> windows_;
  std::array<Model, kHalfLifeDays.size() * kMargins.size()> models_;
  size_t followed_ = 0;
  double limit_ = 1;
};

}  // namespace

size_t CheapestLimit(absl::Span<const double> weights, double total,
                     absl::Span<const double> limits, double mean, double overrun_cost,
                     double change_cost, size_t before) {
  size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  double below = 0;   // weight of demand at or below the limit
  double amount = 0;  // that demand
  for (size_t k = 0; k < limits.size(); ++k) {
    below += weights[k];
    amount += weights[k] * limits[k];
    const double overrun = std::max(0.0, total - below) / total;
    const double waste = (limits[k] * below - amount) / (total * mean);
    const double cost = overrun_cost * overrun + waste + (k != before ? change_cost : 0);
    if (cost < least) {
      least = cost;
      best = k;
    }
  }
  return best;
}

std::unique_ptr<SizingMethod> MakeAutopilotMlMethod() {
  return MakeMethod(
      {.name = "autopilot_ml",
       .description =
           "Limits of least cost under several decays and margins; follows the cheapest.",
       .source = "Rzadca et al.: Autopilot, EuroSys 2020 (10.1145/3342195.3387524), section 3.2.3",
       .knob = {.meaning = "cost of a step above the limit, in mean demands of unused limit",
                .published = kOverrunCost,
                .sweep = {1, 1.5, 2, 3, 4, 6, 8, 11, 15, 20, 28, 40, 60, 90, 140, 250, 500, 1000,
                          2500}},
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<AutopilotMlState>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
