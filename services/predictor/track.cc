#include "services/predictor/track.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/check/check.h"

namespace cloudscale::predictor {

Track::Track(const ForecastModel* model, Resource resource, const PredictorOptions& options)
    : model_(model), options_(&options), horizons_(options.horizons.size()) {
  CS_CHECK(model != nullptr);
  online_ = model->Start({.resource = resource,
                          .step = options.step,
                          .horizons = options.horizons,
                          .ratios = options.ratios,
                          .target_violation_ratio = options.target_violation_ratio});
}

std::optional<double> Track::OnStep(int64_t step, double demand, bool is_censored,
                                    double target_violation_ratio) {
  std::optional<double> cost;
  for (size_t h = 0; h < horizons_.size(); ++h) {
    Horizon& horizon = horizons_[h];
    const int64_t length = options_->horizons[h];
    size_t kept = 0;
    for (InFlight& forecast : horizon.in_flight) {
      forecast.largest = std::max(forecast.largest, demand);
      forecast.is_censored = forecast.is_censored || is_censored;
      if (step - forecast.made_after >= length) {
        Judge(forecast, horizon);
        if (h == 0) {
          if (online_ == nullptr) {
            remedial_.Add(forecast.largest - forecast.statement.expected);
          }
          const double missing = forecast.largest - forecast.statement.allocation;
          // Of what was held back nobody knows whether it was too much.
          cost = missing > 0            ? (1 - target_violation_ratio) * missing
                 : forecast.is_censored ? 0
                                        : -target_violation_ratio * missing;
        }
      } else {
        horizon.in_flight[kept++] = forecast;
      }
    }
    horizon.in_flight.resize(kept);
  }
  return cost;
}

void Track::OnUnknownStep() {
  for (Horizon& horizon : horizons_) {
    horizon.in_flight.clear();
  }
}

void Track::OnForecast(int64_t step, absl::Span<const HorizonStatement> statements) {
  CS_CHECK(statements.size() == horizons_.size());
  for (size_t h = 0; h < horizons_.size(); ++h) {
    std::vector<InFlight>& in_flight = horizons_[h].in_flight;
    const int length = options_->horizons[h];
    const int spacing = (length + kMaxInFlight - 1) / kMaxInFlight;
    if (in_flight.empty() || step - in_flight.back().made_after >= spacing) {
      if (in_flight.size() < static_cast<size_t>(kMaxInFlight)) {
        in_flight.push_back({.made_after = step, .statement = statements[h]});
      }
    }
  }
}

double Track::ResidualQuantile(size_t horizon, double ratio) const {
  for (size_t h = horizon + 1; h-- > 0;) {
    if (horizons_[h].residuals.is_usable()) {
      return horizons_[h].residuals.Quantile(ratio);
    }
  }
  return -std::numeric_limits<double>::infinity();
}

void Track::Restore(size_t horizon, absl::Span<const float> residuals, const AccuracySums& accuracy,
                    absl::Span<const InFlight> in_flight) {
  horizons_[horizon].residuals.Assign(residuals);
  horizons_[horizon].accuracy = accuracy;
  horizons_[horizon].in_flight.assign(in_flight.begin(), in_flight.end());
}

void Track::KeepNewest(size_t count) {
  if (online_ != nullptr) {
    online_->Retrain();
  }
  for (Horizon& horizon : horizons_) {
    horizon.residuals.KeepNewest(count);
  }
}

void Track::Judge(const InFlight& forecast, Horizon& horizon) const {
  const HorizonStatement& said = forecast.statement;
  const double demand = forecast.largest;
  if (online_ == nullptr && (!forecast.is_censored || demand > said.expected)) {
    horizon.residuals.Add(demand - said.expected);
  }
  AccuracySums& sums = horizon.accuracy;
  for (double* sum :
       {&sums.weight, &sums.bias, &sums.absolute_error, &sums.pinball_loss, &sums.under_estimates,
        &sums.under_estimate_depth, &sums.allocation, &sums.demand}) {
    *sum *= AccuracySums::kDecay;
  }
  const size_t ratios = options_->ratios.size();
  double loss = 0;
  double median = said.expected;
  double nearest = 1;
  for (size_t r = 0; r < ratios; ++r) {
    const double ratio = options_->ratios[r];
    const auto quantile = static_cast<double>(said.quantiles[r]);
    sums.covered[r] *= AccuracySums::kDecay;
    sums.covered[r] += demand <= quantile ? 1 : 0;
    loss += demand > quantile ? ratio * (demand - quantile) : (1 - ratio) * (quantile - demand);
    if (std::abs(ratio - 0.5) < nearest) {
      nearest = std::abs(ratio - 0.5);
      median = quantile;
    }
  }
  sums.weight += 1;
  sums.bias += median - demand;
  sums.absolute_error += std::abs(median - demand);
  sums.pinball_loss += loss / static_cast<double>(std::max<size_t>(ratios, 1));
  if (demand > said.allocation) {
    sums.under_estimates += 1;
    sums.under_estimate_depth += (demand - said.allocation) / demand;
  }
  sums.allocation += said.allocation;
  sums.demand += demand;
  ++sums.step_count;
}

}  // namespace cloudscale::predictor
