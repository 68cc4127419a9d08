#include "services/predictor/sizing/crane_estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "common/check/check.h"

namespace cloudscale::predictor {
namespace {

constexpr double kShuffleRank = 0.01;
constexpr double kLeastCorrelation = 0.1;
constexpr double kSearch = 0.2;
constexpr double kTolerance = 0.05;
constexpr size_t kCountedLines = 100;
constexpr double kFastestFreeCyclesPerHour = 1;
constexpr double kLeastForecast = 1e-4;  // part of the capacity; in place of nothing or less
constexpr double kLargestUnder = 0.999;  // of the demand; the error grows without bound
constexpr std::array<double, 4> kMargins = {0.01, 0.1, 0.15, 0.2};

// Mean of the products of values `lag` apart, over their variance.
double Autocorrelation(absl::Span<const double> series, size_t lag, double mean, double variance) {
  double sum = 0;
  for (size_t t = lag; t < series.size(); ++t) {
    sum += (series[t] - mean) * (series[t - lag] - mean);
  }
  return sum / (static_cast<double>(series.size() - lag) * variance);
}

void PhaseMaxima(absl::Span<const double> series, size_t period, std::vector<double>& forecast) {
  forecast.assign(period, 0);
  for (size_t t = 0; t < series.size(); ++t) {
    forecast[t % period] = std::max(forecast[t % period], series[t]);
  }
}

void KeptLines(const CraneEstimator& estimator, absl::Span<const double> series, size_t period,
               double slot_hours, Fft& fft, CraneBuffers& buffers, std::vector<double>& forecast) {
  const auto n = static_cast<double>(series.size());
  fft.Forward(series, buffers.spectrum);
  std::vector<double>& sorted = buffers.amplitudes;
  sorted.clear();
  for (size_t k = 1; k < buffers.spectrum.size(); ++k) {
    sorted.push_back(std::abs(buffers.spectrum[k]) / n);
  }
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double least =
      std::max(sorted[std::min(kCountedLines, sorted.size()) - 1], estimator.least_amplitude);
  least = std::min(least, sorted[std::min(estimator.lines, sorted.size()) - 1]);
  for (size_t k = 1; k < buffers.spectrum.size(); ++k) {
    const double cycles_per_hour = static_cast<double>(k) / (n * slot_hours);
    if (cycles_per_hour > kFastestFreeCyclesPerHour && std::abs(buffers.spectrum[k]) / n < least) {
      buffers.spectrum[k] = 0;
    }
  }
  fft.Inverse(buffers.spectrum, static_cast<int>(series.size()), buffers.values);
  forecast.assign(buffers.values.end() - static_cast<std::ptrdiff_t>(period), buffers.values.end());
}

}  // namespace

bool HasPeriod(absl::Span<const double> series, size_t period, Fft& fft, CraneBuffers& buffers) {
  CS_CHECK(period >= 2);
  const size_t n = series.size();
  if (n < 2 * period) {
    return false;
  }
  const double mean = std::accumulate(series.begin(), series.end(), 0.0) / static_cast<double>(n);
  double variance = 0;
  double scale = 0;
  for (const double value : series) {
    variance += (value - mean) * (value - mean) / static_cast<double>(n);
    scale = std::max(scale, std::abs(value));
  }
  if (!(std::sqrt(variance) > 1e-9 * scale)) {
    return false;
  }
  fft.Forward(series, buffers.spectrum);
  const double power = std::norm(buffers.spectrum[n / period]);
  const auto count = static_cast<double>(n);
  if (power <= count * variance * (std::log(count / 2) - std::log(kShuffleRank))) {
    return false;
  }
  const auto p = static_cast<double>(period);
  const auto first = static_cast<size_t>((1 - kSearch) * p);
  const auto last = std::min(static_cast<size_t>((1 + kSearch) * p), n - 1);
  size_t best = first;
  double highest = -1;
  for (size_t lag = first; lag <= last; ++lag) {
    const double value = Autocorrelation(series, lag, mean, variance);
    if (value > highest) {
      highest = value;
      best = lag;
    }
  }
  const double distance = std::abs(static_cast<double>(best) - p);
  return distance <= std::max(1.0, kTolerance * p) &&
         Autocorrelation(series, period, mean, variance) > kLeastCorrelation;
}

double CraneError(absl::Span<const double> forecast, absl::Span<const double> actual) {
  CS_CHECK(forecast.size() == actual.size());
  double sum = 0;
  int64_t count = 0;
  for (size_t t = 0; t < actual.size(); ++t) {
    if (actual[t] > 0) {
      const double error = (forecast[t] - actual[t]) / actual[t];
      sum += error >= 0 ? error : -std::log(1 - std::min(kLargestUnder, -error)) / std::log(1.25);
      ++count;
    }
  }
  return count > 0 ? sum / static_cast<double>(count) : 0;
}

absl::Span<const CraneEstimator> CraneEstimators() {
  static const std::array<CraneEstimator, 3 * kMargins.size()> estimators = [] {
    std::array<CraneEstimator, 3 * kMargins.size()> table{};
    for (size_t i = 0; i < kMargins.size(); ++i) {
      table[i] = {true, 3, 1.0, kMargins[i]};
      table[kMargins.size() + i] = {true, 50, 0.05, kMargins[i]};
      table[2 * kMargins.size() + i] = {false, 0, 0, kMargins[i]};
    }
    return table;
  }();
  return estimators;
}

void CraneForecast(const CraneEstimator& estimator, absl::Span<const double> series, size_t period,
                   double slot_hours, Fft& fft, CraneBuffers& buffers,
                   std::vector<double>& forecast) {
  CS_CHECK(period >= 2 && series.size() >= period && series.size() % period == 0);
  if (estimator.is_transform) {
    KeptLines(estimator, series, period, slot_hours, fft, buffers, forecast);
  } else {
    PhaseMaxima(series, period, forecast);
  }
  for (double& value : forecast) {
    value = (value > 0 ? value : kLeastForecast) * (1 + estimator.margin);
  }
}

}  // namespace cloudscale::predictor
