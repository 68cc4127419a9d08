#include "common/workload/pattern.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::workload {
namespace {

constexpr std::array<std::pair<Pattern, absl::string_view>, 11> kNames = {{
    {Pattern::kFlat, "flat"},
    {Pattern::kSine, "sine"},
    {Pattern::kSquare, "square"},
    {Pattern::kSpike, "spike"},
    {Pattern::kRamp, "ramp"},
    {Pattern::kTrend, "trend"},
    {Pattern::kRandomWalk, "random-walk"},
    {Pattern::kIdleBurst, "idle-burst"},
    {Pattern::kWeb, "web"},
    {Pattern::kBatch, "batch"},
    {Pattern::kBursty, "bursty"},
}};

constexpr double kMaxSteps = 1e6;
constexpr double kSpikeShare = 0.05;     // of a period
constexpr double kWalkSteps = 40;        // random walk: steps of the period's share
constexpr double kIdleLevel = 0.1;       // of the mean
constexpr double kBurstShare = 1.0 / 8;  // mean length of a burst, of a period
constexpr double kBurstsPerPeriod = 3;
constexpr double kNoiseMemory = 0.8;  // correlation of the web noise from step to step
constexpr int64_t kJobsPerLevel = 3;

// Everything in steps of the grid.
struct Grid {
  const PatternSpec& spec;
  int64_t size;
  double period;  // steps

  [[nodiscard]] double Phase(int64_t i) const {
    const double turns = static_cast<double>(i) / period;
    return turns - std::floor(turns);
  }
  [[nodiscard]] double low() const { return spec.mean - spec.amplitude; }
  [[nodiscard]] double high() const { return spec.mean + spec.amplitude; }
};

// Shapes that follow from the moment alone.
double PeriodicValue(const Grid& grid, int64_t i) {
  const double phase = grid.Phase(i);
  constexpr double kTurn = 2 * std::numbers::pi;
  switch (grid.spec.pattern) {
    case Pattern::kSine:
      return grid.spec.mean + grid.spec.amplitude * std::sin(kTurn * phase);
    case Pattern::kSquare:
      return phase < 0.5 ? grid.low() : grid.high();
    case Pattern::kSpike:
      return phase >= 1 - kSpikeShare ? grid.high() : grid.low();
    case Pattern::kRamp:
      return grid.low() + 2 * grid.spec.amplitude * phase;
    case Pattern::kTrend: {
      const double part = static_cast<double>(i) / static_cast<double>(grid.size);
      return grid.low() + 2 * grid.spec.amplitude * (1 - std::abs(2 * part - 1));
    }
    case Pattern::kWeb:
      // The second wave makes the evening peak higher than the noon one and the night long.
      return grid.spec.mean + grid.spec.amplitude * (-0.75 * std::cos(kTurn * phase) -
                                                     0.35 * std::sin(2 * kTurn * phase));
    default:
      return grid.spec.mean;
  }
}

std::vector<double> RandomWalk(const Grid& grid, Rng& rng) {
  std::vector<double> values;
  double level = grid.spec.mean;
  const double stride = 2 * grid.spec.amplitude / std::sqrt(std::max(grid.period, kWalkSteps));
  for (int64_t i = 0; i < grid.size; ++i) {
    level = std::clamp(level + rng.Normal(0, stride), grid.low(), grid.high());
    values.push_back(level);
  }
  return values;
}

// Levels held for random times, low and high in turn.
std::vector<double> OnOff(const Grid& grid, Rng& rng) {
  const bool is_batch = grid.spec.pattern == Pattern::kBatch;
  std::vector<double> values;
  const auto size = static_cast<size_t>(grid.size);
  double level = grid.high();
  for (int64_t job = 0; values.size() < size; ++job) {
    double idle_steps = 0;
    double busy_steps = 0;
    if (is_batch) {
      if (job % kJobsPerLevel == 0) {
        level = grid.spec.mean + grid.spec.amplitude * rng.Uniform(-0.3, 1.0);
      }
      idle_steps = grid.period * 0.4 * rng.Uniform(0.85, 1.15);
      busy_steps = grid.period * 0.6 * rng.Uniform(0.85, 1.15);
    } else {
      level = grid.spec.mean + grid.spec.amplitude * rng.Uniform(0.5, 1.0);
      idle_steps = rng.Exponential(grid.period * (1 - kBurstShare));
      busy_steps = rng.Exponential(grid.period * kBurstShare);
    }
    const double idle = is_batch ? std::max(grid.low(), 0.0) : kIdleLevel * grid.spec.mean;
    // At least one step, so that the loop ends.
    const auto idle_count = static_cast<size_t>(std::max(1.0, std::round(idle_steps)));
    const auto busy_count = static_cast<size_t>(std::max(1.0, std::round(busy_steps)));
    values.insert(values.end(), std::min(idle_count, size - values.size()), idle);
    values.insert(values.end(), std::min(busy_count, size - values.size()), level);
  }
  return values;
}

std::vector<double> Bursty(const Grid& grid, Rng& rng) {
  std::vector<double> values;
  const double base = std::max(grid.spec.mean - grid.spec.amplitude / 2, 0.0);
  const double decay = std::exp(-1 / std::max(1.0, grid.period * kBurstShare / 2));
  double burst = 0;
  for (int64_t i = 0; i < grid.size; ++i) {
    burst *= decay;
    if (rng.Chance(std::min(1.0, kBurstsPerPeriod / grid.period))) {
      burst = std::max(burst, grid.spec.amplitude * rng.Uniform(0.6, 1.5));
    }
    values.push_back(base + burst);
  }
  return values;
}

void AddNoise(const Grid& grid, Rng& rng, std::vector<double>& values) {
  const double deviation = grid.spec.noise_ratio * grid.spec.mean;
  const double memory = grid.spec.pattern == Pattern::kWeb ? kNoiseMemory : 0;
  const double fresh = std::sqrt(1 - memory * memory);
  double noise = 0;
  for (double& value : values) {
    noise = memory * noise + fresh * rng.Normal(0, deviation);
    value = std::clamp(value + noise, 0.0, 1.0);
  }
}

absl::Status Validate(const PatternSpec& spec) {
  Violations violations;
  RequireInRange(violations, "mean", spec.mean, 0, 1);
  RequireInRange(violations, "amplitude", spec.amplitude, 0, 1);
  RequireInRange(violations, "noise_ratio", spec.noise_ratio, 0, 1);
  if (spec.step < absl::Milliseconds(1) || spec.step == absl::InfiniteDuration()) {
    violations.Add("step", absl::FormatDuration(spec.step), "1ms <= x");
    return violations.ToStatus();
  }
  const double period_steps = absl::FDivDuration(spec.period, spec.step);
  if (!(period_steps >= 2 && period_steps <= kMaxSteps)) {
    violations.Add("period", absl::FormatDuration(spec.period), "2 to 1000000 steps");
  }
  const double length_steps = absl::FDivDuration(spec.length, spec.step);
  if (!(length_steps >= 2 && length_steps <= kMaxSteps)) {
    violations.Add("length", absl::FormatDuration(spec.length), "2 to 1000000 steps");
  }
  return violations.ToStatus();
}

}  // namespace

