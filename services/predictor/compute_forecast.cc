#include <algorithm>
#include <cmath>

#include "services/predictor/series.h"

namespace cloudscale::predictor {
namespace {

// How far the ratio's quantile of the series lies above its median: what is known about the spread
// before there are residuals.
double HistorySpread(absl::Span<const double> sorted, double ratio) {
  const auto at = [&](double part) {
    const double rank = std::ceil(part * static_cast<double>(sorted.size() + 1));
    return sorted[std::min(static_cast<size_t>(std::max(rank, 1.0)) - 1, sorted.size() - 1)];
  };
  return at(ratio) - at(0.5);
}

void AddResiduals(const PredictorOptions& options, const ForecastJob& job,
                  absl::Span<const double> offsets, Workspace& workspace, ModelOutput& output) {
  std::vector<double>& sorted = workspace.scratch;
  sorted.clear();
  size_t i = 0;
  for (const double expected : output.expected) {
    for (const double ratio : options.ratios) {
      double offset = offsets[i++];
      if (std::isinf(offset)) {
        if (sorted.empty()) {
          sorted = job.history;
          std::sort(sorted.begin(), sorted.end());
        }
        offset = HistorySpread(sorted, ratio);
      }
      output.quantiles.push_back(expected + offset);
    }
  }
}

// A chain cannot say more than it has seen: its upper quantiles are held too rarely. Where enough
// residuals are known they count as well, so that the tail is at least what was needed lately.
void RaiseTail(const PredictorOptions& options, absl::Span<const double> offsets,
               ModelOutput& output) {
  size_t i = 0;
  for (const double expected : output.expected) {
    for (const double ratio : options.ratios) {
      if (ratio > 0.5) {
        output.quantiles[i] = std::max(output.quantiles[i], expected + offsets[i]);
      }
      ++i;
    }
  }
}

// More certainty or more time never means less demand.
void MakeMonotone(size_t ratios, ModelOutput& output) {
  for (size_t h = 0; h < output.expected.size(); ++h) {
    output.expected[h] = std::max({0.0, output.expected[h], h > 0 ? output.expected[h - 1] : 0.0});
    for (size_t r = 0; r < ratios; ++r) {
      double& value = output.quantiles[h * ratios + r];
      const double left = r > 0 ? output.quantiles[h * ratios + r - 1] : 0.0;
      const double above = h > 0 ? output.quantiles[(h - 1) * ratios + r] : 0.0;
      value = std::max({0.0, value, left, above});
    }
  }
}

}  // namespace

double QuantileAt(const PredictorOptions& options, absl::Span<const double> quantiles,
                  size_t horizon, double ratio) {
  const std::vector<double>& ratios = options.ratios;
  const auto values = quantiles.subspan(horizon * ratios.size(), ratios.size());
  size_t above = 0;
  while (above + 1 < ratios.size() && ratios[above] < ratio) {
    ++above;
  }
  if (above == 0 || ratio >= ratios[above]) {
    return values[above];
  }
  const double part = (ratio - ratios[above - 1]) / (ratios[above] - ratios[above - 1]);
  return values[above - 1] + part * (values[above] - values[above - 1]);
}

void ComputeForecast(const PredictorOptions& options, Workspace& workspace, ForecastJob& job) {
  const ModelInput input{.history = job.history,
                         .horizons = options.horizons,
                         .ratios = options.ratios,
                         .step = options.step};
  job.is_made.resize(job.models.size());
  job.outputs.resize(job.models.size());
  for (size_t m = 0; m < job.models.size(); ++m) {
    ModelOutput& output = job.outputs[m];
    if (job.is_made[m]) {
      MakeMonotone(options.ratios.size(), output);
      continue;
    }
    output.advised.reset();
    output.violation_price.reset();
    job.models[m]->Forecast(input, workspace, output);
    if (output.quantiles.empty()) {
      AddResiduals(options, job, job.residual_quantiles[m], workspace, output);
    } else {
      RaiseTail(options, job.residual_quantiles[m], output);
    }
    MakeMonotone(options.ratios.size(), output);
  }
  job.burst = job.history.empty() ? 0 : workspace.burst.Compute(job.history, workspace.fft);
}

}  // namespace cloudscale::predictor
