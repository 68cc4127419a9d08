#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::cli {

// A part of the time that is drawn.
struct CompliancePoint {
  absl::Time start;
  std::optional<double> latency_seconds;   // at the promised percentile
  std::optional<double> compliance_ratio;  // 0 to 1; absent when nothing was judged
};

struct CompliancePlot {
  std::string title;
  std::string subtitle;
  std::string latency_label;                // for example `p95`
  std::optional<double> threshold_seconds;  // absent: the upper panel has no promise line
  double target_ratio = 0.0;
  absl::Time start;
  absl::Time end;
  absl::Duration bucket;                // above 0; length of each point
  std::vector<CompliancePoint> points;  // oldest first
};

// An SVG document: the response time with its threshold above, the share of good windows with its
// target below, on one time axis. Where nothing is known nothing is drawn. Deterministic.
[[nodiscard]] std::string RenderCompliancePlot(const CompliancePlot& plot);

}  // namespace cloudscale::cli
