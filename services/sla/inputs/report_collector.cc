#include "services/sla/inputs/report_collector.h"

#include <utility>

namespace cloudscale::sla {

ReportCollector::Open& ReportCollector::OpenFor(const RequestTarget& target) {
  const auto [it, is_new] = open_.try_emplace(target);
  if (is_new) {
    it->second.report.application = target.application;
    it->second.report.vm_uuid = target.vm_uuid;
  }
  return it->second;
}

void ReportCollector::Close(Open& open) {
  LatencyReport report = open.report;
  if (open.histogram.count() == 0) {
    report.data = std::exchange(open.values, {});
  } else {
    for (const double value : std::exchange(open.values, {})) {
      open.histogram.Add(value);
      open.sum_seconds += value;
    }
    report.data = ToReported(open.histogram, open.sum_seconds);
    open.histogram = LatencyHistogram();
    open.sum_seconds = 0.0;
  }
  open.report.error_count = 0;
  open.report.notice_count = 0;
  closed_.push_back(std::move(report));
}

void ReportCollector::AddLatency(const RequestTarget& target, double seconds) {
  Open& open = OpenFor(target);
  open.values.push_back(seconds);
  if (open.values.size() >= kMaxValues) {
    Close(open);
  }
}

void ReportCollector::AddLatencies(const RequestTarget& target, double seconds, int64_t count) {
  if (count > 0) {
    Open& open = OpenFor(target);
    open.histogram.Add(seconds, count);
    open.sum_seconds += seconds * static_cast<double>(count);
  }
}

void ReportCollector::AddFailures(const RequestTarget& target, int64_t count) {
  OpenFor(target).report.error_count += count;
}

void ReportCollector::AddNotices(const RequestTarget& target, int64_t count) {
  OpenFor(target).report.notice_count += count;
}

std::vector<LatencyReport> ReportCollector::Take(absl::Time start, absl::Time end) {
  for (auto& [target, open] : open_) {
    if (!open.values.empty() || open.histogram.count() > 0 || open.report.error_count > 0 ||
        open.report.notice_count > 0) {
      Close(open);
    }
  }
  open_.clear();
  std::vector<LatencyReport> out = std::exchange(closed_, {});
  for (LatencyReport& report : out) {
    report.source_id = source_id_;
    report.sequence = ++last_sequence_;
    report.start = start;
    report.duration = end - start;
  }
  return out;
}

}  // namespace cloudscale::sla
