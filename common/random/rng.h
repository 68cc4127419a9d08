#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cloudscale {

// Seeded random numbers that are the same on every machine and library version (xoshiro256**,
// seeded by SplitMix64; Blackman & Vigna, public domain). `std::` distributions are not
// reproducible between libraries, so ours are here. Thread safety: thread-compatible.
class Rng {
 public:
  explicit Rng(uint64_t seed);

  // An independent stream for one consumer; a new consumer does not shift the others.
  [[nodiscard]] Rng Fork(absl::string_view label) const;

  [[nodiscard]] uint64_t Next();
  // In [0, 1).
  [[nodiscard]] double Uniform();
  [[nodiscard]] double Uniform(double low, double high);
  // In [0, bound); bound must be > 0.
  [[nodiscard]] int64_t UniformInt(int64_t bound);
  [[nodiscard]] double Normal(double mean, double deviation);
  [[nodiscard]] double Exponential(double mean);
  [[nodiscard]] bool Chance(double probability) { return Uniform() < probability; }

 private:
  std::array<uint64_t, 4> state_;
};

}  // namespace cloudscale
