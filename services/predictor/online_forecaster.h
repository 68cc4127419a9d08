#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/predictor/sizing/sizing_method.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

struct ModelOutput;

// Of a series, as far as a forecaster must know it beforehand.
struct OnlineTraits {
  Resource resource = Resource::kCpu;
  absl::Duration step = absl::Seconds(10);
  std::vector<int> horizons;   // in steps, growing, >= 1
  std::vector<double> ratios;  // growing, in (0, 1)
  double target_violation_ratio = 0.02;
};

// What other series have learnt, for one that begins.
struct Experience {
  std::vector<float> shapes;  // as the model gave them; empty: none
  // Of a violation while the series is young; >= 1.
  double price_factor = 1;
};

// How a series did while it was young.
struct YouthOutcome {
  double violations = 0;
  double expected = 0;  // violations that the target allows
};

// A model that learns a series step by step and keeps what it has learnt, unlike one that is given
// the history anew each time. Bounded. Deterministic: no clock, no I/O. Thread safety:
// thread-compatible.
class OnlineForecaster {
 public:
  virtual ~OnlineForecaster() = default;

  // Most that the VM can consume, in cores or bytes; > 0. Where nobody says, it is found out.
  virtual void SetCapacity(double capacity) = 0;
  // `ratio` in (0, 0.5]; the price of a violation is multiplied by `price_factor` >= 1.
  virtual void SetTarget(double ratio, double price_factor) = 0;

  // Steps come in order.
  virtual void Observe(const StepDemand& step) = 0;
  // The demand of so many steps is not known; >= 1.
  virtual void Skip(int64_t steps) = 0;

  // Of the steps after the newest: everything but the path and the reason's words. At least one
  // step must have been observed.
  virtual void Forecast(ModelOutput& output) = 0;

  // Judges anew what to trust, by the newest errors; demand stays known.
  virtual void Retrain() = 0;

  // The newest `count` demands or what is known of them, oldest first.
  [[nodiscard]] virtual std::vector<double> RecentDemand(size_t count) const = 0;

  // Shapes that hold for other series of its kind; empty when none do. Nothing of it tells a level.
  [[nodiscard]] virtual std::vector<float> GetShapes() const = 0;
  // Only before the first step; shapes of another model are ignored.
  virtual void StartWith(const Experience& experience) = 0;
  // Once, when the series is no longer young.
  [[nodiscard]] virtual std::optional<YouthOutcome> TakeYouthOutcome() = 0;

  // All that was learnt; continues bit for bit in a forecaster that was started with the same
  // traits. `Load` returns false, and leaves the forecaster as it was, for anything else.
  [[nodiscard]] virtual std::string Save() const = 0;
  [[nodiscard]] virtual bool Load(absl::string_view bytes) = 0;

  // Heap included.
  [[nodiscard]] virtual size_t bytes() const = 0;
};

}  // namespace cloudscale::predictor
