#include "tools/worker/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace cloudscale::worker {

std::string ToJsonLine(Interval interval) {
  std::vector<absl::Duration>& latencies = interval.latencies;
  std::string mean = "null";
  std::string p95 = "null";
  if (!latencies.empty()) {
    const auto count = static_cast<double>(latencies.size());
    const absl::Duration sum =
        std::accumulate(latencies.begin(), latencies.end(), absl::ZeroDuration());
    const auto rank = static_cast<int64_t>(std::ceil(0.95 * count)) - 1;
    std::nth_element(latencies.begin(), latencies.begin() + rank, latencies.end());
    mean = absl::StrFormat("%.6f", absl::ToDoubleSeconds(sum) / count);
    p95 = absl::StrFormat("%.6f", absl::ToDoubleSeconds(latencies[static_cast<size_t>(rank)]));
  }
  return absl::StrFormat(
      "{\"t\":%.3f,\"unix_seconds\":%.3f,\"demanded_cpu_seconds\":%.6f,"
      "\"done_cpu_seconds\":%.6f,\"total_demanded_cpu_seconds\":%.6f,"
      "\"total_done_cpu_seconds\":%.6f,\"backlog\":%d,\"dropped_units\":%d,"
      "\"finished_units\":%d,\"latency_mean_seconds\":%s,\"latency_p95_seconds\":%s}",
      absl::ToDoubleSeconds(interval.elapsed),
      absl::ToDoubleSeconds(interval.end - absl::UnixEpoch()), interval.demanded_cpu_seconds,
      interval.done_cpu_seconds, interval.total_demanded_cpu_seconds,
      interval.total_done_cpu_seconds, interval.backlog, interval.dropped_units, latencies.size(),
      mean, p95);
}

}  // namespace cloudscale::worker
