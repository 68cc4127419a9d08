#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace cloudscale::sla {

// Response times on a logarithmic scale: bucket i counts values in (kBase^(i-1), kBase^i] seconds,
// so that every quantile is known to within 5 % and histograms add up whatever their size. Values
// at or below a microsecond are counted apart, values over an hour go into the last bucket.
// Memory: at most kMaxIndex - kMinIndex + 1 (453) counters; only the range in use is kept.
// Thread safety: thread-compatible.
class LatencyHistogram {
 public:
  static constexpr double kBase = 1.05;
  static constexpr int32_t kMinIndex = -283;  // the bucket that ends just above 1 µs
  static constexpr int32_t kMaxIndex = 168;   // the bucket that ends just above 1 h

  // Adds `count` (> 0) values of `seconds` (>= 0).
  void Add(double seconds, int64_t count = 1);
  // Adds `count` values to the bucket `index` of this base; out-of-range indexes are clamped.
  void AddToBucket(int32_t index, int64_t count);
  void AddZeros(int64_t count);
  void Merge(const LatencyHistogram& other);
  // Lowers what `Quantile` may answer to the largest value known; `seconds` >= 0.
  void NoteMax(double seconds);

  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] int64_t zero_count() const { return zero_count_; }
  // Index of the first counter of `counts()`.
  [[nodiscard]] int32_t offset() const { return offset_; }
  [[nodiscard]] const std::vector<int64_t>& counts() const { return counts_; }
  [[nodiscard]] std::optional<double> max_seconds() const { return max_seconds_; }

  // Nearest-rank quantile in seconds, rounded up to the end of its bucket but not above the largest
  // value seen; `ratio` in (0, 1]. nullopt when empty.
  [[nodiscard]] std::optional<double> Quantile(double ratio) const;

  // Upper end of bucket `index` of an exponential histogram.
  [[nodiscard]] static double UpperBound(double base, int32_t index);
  // Geometric middle of a bucket: stands for its values where one must be named.
  [[nodiscard]] static double Middle(double base, int32_t index);

 private:
  std::vector<int64_t> counts_;
  int32_t offset_ = 0;
  int64_t zero_count_ = 0;
  int64_t count_ = 0;
  std::optional<double> max_seconds_;
};

}  // namespace cloudscale::sla
