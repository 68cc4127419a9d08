#include "services/predictor/sizing/decayed_histogram.h"

#include <algorithm>
#include <cmath>

#include "common/check/check.h"

namespace cloudscale::predictor {
namespace {

// Far from where adding 1 to a double is lost, and rarely reached.
constexpr double kLargestWeight = 1e6;
// Relative to the total; sums of weights are not exact.
constexpr double kTolerance = 1e-12;

}  // namespace

DecayedHistogram::DecayedHistogram(const std::vector<double>& starts, double decay_per_step)
    : starts_(starts), growth_(1 / decay_per_step), weights_(starts.size() - 1, 0) {
  CS_CHECK(starts.size() >= 2 && decay_per_step > 0 && decay_per_step <= 1);
}

size_t DecayedHistogram::Bucket(double ratio) const {
  const auto above = std::upper_bound(starts_.begin(), starts_.end(), ratio);
  const auto bucket = std::max<std::ptrdiff_t>(0, above - starts_.begin() - 1);
  return std::min(static_cast<size_t>(bucket), weights_.size() - 1);
}

double DecayedHistogram::End(size_t bucket) const { return std::min(1.0, starts_[bucket + 1]); }

void DecayedHistogram::Add(double ratio) {
  next_weight_ *= growth_;
  if (next_weight_ > kLargestWeight) {
    const double factor = 1 / next_weight_;
    total_ = 0;
    for (double& weight : weights_) {
      weight *= factor;
      total_ += weight;
    }
    next_weight_ = 1;
  }
  weights_[Bucket(ratio)] += next_weight_;
  total_ += next_weight_;
}

double DecayedHistogram::Percentile(double percentile, double extra) const {
  const size_t extra_bucket = extra >= 0 ? Bucket(extra) : weights_.size();
  const double extra_weight = extra >= 0 ? next_weight_ * growth_ : 0;
  const double total = total_ + extra_weight;
  const double wanted = percentile * total - kTolerance * total;
  double sum = 0;
  size_t last = 0;
  for (size_t k = 0; k < weights_.size(); ++k) {
    const double weight = weights_[k] + (k == extra_bucket ? extra_weight : 0);
    if (weight > 0) {
      sum += weight;
      last = k;
      if (sum >= wanted) {
        break;
      }
    }
  }
  return End(last);
}

double DecayedHistogram::LoadPercentile(double percentile) const {
  double total = 0;
  for (size_t k = 0; k < weights_.size(); ++k) {
    total += weights_[k] * End(k);
  }
  const double wanted = percentile * total - kTolerance * total;
  double sum = 0;
  size_t last = 0;
  for (size_t k = 0; k < weights_.size(); ++k) {
    if (weights_[k] > 0) {
      sum += weights_[k] * End(k);
      last = k;
      if (sum >= wanted) {
        break;
      }
    }
  }
  return End(last);
}

std::vector<double> EqualBuckets(int count) {
  std::vector<double> starts;
  for (int k = 0; k <= count; ++k) {
    starts.push_back(1.0 * k / count);
  }
  return starts;
}

std::vector<double> GrowingBuckets(double first, double ratio) {
  std::vector<double> starts = {0};
  for (int k = 1; starts.back() < 1; ++k) {
    starts.push_back(first * (std::pow(ratio, k) - 1) / (ratio - 1));
  }
  return starts;
}

}  // namespace cloudscale::predictor
