#include "common/random/rng.h"

#include <bit>
#include <cmath>
#include <numbers>

#include "common/check/check.h"

namespace cloudscale {
namespace {

uint64_t SplitMix(uint64_t& x) {
  x += 0x9e3779b97f4a7c15ULL;
  uint64_t z = x;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

Rng::Rng(uint64_t seed) {
  for (uint64_t& word : state_) {
    word = SplitMix(seed);
  }
}

Rng Rng::Fork(absl::string_view label) const {
  uint64_t hash = 0xcbf29ce484222325ULL ^ state_[0] ^ std::rotl(state_[2], 17);
  for (const char c : label) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return Rng(hash);
}

uint64_t Rng::Next() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

double Rng::Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
double Rng::Uniform(double low, double high) { return low + (high - low) * Uniform(); }

int64_t Rng::UniformInt(int64_t bound) {
  CS_CHECK(bound > 0);
  return static_cast<int64_t>(Uniform() * static_cast<double>(bound));
}

double Rng::Normal(double mean, double deviation) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
  return mean + deviation * radius * std::cos(2.0 * std::numbers::pi * Uniform());
}

double Rng::Exponential(double mean) { return -mean * std::log(1.0 - Uniform()); }

}  // namespace cloudscale
