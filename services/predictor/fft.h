#pragma once

#include <complex>
#include <memory>
#include <vector>

#include "absl/types/span.h"

namespace cloudscale::predictor {

// Fourier transform of real series. Plans are kept per length, so callers should use few lengths;
// lengths with small prime factors are fast. Thread safety: thread-compatible.
class Fft {
 public:
  Fft();
  ~Fft();
  Fft(const Fft&) = delete;
  Fft& operator=(const Fft&) = delete;

  // The first n/2 + 1 coefficients (the others are their conjugates). `series` must not be empty.
  void Forward(absl::Span<const double> series, std::vector<std::complex<double>>& half);

  // Inverse of `Forward`, with the factor 1/n; `n` values.
  void Inverse(const std::vector<std::complex<double>>& half, int n, std::vector<double>& series);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloudscale::predictor
