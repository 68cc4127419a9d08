#include "services/sla/latency_report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace cloudscale::sla {
namespace {

constexpr size_t kMaxValues = 10000;
constexpr size_t kMaxBuckets = 2048;
constexpr double kMaxSeconds = 3600.0;
// No source serves more in five minutes; keeps every sum far from overflow.
constexpr int64_t kMaxCount = int64_t{1} << 40;
constexpr absl::Duration kMaxInterval = absl::Minutes(5);

void ValidateValues(const std::vector<double>& values, const std::string& at, Violations& v) {
  if (values.size() > kMaxValues) {
    v.Add(absl::StrCat(at, "values.latency_seconds"), absl::StrCat(values.size(), " values"),
          absl::StrCat("at most ", kMaxValues));
    return;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    RequireInRange(v, absl::StrCat(at, "values.latency_seconds[", i, "]"), values[i], 0.0,
                   kMaxSeconds);
  }
}

void ValidateHistogram(const ForeignHistogram& h, const std::string& at, Violations& v) {
  if (!(h.base > 1.0 && h.base <= 2.0)) {
    v.Add(absl::StrCat(at, "histogram.base"), absl::StrCat(h.base), "above 1, at most 2");
  }
  if (h.counts.size() > kMaxBuckets) {
    v.Add(absl::StrCat(at, "histogram.counts"), absl::StrCat(h.counts.size(), " counts"),
          absl::StrCat("at most ", kMaxBuckets));
    return;
  }
  if (h.zero_count < 0 || h.zero_count > kMaxCount) {
    v.Add(absl::StrCat(at, "histogram.zero_count"), absl::StrCat(h.zero_count),
          absl::StrCat("0 to ", kMaxCount));
    return;
  }
  int64_t sum = h.zero_count;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    if (h.counts[i] < 0 || h.counts[i] > kMaxCount) {
      v.Add(absl::StrCat(at, "histogram.counts[", i, "]"), absl::StrCat(h.counts[i]),
            absl::StrCat("0 to ", kMaxCount));
      return;
    }
    sum += h.counts[i];
  }
  if (h.total_count != sum || sum > kMaxCount) {
    v.Add(absl::StrCat(at, "histogram.total_count"), absl::StrCat(h.total_count),
          absl::StrCat("the sum of all counts (", sum, "), at most ", kMaxCount));
  }
  if (!(h.sum_seconds >= 0.0) || !std::isfinite(h.sum_seconds)) {
    v.Add(absl::StrCat(at, "histogram.sum_seconds"), absl::StrCat(h.sum_seconds), "0 or more");
  }
  if (h.max_seconds.has_value()) {
    RequireInRange(v, absl::StrCat(at, "histogram.max_seconds"), *h.max_seconds, 0.0, kMaxSeconds);
  }
}

}  // namespace

void ValidateReport(const LatencyReport& r, absl::string_view prefix, Violations& v) {
  const std::string at = prefix.empty() ? std::string() : absl::StrCat(prefix, ".");
  if (r.application.empty() || r.application.size() > 64) {
    v.Add(absl::StrCat(at, "application"), r.application, "1 to 64 characters");
  }
  if (r.source_id.empty() || r.source_id.size() > 128) {
    v.Add(absl::StrCat(at, "source_id"), r.source_id, "1 to 128 characters");
  }
  if (r.sequence < 1) {
    v.Add(absl::StrCat(at, "sequence"), absl::StrCat(r.sequence), "1 or more");
  }
  if (r.duration < absl::ZeroDuration() || r.duration > kMaxInterval) {
    v.Add(absl::StrCat(at, "duration"), absl::FormatDuration(r.duration), "0 to 5m");
  }
  if (r.error_count < 0 || r.error_count > kMaxCount) {
    v.Add(absl::StrCat(at, "error_count"), absl::StrCat(r.error_count),
          absl::StrCat("0 to ", kMaxCount));
  }
  if (r.vm_uuid.size() > 64) {
    v.Add(absl::StrCat(at, "vm_uuid"), r.vm_uuid, "at most 64 characters");
  }
  if (const auto* values = std::get_if<std::vector<double>>(&r.data)) {
    ValidateValues(*values, at, v);
  } else if (const auto* histogram = std::get_if<ForeignHistogram>(&r.data)) {
    ValidateHistogram(*histogram, at, v);
  } else {
    v.Add(absl::StrCat(at, "data"), "", "one of values, histogram");
  }
}

ForeignHistogram ToReported(const LatencyHistogram& histogram, double sum_seconds) {
  return {.base = LatencyHistogram::kBase,
          .offset = histogram.offset(),
          .counts = histogram.counts(),
          .zero_count = histogram.zero_count(),
          .total_count = histogram.count(),
          .sum_seconds = sum_seconds,
          .max_seconds = histogram.max_seconds()};
}

LatencyHistogram HistogramOf(const LatencyReport& report) {
  LatencyHistogram out;
  if (const auto* values = std::get_if<std::vector<double>>(&report.data)) {
    for (const double value : *values) {
      out.Add(value);
    }
    return out;
  }
  const auto* h = std::get_if<ForeignHistogram>(&report.data);
  if (h == nullptr) {
    return out;
  }
  out.AddZeros(h->zero_count);
  const bool same_base = h->base == LatencyHistogram::kBase;
  for (size_t i = 0; i < h->counts.size(); ++i) {
    if (h->counts[i] == 0) {
      continue;
    }
    const int64_t index = int64_t{h->offset} + static_cast<int64_t>(i);
    const auto clamped = static_cast<int32_t>(std::clamp<int64_t>(index, -1000000, 1000000));
    if (same_base) {
      out.AddToBucket(clamped, h->counts[i]);
      if (!h->max_seconds.has_value()) {
        out.NoteMax(std::min(LatencyHistogram::UpperBound(h->base, clamped), kMaxSeconds));
      }
    } else {
      const double middle = LatencyHistogram::Middle(h->base, clamped);
      const double largest = h->max_seconds.value_or(kMaxSeconds);
      out.Add(std::min(middle, std::min(largest, kMaxSeconds)), h->counts[i]);
    }
  }
  // A foreign bucket's middle is no longer the largest value once the source named that.
  if (h->max_seconds.has_value()) {
    out.NoteMax(*h->max_seconds);
  }
  return out;
}

int64_t CountAbove(const LatencyReport& report, double threshold_seconds) {
  if (const auto* values = std::get_if<std::vector<double>>(&report.data)) {
    return std::count_if(values->begin(), values->end(),
                         [&](double value) { return value > threshold_seconds; });
  }
  const auto* h = std::get_if<ForeignHistogram>(&report.data);
  if (h == nullptr) {
    return 0;
  }
  int64_t above = 0;
  for (size_t i = 0; i < h->counts.size(); ++i) {
    const int64_t index = int64_t{h->offset} + static_cast<int64_t>(i);
    const auto clamped = static_cast<int32_t>(std::clamp<int64_t>(index, -1000000, 1000000));
    if (LatencyHistogram::Middle(h->base, clamped) > threshold_seconds) {
      above += h->counts[i];
    }
  }
  return above;
}

}  // namespace cloudscale::sla
