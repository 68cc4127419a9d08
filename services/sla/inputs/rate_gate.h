#pragma once

#include <cstdint>

#include "common/time/clock.h"

namespace cloudscale::sla {

// Lets through at most so many in each second, counted from the first of them.
// Thread safety: thread-compatible.
class RateGate {
 public:
  explicit RateGate(int64_t max_per_second) : max_per_second_(max_per_second) {}

  [[nodiscard]] bool Pass(MonoTime now) {
    if (taken_ == 0 || now - second_start_ >= absl::Seconds(1) || now < second_start_) {
      second_start_ = now;
      taken_ = 0;
    }
    if (taken_ >= max_per_second_) {
      return false;
    }
    ++taken_;
    return true;
  }

 private:
  int64_t max_per_second_;  // 1 or more
  MonoTime second_start_;
  int64_t taken_ = 0;
};

}  // namespace cloudscale::sla
