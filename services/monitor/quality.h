#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cloudscale::monitor {

// How far one sample of one series can be trusted. Only kFresh and kSkewed samples may teach a
// model or justify taking something away from a VM (promise P1); every other quality means "hold".
enum class Quality {
  kFresh,       // new, on time and plausible
  kLate,        // true, but over an interval that is not one period, or from an ageing report
  kMissing,     // nothing was read; the values are absent
  kStale,       // nothing was read for more than `SamplingConfig::stale_after_periods`
  kRepeated,    // the same reading was delivered again
  kStuck,       // the counter stands still though others show that the VM runs
  kImpossible,  // outside of what the hardware can do
  kReset,       // the counter started again; no rate can be computed
  kSkewed,      // usable, but its clock disagrees with the host's
  kWarming,     // first sample of a series; no rate yet
};
inline constexpr size_t kQualityCount = 10;

// "fresh", "late" …; stable, used in metrics and in GetStatus.
[[nodiscard]] absl::string_view QualityName(Quality quality);

// True for the qualities that models and shrinking may rely on.
[[nodiscard]] constexpr bool IsTrusted(Quality quality) {
  return quality == Quality::kFresh || quality == Quality::kSkewed;
}

// Samples by quality. Thread safety: thread-compatible.
class QualityCounts {
 public:
  void Add(Quality quality) { ++counts_[static_cast<size_t>(quality)]; }
  [[nodiscard]] int64_t operator[](Quality quality) const {
    return counts_[static_cast<size_t>(quality)];
  }
  [[nodiscard]] int64_t total() const {
    int64_t sum = 0;
    for (int64_t count : counts_) {
      sum += count;
    }
    return sum;
  }

 private:
  std::array<int64_t, kQualityCount> counts_{};
};

}  // namespace cloudscale::monitor