absl::string_view PatternName(Pattern pattern) {
  for (const auto& [value, name] : kNames) {
    if (value == pattern) {
      return name;
    }
  }
  return "unknown";
}

absl::StatusOr<Pattern> ParsePattern(absl::string_view name) {
  std::string known;
  for (const auto& [value, known_name] : kNames) {
    if (known_name == name) {
      return value;
    }
    absl::StrAppend(&known, known.empty() ? "" : ", ", known_name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("pattern '", name, "' is unknown; known are ", known));
}

absl::StatusOr<trace::Trace> GeneratePattern(const std::string& name, const PatternSpec& spec,
                                             Rng rng) {
  CS_RETURN_IF_ERROR(Validate(spec));
  const Grid grid{spec, static_cast<int64_t>(absl::FDivDuration(spec.length, spec.step)),
                  absl::FDivDuration(spec.period, spec.step)};
  Rng shape = rng.Fork("shape");
  Rng noise = rng.Fork("noise");
  trace::Trace trace;
  trace.name = name;
  trace.resource = "value";
  trace.period = spec.step;
  switch (spec.pattern) {
    case Pattern::kRandomWalk:
      trace.values = RandomWalk(grid, shape);
      break;
    case Pattern::kBatch:
    case Pattern::kIdleBurst:
      trace.values = OnOff(grid, shape);
      break;
    case Pattern::kBursty:
      trace.values = Bursty(grid, shape);
      break;
    default:
      for (int64_t i = 0; i < grid.size; ++i) {
        trace.values.push_back(PeriodicValue(grid, i));
      }
  }
  AddNoise(grid, noise, trace.values);
  trace.note = absl::StrCat("made: ", PatternName(spec.pattern));
  return trace;
}

}  // namespace cloudscale::workload
