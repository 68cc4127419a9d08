#pragma once

#include <cmath>
#include <memory>
#include <numbers>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/check/check.h"
#include "common/random/rng.h"
#include "services/predictor/sizing/sizing_method.h"

namespace cloudscale::predictor {

inline SeriesTraits CpuTraits(absl::Duration step = absl::Minutes(5), double capacity = 1) {
  return {.resource = Resource::kCpu, .step = step, .capacity = capacity};
}
inline SeriesTraits MemoryTraits(absl::Duration step = absl::Minutes(5), double capacity = 1) {
  return {.resource = Resource::kMemory, .step = step, .capacity = capacity};
}

// The named method with the given knob, the published one by default.
inline std::unique_ptr<SizingState> StartMethod(absl::string_view name, const SeriesTraits& traits,
                                                double knob = -1) {
  static const auto& registry = *new SizingRegistry();
  const SizingMethod* method = registry.Find(name);
  CS_CHECK(method != nullptr);
  return method->Start(traits, knob < 0 ? method->knob().published : knob);
}

inline void ObserveAll(SizingState& state, const std::vector<double>& demand) {
  for (const double value : demand) {
    state.Observe({.demand = value});
  }
}

// Daily wave around 0.4 of the capacity with noise and rare bursts.
inline std::vector<double> NoisyDays(int steps, int period, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> demand;
  for (int t = 0; t < steps; ++t) {
    const double wave = 0.2 * std::sin(2 * std::numbers::pi * t / period);
    const double burst = rng.Chance(0.02) ? 0.25 : 0;
    demand.push_back(std::max(0.0, 0.4 + wave + burst + rng.Normal(0, 0.03)));
  }
  return demand;
}

}  // namespace cloudscale::predictor
