#include "services/predictor/baselines.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/check/check.h"
#include "services/predictor/signature.h"

namespace cloudscale::predictor {

double MeanOf(absl::Span<const double> series) {
  CS_CHECK(!series.empty());
  return std::accumulate(series.begin(), series.end(), 0.0) / static_cast<double>(series.size());
}

double MaximumOf(absl::Span<const double> series) {
  CS_CHECK(!series.empty());
  return *std::max_element(series.begin(), series.end());
}

double HistogramMode(absl::Span<const double> series, int bins) {
  CS_CHECK(!series.empty() && bins >= 1);
  const auto [low, high] = std::minmax_element(series.begin(), series.end());
  const double width = (*high - *low) / bins;
  if (!(width > 0)) {
    return *low;
  }
  std::vector<int> counts(static_cast<size_t>(bins), 0);
  for (double value : series) {
    ++counts[static_cast<size_t>(std::min(bins - 1, static_cast<int>((value - *low) / width)))];
  }
  size_t mode = 0;
  for (size_t bin = 0; bin < counts.size(); ++bin) {
    if (counts[bin] >= counts[mode]) {
      mode = bin;
    }
  }
  return *low + (static_cast<double>(mode) + 0.5) * width;
}

int AutocorrelationLag(absl::Span<const double> series, double threshold) {
  const size_t n = series.size();
  int best = 0;
  double highest = threshold;
  for (size_t lag = 1; lag <= n / 2; ++lag) {
    const double r = Pearson(series.first(n - lag), series.last(n - lag));
    if (r > highest + 1e-12) {
      highest = r;
      best = static_cast<int>(lag);
    }
  }
  return best;
}

std::vector<double> YuleWalker(absl::Span<const double> series, int order) {
  CS_CHECK(order >= 1);
  const size_t n = series.size();
  const size_t p = static_cast<size_t>(order);
  if (n <= 2 * p) {
    return {};
  }
  const double mean = MeanOf(series);
  std::vector<double> covariance(p + 1, 0);
  for (size_t lag = 0; lag <= p; ++lag) {
    for (size_t t = lag; t < n; ++t) {
      covariance[lag] += (series[t] - mean) * (series[t - lag] - mean);
    }
  }
  if (!(covariance[0] > 1e-18 * mean * mean * static_cast<double>(n))) {
    return {};
  }
  std::vector<double> coefficients(p, 0);
  std::vector<double> before(p, 0);
  double error = covariance[0];
  for (size_t m = 0; m < p; ++m) {
    double reflection = covariance[m + 1];
    for (size_t i = 0; i < m; ++i) {
      reflection -= coefficients[i] * covariance[m - i];
    }
    reflection /= error;
    before = coefficients;
    coefficients[m] = reflection;
    for (size_t i = 0; i < m; ++i) {
      coefficients[i] = before[i] - reflection * before[m - 1 - i];
    }
    error *= 1 - reflection * reflection;
    if (!(error > 1e-12 * covariance[0])) {
      break;  // already exact; more terms would only add rounding errors
    }
  }
  return coefficients;
}

}  // namespace cloudscale::predictor
