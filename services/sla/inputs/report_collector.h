#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/sla/inputs/member_index.h"
#include "services/sla/latency_report.h"

namespace cloudscale::sla {

// Sums requests up to one report per application and VM and slice of time. Values stay single, so
// that verdicts from them are exact; a slice with more than kMaxValues for a VM gives several
// reports.
// Thread safety: thread-compatible.
class ReportCollector {
 public:
  static constexpr size_t kMaxValues = 10000;

  // `source_id`: of the reports. `now`: sequences go on from it, so that they are new after a
  // restart.
  ReportCollector(std::string source_id, absl::Time now)
      : source_id_(std::move(source_id)), last_sequence_(absl::ToUnixMicros(now)) {}

  // 0 to 3600 s.
  void AddLatency(const RequestTarget& target, double seconds);
  // Many equal ones, as one histogram; `count` >= 0.
  void AddLatencies(const RequestTarget& target, double seconds, int64_t count);
  void AddFailures(const RequestTarget& target, int64_t count);
  // Slow requests of which no time is known.
  void AddNotices(const RequestTarget& target, int64_t count);

  [[nodiscard]] bool empty() const { return open_.empty() && closed_.empty(); }

  // The reports of [start, end), which becomes empty; `end - start` within 0 to 5 minutes.
  [[nodiscard]] std::vector<LatencyReport> Take(absl::Time start, absl::Time end);

 private:
  struct Open {
    LatencyReport report;
    std::vector<double> values;
    LatencyHistogram histogram;
    double sum_seconds = 0.0;  // of the histogram
  };

  Open& OpenFor(const RequestTarget& target);
  // `open` as a report; empty afterwards.
  void Close(Open& open);

  std::string source_id_;
  int64_t last_sequence_;
  std::map<RequestTarget, Open> open_;
  std::vector<LatencyReport> closed_;
};

}  // namespace cloudscale::sla
