#pragma once

#include <map>
#include <string>
#include <utility>

#include "common/metrics/metric_sink.h"
#include "common/sync/mutex.h"

namespace cloudscale::testing {

// Keeps counters and gauges for a test to look at. Thread safety: thread-safe.
class RecordingMetricSink final : public MetricSink {
 public:
  void Count(absl::string_view name, const Labels& labels, double amount) override {
    MutexLock lock(&mutex_);
    values_[{std::string(name), labels}] += amount;
  }
  void Set(absl::string_view name, const Labels& labels, double value) override {
    MutexLock lock(&mutex_);
    values_[{std::string(name), labels}] = value;
  }
  void Remove(absl::string_view name, const Labels& labels) override {
    MutexLock lock(&mutex_);
    values_.erase({std::string(name), labels});
  }
  void ObserveSeconds(absl::string_view, const Labels&, double) override {}

  // 0 when it was never touched.
  [[nodiscard]] double value(const std::string& name, const Labels& labels = {}) const {
    MutexLock lock(&mutex_);
    const auto it = values_.find({name, labels});
    return it == values_.end() ? 0 : it->second;
  }

 private:
  mutable Mutex mutex_;
  std::map<std::pair<std::string, Labels>, double> values_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cloudscale::testing
