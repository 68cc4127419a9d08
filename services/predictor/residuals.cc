#include "services/predictor/residuals.h"

#include <algorithm>
#include <cmath>

#include "common/check/check.h"

namespace cloudscale::predictor {

void ResidualStore::Add(double residual) {
  const auto value = static_cast<float>(residual);
  if (ring_.size() == kCapacity) {
    sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), ring_[start_]));
    ring_[start_] = value;
    start_ = (start_ + 1) % kCapacity;
  } else {
    ring_.push_back(value);
  }
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), value), value);
}

double ResidualStore::Quantile(double ratio) const {
  CS_CHECK(!sorted_.empty());
  const double rank = std::ceil(ratio * static_cast<double>(sorted_.size() + 1));
  const auto index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return static_cast<double>(sorted_[std::min(index, sorted_.size() - 1)]);
}

std::vector<float> ResidualStore::Values() const {
  std::vector<float> values;
  values.reserve(ring_.size());
  for (size_t i = 0; i < ring_.size(); ++i) {
    values.push_back(ring_[(start_ + i) % ring_.size()]);
  }
  return values;
}

void ResidualStore::Assign(absl::Span<const float> oldest_first) {
  const auto kept = oldest_first.last(std::min(oldest_first.size(), kCapacity));
  ring_.assign(kept.begin(), kept.end());
  start_ = 0;
  sorted_ = ring_;
  std::sort(sorted_.begin(), sorted_.end());
}

void ResidualStore::KeepNewest(size_t count) {
  const std::vector<float> values = Values();
  Assign(absl::MakeConstSpan(values).last(std::min(count, values.size())));
}

}  // namespace cloudscale::predictor
