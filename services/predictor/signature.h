#pragma once

#include <complex>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/fft.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// Pearson's correlation, -1 to 1; 0 when either side does not vary. Equal lengths.
[[nodiscard]] double Pearson(absl::Span<const double> a, absl::Span<const double> b);

// Dynamic time warping: least sum of |a_i - b_j| over monotone paths from the first to the last
// pair with |i - j| <= `band` (Sakoe & Chiba 1978). The band is widened to |len(a) - len(b)| where
// no path would exist.
[[nodiscard]] double DtwDistance(absl::Span<const double> a, absl::Span<const double> b, int band);

// A repeating pattern: the last value of `pattern` is the newest of its window.
struct Signature {
  bool is_found = false;
  int period = 0;          // steps
  double correlation = 0;  // least of all pairs of windows
  std::vector<double> pattern;
};

// Looks for the repeating pattern of a series as PRESS does (Gong, Gu, Wilkes, CNSM 2010): the
// dominating frequency of the Fourier transform, the lowest among similarly high ones; the series
// cut into windows of that period; a signature when all pairs of windows correlate and have about
// the same mean; the pattern is their mean, position by position.
//
// Beyond the publication: a spectral line only says the period to within the resolution of the
// transform, so the period is refined to the lag of highest autocorrelation within it.
//
// Keeps its buffers. Thread safety: thread-compatible.
class SignatureFinder {
 public:
  explicit SignatureFinder(const ModelParameters& parameters) : parameters_(parameters) {}

  // The result is valid until the next call.
  const Signature& Find(absl::Span<const double> history, Fft& fft);

  // Position in `pattern` of the newest value of `recent` (as many values as the pattern has). The
  // pattern is laid out twice; the best shift gives the diagonal, and a banded warping along it
  // with free ends gives the position. Ties go to the least warped.
  [[nodiscard]] int Align(absl::Span<const double> recent, absl::Span<const double> pattern);

 private:
  [[nodiscard]] int FindPeriod(absl::Span<const double> window, Fft& fft);
  [[nodiscard]] int RefinePeriod(int line) const;
  [[nodiscard]] bool WindowsAgree(absl::Span<const double> window, int period);

  const ModelParameters parameters_;
  Signature result_;
  std::vector<double> centred_;
  std::vector<std::complex<double>> spectrum_;
  std::vector<double> normalised_;
  std::vector<double> means_;
  std::vector<double> doubled_;
  std::vector<double> row_;
  std::vector<double> next_row_;
};

}  // namespace cloudscale::predictor
