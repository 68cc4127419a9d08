#pragma once

#include <complex>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/fft.h"

namespace cloudscale::predictor {

// The parts of Crane's DSP predictor (github.com/gocrane/crane, pkg/prediction/dsp) on a series of
// parts of the capacity in slots of equal length.

struct CraneBuffers {
  std::vector<std::complex<double>> spectrum;
  std::vector<double> amplitudes;
  std::vector<double> values;
};

// Whether `series` repeats with `period` slots, at least two of which it must hold:
// * the power of the period's line is above that of 99 % of the highest lines of the same values in
//   random order. Crane shuffles 100 times; by the law of the largest of n / 2 exponential
//   variables the same bound is n var (ln(n / 2) - ln(0.01)), which needs no random numbers;
// * the autocorrelation has its highest value from 0.8 to 1.2 periods within 5 % of the period, and
//   is above 0.1 there. Crane fits slopes on both sides of a peak.
[[nodiscard]] bool HasPeriod(absl::Span<const double> series, size_t period, Fft& fft,
                             CraneBuffers& buffers);

// The error that Crane compares estimators by, a mean over slots: (x' - x) / x where too high,
// -ln(1 - (x - x') / x) / ln(1.25) where too low. Slots of no demand do not count.
[[nodiscard]] double CraneError(absl::Span<const double> forecast, absl::Span<const double> actual);

// One way to forecast the period that follows.
struct CraneEstimator {
  bool is_transform = false;
  // Of the transform: lines of more than one cycle an hour are dropped unless their amplitude is at
  // least `least_amplitude` or among the first 100; at least `lines` are kept.
  size_t lines = 0;
  double least_amplitude = 0;
  double margin = 0;
};
// The published candidates: transforms that keep (3, 1.0) or (50, 0.05), margins 1, 10, 15 and 20
// %, and the largest value of each phase with the same margins.
[[nodiscard]] absl::Span<const CraneEstimator> CraneEstimators();

// `series`, whole periods, gives the period after it. `slot_hours` is the length of a slot.
void CraneForecast(const CraneEstimator& estimator, absl::Span<const double> series, size_t period,
                   double slot_hours, Fft& fft, CraneBuffers& buffers,
                   std::vector<double>& forecast);

}  // namespace cloudscale::predictor
