#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/random/rng.h"
#include "common/trace/trace.h"

namespace cloudscale::workload {

// Shapes of made demand, for demonstrations and tests without recorded traces.
enum class Pattern {
  kFlat,        // the mean
  kSine,        // one wave per period
  kSquare,      // half a period low, half a period high
  kSpike,       // low, with one spike of a twentieth of the period in each
  kRamp,        // rises over each period, then falls at once
  kTrend,       // rises over half of the length and falls over the other half
  kRandomWalk,  // wanders within mean +- amplitude
  kIdleBurst,   // almost idle, with bursts at random moments, one per period on average
  kWeb,         // a site's day: quiet night, morning rise, evening peak; correlated noise
  kBatch,       // jobs on and off, about one per period, whose level shifts every few jobs
  kBursty,      // a base with sudden bursts that decay, three per period on average
};

struct PatternSpec {
  Pattern pattern = Pattern::kWeb;
  double mean = 0.5;                            // fraction of the VM, 0..1
  double amplitude = 0.3;                       // fraction of the VM, 0..1
  absl::Duration period = absl::Seconds(120);   // at least 2 steps
  double noise_ratio = 0.05;                    // standard deviation / mean, 0..1
  absl::Duration step = absl::Seconds(1);       // grid of the result, >= 1 ms
  absl::Duration length = absl::Seconds(3600);  // 2 steps to 1 million steps; then it repeats
};

// The name of a pattern, as in "web" or "idle-burst".
[[nodiscard]] absl::string_view PatternName(Pattern pattern);
// INVALID_ARGUMENT names the known ones.
[[nodiscard]] absl::StatusOr<Pattern> ParsePattern(absl::string_view name);

// Makes the series; all values within 0..1. The same spec and generator give the same series on
// every machine. INVALID_ARGUMENT lists every field out of range.
[[nodiscard]] absl::StatusOr<trace::Trace> GeneratePattern(const std::string& name,
                                                           const PatternSpec& spec, Rng rng);

}  // namespace cloudscale::workload
