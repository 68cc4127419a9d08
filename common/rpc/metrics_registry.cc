#include "common/rpc/metrics_registry.h"

#include <map>
#include <vector>

#include "common/sync/mutex.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"

namespace cloudscale::rpc {
namespace {

const prometheus::Histogram::BucketBoundaries& SecondsBuckets() {
  static const auto* const buckets = new prometheus::Histogram::BucketBoundaries{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
      0.05,   0.1,     0.25,   0.5,   1,      2.5,   5,    10};
  return *buckets;
}

}  // namespace

struct MetricsRegistry::Impl {
  // Per kind: metric name → family and its children, so that a lookup does not hash labels twice.
  template <typename Metric>
  struct Table {
    std::map<std::string, prometheus::Family<Metric>*, std::less<>> families;
    std::map<std::string, std::map<Labels, Metric*>, std::less<>> children;
  };

  template <typename Metric, typename Builder, typename... Args>
  Metric* Get(Table<Metric>& table, Builder builder, absl::string_view name, const Labels& labels,
              const Args&... args) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const std::string key(name);
    auto& children = table.children[key];
    if (const auto it = children.find(labels); it != children.end()) {
      return it->second;
    }
    if (children.size() >= kMaxLabelSets) {
      refused->Increment();
      return nullptr;
    }
    auto*& family = table.families[key];
    if (family == nullptr) {
      family = &builder().Name(key).Help(key + ", see docs/metrics.md").Register(registry);
    }
    Metric* metric = &family->Add(labels, args...);
    children.emplace(labels, metric);
    return metric;
  }

  Mutex mutex;
  prometheus::Registry registry;
  Table<prometheus::Counter> counters ABSL_GUARDED_BY(mutex);
  Table<prometheus::Gauge> gauges ABSL_GUARDED_BY(mutex);
  Table<prometheus::Histogram> histograms ABSL_GUARDED_BY(mutex);
  prometheus::Counter* refused = &prometheus::BuildCounter()
                                      .Name("cloudscale_metrics_refused_total")
                                      .Help("Label sets refused, see docs/metrics.md")
                                      .Register(registry)
                                      .Add({});
};

MetricsRegistry::MetricsRegistry() : impl_(std::make_unique<Impl>()) {}
MetricsRegistry::~MetricsRegistry() = default;

void MetricsRegistry::Count(absl::string_view name, const Labels& labels, double amount) {
  MutexLock lock(&impl_->mutex);
  if (auto* metric = impl_->Get(impl_->counters, prometheus::BuildCounter, name, labels)) {
    metric->Increment(amount);
  }
}

void MetricsRegistry::Set(absl::string_view name, const Labels& labels, double value) {
  MutexLock lock(&impl_->mutex);
  if (auto* metric = impl_->Get(impl_->gauges, prometheus::BuildGauge, name, labels)) {
    metric->Set(value);
  }
}

void MetricsRegistry::Remove(absl::string_view name, const Labels& labels) {
  MutexLock lock(&impl_->mutex);
  const auto family = impl_->gauges.families.find(name);
  const auto children = impl_->gauges.children.find(name);
  if (family == impl_->gauges.families.end() || children == impl_->gauges.children.end()) {
    return;
  }
  if (const auto it = children->second.find(labels); it != children->second.end()) {
    family->second->Remove(it->second);
    children->second.erase(it);
  }
}

void MetricsRegistry::ObserveSeconds(absl::string_view name, const Labels& labels, double seconds) {
  MutexLock lock(&impl_->mutex);
  if (auto* metric = impl_->Get(impl_->histograms, prometheus::BuildHistogram, name, labels,
                                SecondsBuckets())) {
    metric->Observe(seconds);
  }
}

std::string MetricsRegistry::Expose() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace cloudscale::rpc
