#pragma once

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace cloudscale {

// Where code puts its numbers. Names are `cloudscale_<service>_<thing>_<unit>[_total]`, listed in
// docs/metrics.md. Labels take values from small fixed sets (`vm` only on gauges). The adapter
// behind it decides how they are exposed. Thread safety: thread-safe.
class MetricSink {
 public:
  using Labels = std::map<std::string, std::string>;
  virtual ~MetricSink() = default;

  // Adds to a counter; `amount` >= 0.
  virtual void Count(absl::string_view name, const Labels& labels, double amount) = 0;
  // Sets a gauge.
  virtual void Set(absl::string_view name, const Labels& labels, double value) = 0;
  // Removes a gauge, e.g. when its VM is gone.
  virtual void Remove(absl::string_view name, const Labels& labels) = 0;
  // Adds an observation, in seconds, to a histogram.
  virtual void ObserveSeconds(absl::string_view name, const Labels& labels, double seconds) = 0;
};

// Drops everything; for simulation, backtests and tools that have nobody to tell.
class NullMetricSink final : public MetricSink {
 public:
  void Count(absl::string_view, const Labels&, double) override {}
  void Set(absl::string_view, const Labels&, double) override {}
  void Remove(absl::string_view, const Labels&) override {}
  void ObserveSeconds(absl::string_view, const Labels&, double) override {}
};

}  // namespace cloudscale
