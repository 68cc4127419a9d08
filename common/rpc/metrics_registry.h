#pragma once

#include <memory>
#include <string>

#include "common/metrics/metric_sink.h"

namespace cloudscale::rpc {

// Metrics for Prometheus (prometheus-cpp behind it). A metric with more than `kMaxLabelSets` label
// combinations stops taking new ones, counted in `cloudscale_metrics_refused_total`. Thread safety:
// thread-safe.
class MetricsRegistry final : public MetricSink {
 public:
  static constexpr size_t kMaxLabelSets = 20'000;

  MetricsRegistry();
  ~MetricsRegistry() override;

  void Count(absl::string_view name, const Labels& labels, double amount) override;
  void Set(absl::string_view name, const Labels& labels, double value) override;
  void Remove(absl::string_view name, const Labels& labels) override;
  void ObserveSeconds(absl::string_view name, const Labels& labels, double seconds) override;

  // The text exposition format.
  [[nodiscard]] std::string Expose() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cloudscale::rpc
