#pragma once

#include <cstddef>
#include <vector>

namespace cloudscale::predictor {

// Histogram of parts of the capacity in [0, 1] whose samples lose weight by the same ratio with
// each step, w = decay^age. Held as in the Kubernetes VPA's recommender: instead of shrinking old
// weights, new samples weigh more, and all are scaled back before they grow too large.
//
// Buckets [start(k), start(k + 1)): equal widths, or growing by a ratio,
// start(k) = first * (ratio^k - 1) / (ratio - 1). State: one double a bucket; the starts are shared
// by reference. Adding is O(log buckets), reading O(buckets). Thread safety: thread-compatible.
class DecayedHistogram {
 public:
  // Rising, from 0 to at least 1; must outlive the histogram.
  DecayedHistogram(const std::vector<double>& starts, double decay_per_step);

  // Lets one step pass, then adds a sample of the present.
  void Add(double ratio);
  [[nodiscard]] bool empty() const { return total_ <= 0; }

  // End of the first bucket up to which at least `percentile` of the weight lies; in [0, 1].
  // `extra`, when not negative, counts as `Add` would count it.
  [[nodiscard]] double Percentile(double percentile, double extra = -1) const;
  // The same with every weight multiplied by the end of its bucket: the part of the *load*.
  [[nodiscard]] double LoadPercentile(double percentile) const;

  [[nodiscard]] size_t heap_bytes() const { return weights_.capacity() * sizeof(double); }

 private:
  [[nodiscard]] size_t Bucket(double ratio) const;
  [[nodiscard]] double End(size_t bucket) const;

  const std::vector<double>& starts_;
  const double growth_;
  double next_weight_ = 1;
  double total_ = 0;
  std::vector<double> weights_;
};

// Starts of buckets: equal ones, and those that grow by `ratio` from a first width.
[[nodiscard]] std::vector<double> EqualBuckets(int count);
[[nodiscard]] std::vector<double> GrowingBuckets(double first, double ratio);

}  // namespace cloudscale::predictor
