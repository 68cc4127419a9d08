#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "sim/backtest/plot.h"
#include "sim/backtest/svg.h"

namespace cloudscale::backtest {
namespace {

constexpr absl::string_view kDemandColour = "#333333";
constexpr absl::string_view kCapColour = "#0072B2";
constexpr absl::string_view kBandColour = "#56B4E9";
constexpr absl::string_view kViolationColour = "#D55E00";
constexpr absl::string_view kWarmUpColour = "#f0f0f0";  // behind text; black at 6 % otherwise

// How time is shown on an axis.
struct TimeUnit {
  absl::string_view name;
  double seconds;
};

TimeUnit UnitFor(double seconds) {
  if (seconds > 3 * 86400) {
    return {"days", 86400};
  }
  if (seconds > 3 * 3600) {
    return {"hours", 3600};
  }
  return seconds > 300 ? TimeUnit{"minutes", 60} : TimeUnit{"seconds", 1};
}

// A step of a clock that gives at most about `count` ticks up to `length`.
double TimeTickStep(const TimeUnit& unit, double length, int count) {
  constexpr double kHours[] = {1, 2, 3, 6, 12};
  constexpr double kMinutes[] = {1, 2, 5, 10, 15, 30, 60};  // or seconds
  if (unit.seconds < 86400) {
    for (const double step :
         unit.seconds == 3600 ? absl::MakeConstSpan(kHours) : absl::MakeConstSpan(kMinutes)) {
      if (length / step <= count) {
        return step;
      }
    }
  }
  return TickStep(length, count);
}

// What happened within one pixel column.
struct PixelColumn {
  double demand_low = std::numeric_limits<double>::infinity();
  double demand_high = -1;  // below 0: no known demand
  double cap_low = std::numeric_limits<double>::infinity();
  double cap_high = 0;
  double cap_first = 0;
  double cap_last = 0;
  double demand_first = 0;
  double demand_last = 0;
  double expected_sum = 0;
  double cap_sum = 0;
  int64_t steps = 0;
  int64_t violations = 0;
};

std::vector<PixelColumn> PixelColumns(const std::vector<PlayedStep>& steps, size_t count) {
  std::vector<PixelColumn> columns(count);
  for (size_t i = 0; i < steps.size(); ++i) {
    PixelColumn& c = columns[i * count / steps.size()];
    const PlayedStep& step = steps[i];
    if (c.steps++ == 0) {
      c.cap_first = step.cap;
    }
    c.cap_last = step.cap;
    c.cap_low = std::min(c.cap_low, step.cap);
    c.cap_high = std::max(c.cap_high, step.cap);
    c.cap_sum += step.cap;
    c.expected_sum += std::min(step.expected, step.cap);
    if (std::isnan(step.demand)) {
      continue;
    }
    if (c.demand_high < 0) {
      c.demand_first = step.demand;
    }
    c.demand_last = step.demand;
    c.demand_low = std::min(c.demand_low, step.demand);
    c.demand_high = std::max(c.demand_high, step.demand);
    c.violations += step.demand - step.cap > kTieTolerance ? 1 : 0;
  }
  return columns;
}

}  // namespace

std::string TracePlot(const DemandTrace& trace, const TraceBasis& basis, absl::string_view method,
                      double knob, int hold, Loop loop, const std::vector<PlayedStep>& steps) {
  Frame frame;
  frame.right = 92;
  frame.bottom = 74;  // room for the strip of violations
  // The scored part and demand decide the scale: before they have seen anything, methods give the
  // whole VM, which would flatten the rest.
  double top = 0.01;
  double warm_up_cap = 0;
  double caps = 0;
  double demand = 0;
  int64_t violations = 0;
  for (const PlayedStep& step : steps) {
    const bool is_scored = step.t >= basis.warm_up_steps;
    top = std::max({top, is_scored ? step.cap : 0, std::isnan(step.demand) ? 0 : step.demand});
    warm_up_cap = std::max(warm_up_cap, is_scored ? 0 : step.cap);
    if (is_scored && !std::isnan(step.demand)) {
      caps += step.cap;
      demand += step.demand;
      violations += step.demand - step.cap > kTieTolerance ? 1 : 0;
    }
  }
  top *= 1.04;
  const std::string share =
      absl::StrFormat("%d violations in %d scored steps (%.2f %%)", violations, basis.scored_steps,
                      100 * static_cast<double>(violations) /
                          static_cast<double>(std::max<int64_t>(1, basis.scored_steps)));
  Svg svg(
      frame, absl::StrCat(trace.name, ": demand and cap of ", method),
      absl::StrFormat("knob %g, a cap holds %d step%s of %g s, %s loop; %s; allocation / demand "
                      "%s",
                      knob, hold, hold == 1 ? "" : "s", trace.step_seconds, LoopName(loop), share,
                      demand > 0 ? absl::StrFormat("%.2f", caps / demand) : "-"));
  const double seconds = static_cast<double>(steps.size()) * trace.step_seconds;
  const TimeUnit unit = UnitFor(seconds);
  const double length = seconds / unit.seconds;
  const double width = frame.x1() - frame.x0();
  const auto y_of = [&](double value) {
    return frame.y0() - (frame.y0() - frame.y1()) * std::min(value, top) / top;
  };
  const double y_step = TickStep(100 * top, 6);
  for (double tick = 0; tick <= 100 * top; tick += y_step) {
    svg.Line(frame.x0(), y_of(tick / 100), frame.x1(), y_of(tick / 100), kGridColour);
    svg.Text(frame.x0() - 7, y_of(tick / 100) + 4, absl::StrFormat("%g", tick), kInk, "end");
  }
  const double strip_y = frame.y0() + 6;
  const double x_step = TimeTickStep(unit, length, 12);
  for (double tick = 0; tick <= length * (1 + 1e-9); tick += x_step) {
    const double x = frame.x0() + width * tick / length;
    svg.Line(x, strip_y + 10, x, strip_y + 14, kInk);
    svg.Text(x, strip_y + 27, absl::StrFormat("%g", tick), kInk, "middle");
  }
  const double warm_up_width = width * static_cast<double>(basis.warm_up_steps) /
                               static_cast<double>(std::max<size_t>(1, steps.size()));
  svg.Rect(frame.x0(), frame.y1(), warm_up_width, frame.y0() - frame.y1(), "#000000", 0.06);
  const size_t column_count =
      std::min(static_cast<size_t>(width), std::max<size_t>(1, steps.size()));
  const double pixels = width / static_cast<double>(column_count);
  const std::vector<PixelColumn> columns = PixelColumns(steps, column_count);
  Svg::Points band, band_low, cap_line;
  std::vector<Svg::Points> demand_lines(1);
  for (size_t i = 0; i < columns.size(); ++i) {
    const PixelColumn& c = columns[i];
    const double xa = frame.x0() + pixels * static_cast<double>(i);
    const double xb = xa + pixels;
    const double x = (xa + xb) / 2;
    const double n = static_cast<double>(std::max<int64_t>(1, c.steps));
    // A cap holds for its steps: a staircase, where it can be seen.
    if (c.steps == 1) {
      cap_line.emplace_back(xa, y_of(c.cap_last));
      cap_line.emplace_back(xb, y_of(c.cap_last));
    } else {
      for (const double cap : {c.cap_first, c.cap_high, c.cap_low, c.cap_last}) {
        cap_line.emplace_back(x, y_of(cap));
      }
    }
    band.emplace_back(x, y_of(c.cap_sum / n));
    band_low.emplace_back(x, y_of(c.expected_sum / n));
    if (c.demand_high >= 0) {
      Svg::Points& line = demand_lines.back();
      line.emplace_back(x, y_of(c.demand_first));
      if (c.demand_high > c.demand_low) {
        line.emplace_back(x, y_of(c.demand_high));
        line.emplace_back(x, y_of(c.demand_low));
        line.emplace_back(x, y_of(c.demand_last));
      }
    } else if (!demand_lines.back().empty()) {
      demand_lines.emplace_back();
    }
  }
  band.insert(band.end(), band_low.rbegin(), band_low.rend());
  svg.Polygon(band, kBandColour, 0.22);
  for (const Svg::Points& line : demand_lines) {
    if (!line.empty()) {
      svg.Polyline(line, kDemandColour, 0.9);
    }
  }
  svg.Polyline(cap_line, kCapColour, 1.2);
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].violations == 0) {
      continue;
    }
    const double x = frame.x0() + pixels * (static_cast<double>(i) + 0.5);
    svg.Rect(x - std::max(0.6, pixels / 2), strip_y, std::max(1.2, pixels), 9, kViolationColour);
    svg.Line(x, y_of(columns[i].demand_high), x, y_of(columns[i].cap_low), kViolationColour, 1.3);
  }
  if (warm_up_width > 60) {
    const double middle = frame.x0() + warm_up_width / 2;
    svg.Text(middle, frame.y1() + 14, "not scored", "#666666", "middle", 11, 0, kWarmUpColour);
    if (warm_up_cap > top) {
      svg.Text(middle, frame.y1() + 28, absl::StrFormat("cap up to %.0f %%", 100 * warm_up_cap),
               "#666666", "middle", 11, 0, kWarmUpColour);
    }
  }
  // Labels at the ends of what they name, pushed apart.
  const PixelColumn& last = columns.back();
  std::array<std::pair<double, std::pair<absl::string_view, absl::string_view>>, 3> labels = {{
      {y_of(last.cap_last), {"cap", kCapColour}},
      {(y_of(last.cap_last) + y_of(std::max(0.0, last.demand_last))) / 2, {"margin", "#2b83b5"}},
      {y_of(std::max(0.0, last.demand_last)), {"demand", kDemandColour}},
  }};
  std::stable_sort(labels.begin(), labels.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 1; i < labels.size(); ++i) {
    labels[i].first = std::max(labels[i].first, labels[i - 1].first + 14);
  }
  const double overflow = std::max(0.0, labels.back().first - frame.y0() + 4);
  for (const auto& [y, label] : labels) {
    svg.Text(frame.x1() + 8, y - overflow + 4, label.first, label.second);
  }
  svg.Text(frame.x1() + 8, strip_y + 9, "violations", kViolationColour);
  svg.Titles(frame, absl::StrCat("time since the first sample (", unit.name, ")"),
             "share of the VM (%)");
  return std::move(svg).Finish();
}

}  // namespace cloudscale::backtest
