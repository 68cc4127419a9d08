#include "services/sla/latency_histogram.h"

#include <algorithm>
#include <cmath>

#include "common/check/check.h"

namespace cloudscale::sla {
namespace {

constexpr double kSmallestSeconds = 1e-6;

}  // namespace

double LatencyHistogram::UpperBound(double base, int32_t index) { return std::pow(base, index); }

double LatencyHistogram::Middle(double base, int32_t index) {
  return std::pow(base, static_cast<double>(index) - 0.5);
}

void LatencyHistogram::Add(double seconds, int64_t count) {
  CS_CHECK(seconds >= 0.0 && count > 0);
  NoteMax(seconds);
  if (seconds <= kSmallestSeconds) {
    AddZeros(count);
    return;
  }
  // The small allowance keeps an exact power of the base in its own bucket despite rounding.
  const double index = std::ceil(std::log(seconds) / std::log(kBase) - 1e-9);
  AddToBucket(static_cast<int32_t>(std::clamp(index, static_cast<double>(kMinIndex),
                                              static_cast<double>(kMaxIndex))),
              count);
}

void LatencyHistogram::AddToBucket(int32_t index, int64_t count) {
  CS_CHECK(count >= 0);
  if (count == 0) {
    return;
  }
  index = std::clamp(index, kMinIndex, kMaxIndex);
  if (counts_.empty()) {
    offset_ = index;
  }
  if (index < offset_) {
    counts_.insert(counts_.begin(), static_cast<size_t>(offset_ - index), 0);
    offset_ = index;
  }
  const auto at = static_cast<size_t>(index - offset_);
  if (at >= counts_.size()) {
    counts_.resize(at + 1, 0);
  }
  counts_[at] += count;
  count_ += count;
}

void LatencyHistogram::AddZeros(int64_t count) {
  CS_CHECK(count >= 0);
  zero_count_ += count;
  count_ += count;
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  if (!other.counts_.empty()) {
    // Both ends first, so that the counters grow at most twice.
    const int32_t last = other.offset_ + static_cast<int32_t>(other.counts_.size()) - 1;
    AddToBucket(last, other.counts_.back());
    for (size_t i = 0; i + 1 < other.counts_.size(); ++i) {
      AddToBucket(other.offset_ + static_cast<int32_t>(i), other.counts_[i]);
    }
  }
  AddZeros(other.zero_count_);
  if (other.max_seconds_.has_value()) {
    NoteMax(*other.max_seconds_);
  }
}

void LatencyHistogram::NoteMax(double seconds) {
  max_seconds_ = std::max(max_seconds_.value_or(0.0), seconds);
}

std::optional<double> LatencyHistogram::Quantile(double ratio) const {
  CS_CHECK(ratio > 0.0 && ratio <= 1.0);
  if (count_ == 0) {
    return std::nullopt;
  }
  const auto rank = std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(ratio * static_cast<double>(count_) - 1e-9)));
  int64_t seen = zero_count_;
  if (seen >= rank) {
    return 0.0;
  }
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= rank) {
      const double upper = UpperBound(kBase, offset_ + static_cast<int32_t>(i));
      return max_seconds_.has_value() ? std::min(upper, *max_seconds_) : upper;
    }
  }
  return max_seconds_.value_or(UpperBound(kBase, kMaxIndex));
}

}  // namespace cloudscale::sla
