#pragma once

#include "absl/time/time.h"
#include "common/random/rng.h"

namespace cloudscale {

// Exponential backoff with full jitter for reconnects: delay i is uniform in [d/2, d] with d =
// initial * 2^i, at most `max`. Thread safety: thread-compatible.
class Backoff {
 public:
  struct Config {
    absl::Duration initial = absl::Milliseconds(100);
    absl::Duration max = absl::Seconds(10);
  };
  Backoff(Rng rng, Config config) : rng_(rng), config_(config), next_(config.initial) {}

  [[nodiscard]] absl::Duration NextDelay() {
    const absl::Duration delay = next_ * rng_.Uniform(0.5, 1.0);
    next_ = std::min(next_ * 2, config_.max);
    return delay;
  }
  // Call after a success.
  void Reset() { next_ = config_.initial; }

 private:
  Rng rng_;
  Config config_;
  absl::Duration next_;
};

}  // namespace cloudscale
