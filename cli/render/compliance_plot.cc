#include "cli/render/compliance_plot.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/render/format.h"
#include "sim/backtest/svg.h"

namespace cloudscale::cli {
namespace {

using backtest::Frame;
using backtest::kGridColour;
using backtest::kInk;
using backtest::Svg;

constexpr absl::string_view kValueColour = "#0072b2";
constexpr absl::string_view kPromiseColour = "#d55e00";
constexpr int kTimeTicks = 6;
// Compliance is looked at near the top: more of it is shown only when there is something to see.
constexpr double kLeastComplianceRange = 0.05;

Frame Panel(double top, double bottom) {
  Frame frame;
  frame.width = 960;
  frame.height = 560;
  frame.right = 110;
  frame.top = top;
  frame.bottom = frame.height - bottom;
  return frame;
}

struct Axis {
  double low = 0.0;
  double high = 1.0;
  std::function<std::string(double)> label;
};

class Drawing {
 public:
  explicit Drawing(const CompliancePlot& plot)
      : plot_(plot), svg_(Panel(46, 508), plot.title, plot.subtitle) {}

  void Draw(const Frame& frame, const Axis& axis, const std::optional<double>& promise,
            absl::string_view name,
            const std::function<std::optional<double>(const CompliancePoint&)>& value_of) {
    const auto y_of = [&](double value) {
      return frame.y0() - (frame.y0() - frame.y1()) *
                              std::clamp((value - axis.low) / (axis.high - axis.low), 0.0, 1.0);
    };
    const double step = backtest::TickStep(axis.high - axis.low, 4);
    for (double tick = std::ceil(axis.low / step) * step; tick <= axis.high + step * 1e-6;
         tick += step) {
      svg_.Line(frame.x0(), y_of(tick), frame.x1(), y_of(tick), kGridColour);
      svg_.Text(frame.x0() - 7, y_of(tick) + 4, axis.label(tick), kInk, "end");
    }
    DrawTimes(frame);
    if (promise.has_value()) {
      svg_.Line(frame.x0(), y_of(*promise), frame.x1(), y_of(*promise), kPromiseColour, 1.5);
      svg_.Text(frame.x1() + 6, y_of(*promise) + 4, "promised", kPromiseColour);
    }
    Svg::Points points;
    std::optional<absl::Time> last;
    for (const CompliancePoint& point : plot_.points) {
      const std::optional<double> value = value_of(point);
      if (last.has_value() && (!value.has_value() || point.start - *last > plot_.bucket)) {
        Line(points);
      }
      if (value.has_value()) {
        // A step as wide as its bucket: it is true for all of it.
        points.emplace_back(XOf(frame, point.start), y_of(*value));
        points.emplace_back(XOf(frame, point.start + plot_.bucket), y_of(*value));
        last = point.start;
      }
    }
    Line(points);
    svg_.Text(frame.x0(), frame.y1() - 6, name, kValueColour, "start", 12);
  }

  std::string Finish() && { return std::move(svg_).Finish(); }

 private:
  double XOf(const Frame& frame, absl::Time at) const {
    const double share = absl::FDivDuration(at - plot_.start, plot_.end - plot_.start);
    return frame.x0() + (frame.x1() - frame.x0()) * std::clamp(share, 0.0, 1.0);
  }

  void Line(Svg::Points& points) {
    if (!points.empty()) {
      svg_.Polyline(points, kValueColour, 1.8);
      points.clear();
    }
  }

  void DrawTimes(const Frame& frame) {
    const bool is_long = plot_.end - plot_.start > absl::Hours(36);
    for (int i = 0; i <= kTimeTicks; ++i) {
      const absl::Time at = plot_.start + (plot_.end - plot_.start) * i / kTimeTicks;
      const double x = XOf(frame, at);
      svg_.Line(x, frame.y0(), x, frame.y1(), kGridColour);
      svg_.Text(x, frame.y0() + 16,
                absl::FormatTime(is_long ? "%m-%d %H:%M" : "%H:%M:%S", at, absl::UTCTimeZone()),
                kInk, "middle", 11);
    }
  }

  const CompliancePlot& plot_;
  Svg svg_;
};

}  // namespace

std::string RenderCompliancePlot(const CompliancePlot& plot) {
  double slowest = plot.threshold_seconds.value_or(0.0) * 1.25;
  double worst = plot.target_ratio;
  for (const CompliancePoint& point : plot.points) {
    slowest = std::max(slowest, point.latency_seconds.value_or(0.0) * 1.05);
    worst = std::min(worst, point.compliance_ratio.value_or(1.0));
  }
  Drawing drawing(plot);
  drawing.Draw(Panel(66, 280),
               {.low = 0.0,
                .high = slowest > 0.0 ? slowest : 1.0,
                .label = [](double seconds) { return DurationText(absl::Seconds(seconds)); }},
               plot.threshold_seconds, absl::StrCat("response time, ", plot.latency_label),
               [](const CompliancePoint& point) { return point.latency_seconds; });
  drawing.Draw(
      Panel(330, 508),
      {.low = std::max(0.0, std::min(worst, 1.0 - kLeastComplianceRange) - 0.01),
       .high = 1.0,
       .label =
           [](double ratio) { return absl::StrFormat("%g %%", std::round(ratio * 1e4) / 100); }},
      plot.target_ratio, "good windows",
      [](const CompliancePoint& point) { return point.compliance_ratio; });
  return std::move(drawing).Finish();
}

}  // namespace cloudscale::cli
