#include "services/predictor/fft.h"

#include <unsupported/Eigen/FFT>

#include "common/check/check.h"

namespace cloudscale::predictor {

struct Fft::Impl {
  Impl() { fft.SetFlag(Eigen::FFT<double>::HalfSpectrum); }
  Eigen::FFT<double> fft;
};

Fft::Fft() : impl_(std::make_unique<Impl>()) {}
Fft::~Fft() = default;

void Fft::Forward(absl::Span<const double> series, std::vector<std::complex<double>>& half) {
  CS_CHECK(!series.empty());
  // The backend writes a full spectrum first for some lengths.
  half.resize(series.size());
  impl_->fft.fwd(half.data(), series.data(), static_cast<Eigen::Index>(series.size()));
  half.resize(series.size() / 2 + 1);
}

void Fft::Inverse(const std::vector<std::complex<double>>& half, int n,
                  std::vector<double>& series) {
  CS_CHECK(n > 0 && half.size() == static_cast<size_t>(n) / 2 + 1);
  series.resize(static_cast<size_t>(n));
  impl_->fft.inv(series.data(), half.data(), static_cast<Eigen::Index>(n));
}

}  // namespace cloudscale::predictor
