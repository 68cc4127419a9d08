#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/violations.h"
#include "services/sla/latency_histogram.h"

namespace cloudscale::sla {

// An exponential histogram as a reporter sends it: bucket i holds (base^(i-1), base^i] seconds.
struct ForeignHistogram {
  double base = LatencyHistogram::kBase;  // 1 < x <= 2
  int32_t offset = 0;
  std::vector<int64_t> counts;  // at most 2048, each >= 0
  int64_t zero_count = 0;
  int64_t total_count = 0;  // sum of all counts
  double sum_seconds = 0.0;
  std::optional<double> max_seconds;
};

// Response times of one source in one interval. Comes from outside and is not trusted.
struct LatencyReport {
  std::string application;
  std::string source_id;
  int64_t sequence = 0;
  absl::Time start;
  absl::Duration duration;
  std::variant<std::monostate, std::vector<double>, ForeignHistogram> data;
  int64_t error_count = 0;  // failed requests; not part of the data
  std::string vm_uuid;      // that served them; empty when not known
  // Slow requests that were told of without a time; only from the UDP listener, never over the API.
  int64_t notice_count = 0;
};

// Where reports come from.
inline constexpr char kSourceClient[] = "client";
inline constexpr char kSourceHaproxyLog[] = "haproxy";
inline constexpr char kSourceHaproxyStatistics[] = "haproxy-statistics";
inline constexpr char kSourceUdp[] = "udp";

// How old and how new a report may be.
inline constexpr absl::Duration kMaxReportAge = absl::Hours(1);
inline constexpr absl::Duration kMaxReportLead = absl::Seconds(5);

// Adds every fault of the report's form below `prefix`. Whether it is late or known is not a fault
// of form; see `SlaEngine::Report`.
void ValidateReport(const LatencyReport& report, absl::string_view prefix, Violations& violations);

// The form in which a histogram of our own is reported.
[[nodiscard]] ForeignHistogram ToReported(const LatencyHistogram& histogram, double sum_seconds);

// The report's times on our own scale. The report must be valid.
[[nodiscard]] LatencyHistogram HistogramOf(const LatencyReport& report);

// How many of its times are over `threshold_seconds`: exact for single values; a bucket of a
// histogram counts as over when its geometric middle is.
[[nodiscard]] int64_t CountAbove(const LatencyReport& report, double threshold_seconds);

}  // namespace cloudscale::sla
