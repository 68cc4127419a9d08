#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/predictor/model.h"
#include "services/predictor/padding.h"
#include "services/predictor/residuals.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// Running accuracy at one horizon. Every sum fades by `kDecay` with each step judged, so `weight`
// is the effective number of steps.
struct AccuracySums {
  static constexpr double kDecay = 0.995;

  double weight = 0;
  double bias = 0;  // sums of: median - demand
  double absolute_error = 0;
  double pinball_loss = 0;  // mean over the quantiles
  double under_estimates = 0;
  double under_estimate_depth = 0;  // (demand - allocation) / demand
  double allocation = 0;            // forecast and padding
  double demand = 0;
  std::array<double, kMaxRatios> covered{};
  int64_t step_count = 0;  // does not fade

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.weight, self.bias, self.absolute_error, self.pinball_loss, self.under_estimates,
            self.under_estimate_depth, self.allocation, self.demand, self.covered, self.step_count);
  }
  [[nodiscard]] double Average(double sum) const { return weight > 0 ? sum / weight : 0; }
};

// What was said about one horizon, as far as it is judged later.
struct HorizonStatement {
  double expected = 0;  // of the model alone
  double allocation = 0;
  std::array<float, kMaxRatios> quantiles{};

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.expected, self.allocation, self.quantiles);
  }
};

// One model on one series: its residuals or what else it has learnt, and how well it did. Forecasts
// are judged when their horizon has passed; of long horizons only every n-th is, so that at most
// `kMaxInFlight` wait. Thread safety: thread-compatible.
class Track {
 public:
  static constexpr int kMaxInFlight = 4;

  // `options` must outlive the track.
  Track(const ForecastModel* model, Resource resource, const PredictorOptions& options);

  [[nodiscard]] const ForecastModel* model() const { return model_; }
  // Null when the model learns from the history alone.
  [[nodiscard]] OnlineForecaster* online() const { return online_.get(); }
  // Of the model alone; online models have none.
  [[nodiscard]] RemedialPadding& remedial() { return remedial_; }
  [[nodiscard]] const RemedialPadding& remedial() const { return remedial_; }

  // A step ended with this largest demand. A censored demand is a lower bound, so it teaches and
  // costs only where demand was higher than what was said, never where it was lower.
  // Returns what the forecast of the shortest horizon cost that ended with it, if one did: the
  // pinball loss of the allocation at the quantile that `target_violation_ratio` asks for, so that
  // models can be compared by what they are used for.
  std::optional<double> OnStep(int64_t step, double demand, bool is_censored,
                               double target_violation_ratio);
  // Demand of some steps is not known; what spans them cannot be judged.
  void OnUnknownStep();
  // The statements for all horizons, made after `step`.
  void OnForecast(int64_t step, absl::Span<const HorizonStatement> statements);

  // Offset to add to the expectation; the store of the next shorter horizon stands in while there
  // are too few residuals. Negative infinity when there are none at all.
  [[nodiscard]] double ResidualQuantile(size_t horizon, double ratio) const;

  [[nodiscard]] const AccuracySums& accuracy(size_t horizon) const {
    return horizons_[horizon].accuracy;
  }
  [[nodiscard]] const ResidualStore& residuals(size_t horizon) const {
    return horizons_[horizon].residuals;
  }
  struct InFlight {
    int64_t made_after = 0;
    double largest = 0;
    bool is_censored = false;
    HorizonStatement statement;

    template <typename Self, typename Archive>
    static void Visit(Self& self, Archive& archive) {
      archive(self.made_after, self.largest, self.is_censored, self.statement);
    }
  };
  [[nodiscard]] const std::vector<InFlight>& in_flight(size_t horizon) const {
    return horizons_[horizon].in_flight;
  }
  void Restore(size_t horizon, absl::Span<const float> residuals, const AccuracySums& accuracy,
               absl::Span<const InFlight> in_flight);
  // Forgets residuals but the newest.
  void KeepNewest(size_t count);

 private:
  struct Horizon {
    ResidualStore residuals;
    AccuracySums accuracy;
    std::vector<InFlight> in_flight;
  };
  void Judge(const InFlight& forecast, Horizon& horizon) const;

  const ForecastModel* model_;
  const PredictorOptions* options_;
  std::unique_ptr<OnlineForecaster> online_;
  RemedialPadding remedial_;
  std::vector<Horizon> horizons_;
};

}  // namespace cloudscale::predictor
