#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace cloudscale::predictor {

// The newest residuals (demand minus expected demand) of one model at one horizon, and their
// empirical quantiles. Bounded: `kCapacity`. Adding is linear in the capacity, a quantile O(1).
// Thread safety: thread-compatible.
class ResidualStore {
 public:
  static constexpr size_t kCapacity = 128;
  // Fewer say nothing about a distribution.
  static constexpr size_t kMinCount = 16;

  void Add(double residual);
  // The value that at least the part `ratio` of the next residual's rank does not exceed:
  // the ceil((n + 1) ratio)-th smallest, at most the largest. `size()` must not be 0.
  [[nodiscard]] double Quantile(double ratio) const;
  [[nodiscard]] size_t size() const { return sorted_.size(); }
  [[nodiscard]] bool is_usable() const { return size() >= kMinCount; }
  void KeepNewest(size_t count);
  // Oldest first.
  [[nodiscard]] std::vector<float> Values() const;
  void Assign(absl::Span<const float> oldest_first);

 private:
  // float: half the memory, and far finer than the demand is known.
  std::vector<float> ring_;
  size_t start_ = 0;
  std::vector<float> sorted_;
};

}  // namespace cloudscale::predictor
