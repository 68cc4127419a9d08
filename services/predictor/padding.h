#pragma once

#include <array>
#include <complex>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/fft.h"

namespace cloudscale::predictor {

// What is added to a forecast, in the unit of the series; all >= 0.
struct Padding {
  double burst = 0;
  double remedial = 0;
  [[nodiscard]] double total() const { return burst > remedial ? burst : remedial; }
};

// Burst padding of CloudScale (Shen, Subbiah, Gu, Wilkes, SoCC 2011): the last 100 values without
// the lowest fifth of their frequencies are the burst pattern; its largest value when more than
// half of it is positive, else its 80th percentile with negative values taken as zero. Both halves
// of the spectrum are cut alike, so that the pattern is real.
//
// Keeps its buffers. Thread safety: thread-compatible.
class BurstPadding {
 public:
  static constexpr int kWindow = 100;
  static constexpr int kMinSteps = 16;  // fewer tell nothing about bursts: zero
  static constexpr double kKeptRatio = 0.8;
  static constexpr double kDenseRatio = 0.5;
  static constexpr double kPercentile = 0.8;

  [[nodiscard]] double Compute(absl::Span<const double> series, Fft& fft);

  // The pattern of the last `Compute`, one value a step.
  [[nodiscard]] const std::vector<double>& pattern() const { return pattern_; }

 private:
  std::vector<std::complex<double>> spectrum_;
  std::vector<double> pattern_;
  std::vector<double> pattern_scratch_;
};

// Remedial padding of CloudScale: the mean of the last ten under-estimates, weighted linearly, the
// newest the most (i / 55 for i = 1 to 10); over-estimates count as zero. Thread safety:
// thread-compatible.
class RemedialPadding {
 public:
  static constexpr size_t kCount = 10;

  // `under_estimate` = demand - forecast; values <= 0 are over-estimates.
  void Add(double under_estimate);
  [[nodiscard]] double Compute() const;

  // Oldest first.
  [[nodiscard]] std::vector<double> errors() const;
  void Clear() { size_ = 0; }

 private:
  std::array<double, kCount> errors_{};
  size_t size_ = 0;
};

}  // namespace cloudscale::predictor
