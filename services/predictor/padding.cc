#include "services/predictor/padding.h"

#include <algorithm>
#include <cmath>

namespace cloudscale::predictor {

double BurstPadding::Compute(absl::Span<const double> series, Fft& fft) {
  pattern_.clear();
  size_t size = std::min<size_t>(series.size(), kWindow);
  if (size < kWindow) {
    size -= size % 4;  // few lengths, so few plans
  }
  if (size < kMinSteps) {
    return 0;
  }
  const auto window = series.last(size);
  fft.Forward(window, spectrum_);
  const auto dropped =
      static_cast<size_t>(std::lround((1 - kKeptRatio) * static_cast<double>(spectrum_.size())));
  std::fill_n(spectrum_.begin(), dropped, std::complex<double>(0, 0));
  fft.Inverse(spectrum_, static_cast<int>(size), pattern_);
  double scale = 0;
  for (double value : window) {
    scale = std::max(scale, std::abs(value));
  }
  const double noise = 1e-9 * scale;
  const auto positive =
      std::count_if(pattern_.begin(), pattern_.end(), [noise](double b) { return b > noise; });
  if (static_cast<double>(positive) > kDenseRatio * static_cast<double>(size)) {
    return *std::max_element(pattern_.begin(), pattern_.end());
  }
  // The value that at least the given part of the pattern does not exceed.
  std::vector<double>& sorted = pattern_scratch_;
  sorted.assign(pattern_.begin(), pattern_.end());
  const auto rank =
      static_cast<std::ptrdiff_t>(std::ceil(kPercentile * static_cast<double>(size)) - 1);
  std::nth_element(sorted.begin(), sorted.begin() + rank, sorted.end());
  const double value = sorted[static_cast<size_t>(rank)];
  return value > noise ? value : 0;
}

void RemedialPadding::Add(double under_estimate) {
  if (size_ == kCount) {
    std::move(errors_.begin() + 1, errors_.end(), errors_.begin());
    --size_;
  }
  errors_[size_++] = std::max(0.0, under_estimate);
}

double RemedialPadding::Compute() const {
  if (size_ == 0) {
    return 0;
  }
  double sum = 0;
  for (size_t i = 0; i < size_; ++i) {
    sum += static_cast<double>(i + 1) * errors_[i];
  }
  return sum / (static_cast<double>(size_ * (size_ + 1)) / 2);
}

std::vector<double> RemedialPadding::errors() const {
  return {errors_.begin(), errors_.begin() + static_cast<std::ptrdiff_t>(size_)};
}

}  // namespace cloudscale::predictor
