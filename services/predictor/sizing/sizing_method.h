#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// What is known of a series before its first step.
struct SeriesTraits {
  Resource resource = Resource::kCpu;
  absl::Duration step = absl::Seconds(10);
  // Most that the VM can consume: its vCPUs in cores, its memory in bytes; > 0.
  double capacity = 1;
};

// Demand of one step.
struct StepDemand {
  double demand = 0;  // finite, >= 0
  // The allocation held it back: `demand` is only a lower bound.
  bool is_censored = false;
  // In force during the step; negative when it is what `Size` said last.
  double allocation = -1;
  // Of a censored step: the most that an allocation let through, where `demand` is an estimate of
  // more; negative when `demand` is what was seen.
  double held = -1;
  // False when part of it was not seen, or it was made up from its neighbours: the demand may have
  // been higher.
  bool is_complete = true;
  // False when no size was asked for it: it says nothing of how good one was.
  bool is_judged = true;
};

// The step was held back below what was advised, and wanted no more than that as far as was seen:
// it does not tell whether the advice would have done. In any one unit; `allocation` < 0: not
// known.
[[nodiscard]] inline bool IsWithheld(bool is_censored, double demand, double allocation,
                                     double advised) {
  return is_censored && allocation >= 0 && allocation < 0.99 * advised && demand <= advised;
}

// One method on one series. Steps come in order and without holes but for `Skip`. Deterministic;
// no clock, no I/O, and no allocation of memory per step once warm. Thread safety:
// thread-compatible.
class SizingState {
 public:
  virtual ~SizingState() = default;

  virtual void Observe(const StepDemand& step) = 0;
  // The demand of so many steps is not known; >= 1.
  virtual void Skip(int64_t steps) = 0;

  // Allocation that the method asks for, to be held for the next `steps` steps (>= 1); in
  // [0, capacity]. The full capacity before the first step was observed.
  virtual double Size(int steps) = 0;
  // Expected largest demand of the next `steps` steps, without any margin; in [0, capacity].
  virtual double Expected(int steps) = 0;

  // Bytes that the state holds, heap included.
  [[nodiscard]] virtual size_t bytes() const = 0;
};

// The one number by which an operator, or a sweep, makes a method more or less careful.
struct SizingKnob {
  absl::string_view meaning;  // e.g. "factor on the recommendation"
  double published = 0;       // the setting of the source
  std::vector<double> sweep;  // from the least to the most careful
};

// A way to size. Thread safety: immutable.
class SizingMethod {
 public:
  virtual ~SizingMethod() = default;
  [[nodiscard]] virtual absl::string_view name() const = 0;
  [[nodiscard]] virtual absl::string_view description() const = 0;
  [[nodiscard]] virtual absl::string_view source() const = 0;
  [[nodiscard]] virtual const SizingKnob& knob() const = 0;
  [[nodiscard]] virtual std::unique_ptr<SizingState> Start(const SeriesTraits& traits,
                                                           double knob) const = 0;
};

// The methods in order of name. The only place to add one is the table in sizing_registry.cc.
class SizingRegistry {
 public:
  SizingRegistry();
  // Null when there is none of that name.
  [[nodiscard]] const SizingMethod* Find(absl::string_view name) const;
  [[nodiscard]] const std::vector<std::unique_ptr<SizingMethod>>& methods() const {
    return methods_;
  }

 private:
  std::vector<std::unique_ptr<SizingMethod>> methods_;
};

}  // namespace cloudscale::predictor
