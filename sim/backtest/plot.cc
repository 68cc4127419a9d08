#include "sim/backtest/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"

namespace cloudscale::backtest {
namespace {

// Okabe and Ito, "Color Universal Design", 2008; its yellow is too faint for lines on white.
constexpr std::array<absl::string_view, 7> kPalette = {"#D55E00", "#0072B2", "#009E73", "#CC79A7",
                                                       "#56B4E9", "#E69F00", "#000000"};
constexpr absl::string_view kDemandColour = "#333333";
constexpr absl::string_view kCapColour = "#0072B2";
constexpr absl::string_view kBandColour = "#56B4E9";
constexpr absl::string_view kViolationColour = "#D55E00";
constexpr absl::string_view kGrey = "#8a8a8a";
constexpr absl::string_view kGridColour = "#e3e3e3";
constexpr absl::string_view kInk = "#222222";
constexpr absl::string_view kWarmUpColour = "#f0f0f0";  // behind text; black at 6 % otherwise

std::string Escaped(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // Control characters are not allowed in XML at all.
        out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return out;
}

// The drawing area within the document, and its axes.
struct Frame {
  double width = 960;
  double height = 420;
  double left = 66;
  double right = 150;  // room for labels at the ends of lines
  double top = 46;
  double bottom = 52;

  [[nodiscard]] double x0() const { return left; }
  [[nodiscard]] double x1() const { return width - right; }
  [[nodiscard]] double y0() const { return height - bottom; }  // at the axis
  [[nodiscard]] double y1() const { return top; }
};

// A small SVG writer. Coordinates are pixels.
class Svg {
 public:
  Svg(const Frame& frame, absl::string_view title, absl::string_view subtitle) {
    absl::StrAppendFormat(
        &text_,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" viewBox=\"0 0 %g "
        "%g\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n",
        frame.width, frame.height, frame.width, frame.height);
    absl::StrAppend(&text_, "<title>", Escaped(title), "</title>\n");
    Rect(0, 0, frame.width, frame.height, "#ffffff");
    Text(frame.left, 19, title, kInk, "start", 14);
    Text(frame.left, 36, subtitle, "#666666", "start", 11);
  }

  void Rect(double x, double y, double width, double height, absl::string_view fill,
            double opacity = 1) {
    absl::StrAppendFormat(&text_, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" ", x,
                          y, width, height);
    absl::StrAppendFormat(&text_, "fill=\"%s\" fill-opacity=\"%g\"/>\n", fill, opacity);
  }

  void Line(double xa, double ya, double xb, double yb, absl::string_view colour,
            double width = 1) {
    absl::StrAppendFormat(&text_, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", xa, ya,
                          xb, yb);
    absl::StrAppendFormat(&text_, "stroke=\"%s\" stroke-width=\"%g\"/>\n", colour, width);
  }

  void Text(double x, double y, absl::string_view text, absl::string_view colour,
            absl::string_view anchor = "start", double size = 12, double rotation = 0,
            absl::string_view halo = "") {
    absl::StrAppendFormat(&text_,
                          "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\" text-anchor=\"%s\" "
                          "font-size=\"%g\"",
                          x, y, colour, anchor, size);
    if (!halo.empty()) {  // keeps lines behind the text away from it
      absl::StrAppendFormat(&text_, " stroke=\"%s\" stroke-width=\"4\" paint-order=\"stroke\"",
                            halo);
    }
    if (rotation != 0) {
      absl::StrAppendFormat(&text_, " transform=\"rotate(%g %.1f %.1f)\"", rotation, x, y);
    }
    absl::StrAppend(&text_, ">", Escaped(text), "</text>\n");
  }

  using Points = std::vector<std::pair<double, double>>;

  void Polyline(const Points& points, absl::string_view colour, double width) {
    absl::StrAppendFormat(&text_,
                          "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%g\" "
                          "stroke-linejoin=\"round\" points=\"%s\"/>\n",
                          colour, width, PointsText(points));
  }

  void Polygon(const Points& points, absl::string_view fill, double opacity) {
    absl::StrAppendFormat(&text_, "<polygon fill=\"%s\" fill-opacity=\"%g\" points=\"%s\"/>\n",
                          fill, opacity, PointsText(points));
  }

  // Both axes' titles.
  void Titles(const Frame& frame, absl::string_view x, absl::string_view y) {
    Text((frame.x0() + frame.x1()) / 2, frame.height - 12, x, kInk, "middle");
    Text(17, (frame.y0() + frame.y1()) / 2, y, kInk, "middle", 12, -90);
  }

  [[nodiscard]] std::string Finish() && { return std::move(text_) + "</svg>\n"; }

 private:
  static std::string PointsText(const Points& points) {
    return absl::StrJoin(points, " ", [](std::string* out, const auto& p) {
      absl::StrAppendFormat(out, "%.1f,%.1f", p.first, p.second);
    });
  }

  std::string text_;
};

// A step of 1, 2 or 5 times a power of ten that gives about `count` ticks up to `range`.
double TickStep(double range, int count) {
  const double raw = range / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) {
      return factor * power;
    }
  }
  return 10 * power;
}

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

std::string FrontierPlot(const BacktestResult& result, Loop loop, int hold) {
  std::vector<const MethodResult*> methods;  // best first
  for (const MethodResult& r : result.results) {
    if (r.loop == loop && r.hold == hold) {
      methods.push_back(&r);
    }
  }
  // What matters lies around the targets; the sweeps go far beyond.
  const auto [least, most] = std::minmax_element(result.targets.begin(), result.targets.end());
  const double x_low = *least / 2.5;
  const double x_high = std::min(1.0, *most * 2);
  struct Curve {
    const MethodResult* method = nullptr;
    std::vector<std::pair<double, double>> points;  // violation ratio, waste
  };
  std::vector<Curve> curves;
  double best_waste = std::numeric_limits<double>::infinity();
  double worst_waste = 0;
  for (const MethodResult* method : methods) {
    Curve curve;
    curve.method = method;
    for (const Aggregate& point : method->sweep) {
      if (std::isfinite(point.over_allocation)) {
        curve.points.emplace_back(point.violation_ratio, point.over_allocation - 1);
      }
    }
    std::sort(curve.points.begin(), curve.points.end());
    for (const TargetPoint& point : method->targets) {
      if (point.over_allocation.has_value()) {
        best_waste = std::min(best_waste, *point.over_allocation - 1);
        worst_waste = std::max(worst_waste, *point.over_allocation - 1);
      }
    }
    curves.push_back(std::move(curve));
  }
  if (!std::isfinite(best_waste)) {
    best_waste = 0.5;
  }
  // Far worse ones leave the picture at the top rather than flatten it.
  const double y_high = std::max(0.2, std::min(worst_waste * 1.1, std::max(best_waste, 0.1) * 7));
  const double y_low = std::min(0.0, best_waste);

  Frame frame;
  frame.width = 980;
  frame.height = std::max(520.0, 120 + 15.5 * static_cast<double>(methods.size()));
  frame.right = 250;
  Svg svg(frame, "Waste against violations",
          absl::StrFormat("%d trace%s, %s loop, a cap holds %d step%s; lower left is better; "
                          "labels give the waste at %g %%",
                          result.bases.size(), result.bases.size() == 1 ? "" : "s", LoopName(loop),
                          hold, hold == 1 ? "" : "s", 100 * result.reference_target));
  const auto x_of = [&](double violation) {
    return frame.x0() +
           (frame.x1() - frame.x0()) * std::log(violation / x_low) / std::log(x_high / x_low);
  };
  const auto y_of = [&](double waste) {
    return frame.y0() - (frame.y0() - frame.y1()) * (waste - y_low) / (y_high - y_low);
  };
  const double y_step = TickStep(100 * (y_high - y_low), 7);
  for (double tick = std::ceil(100 * y_low / y_step) * y_step; tick <= 100 * y_high;
       tick += y_step) {
    svg.Line(frame.x0(), y_of(tick / 100), frame.x1(), y_of(tick / 100), kGridColour);
    svg.Text(frame.x0() - 7, y_of(tick / 100) + 4, absl::StrFormat("%g", tick), kInk, "end");
  }
  for (double decade = 1e-6; decade < 1; decade *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = decade * factor;
      if (tick < x_low * 0.999 || tick > x_high * 1.001) {
        continue;
      }
      svg.Line(x_of(tick), frame.y0(), x_of(tick), frame.y1(), kGridColour);
      svg.Text(x_of(tick), frame.y0() + 17, absl::StrFormat("%.3g", 100 * tick), kInk, "middle");
    }
  }
  const double x_reference = x_of(result.reference_target);
  svg.Line(x_reference, frame.y0(), x_reference, frame.y1(), "#9a9a9a", 1.4);

  // Clipped to the picture by cutting each segment at its borders.
  const auto inside = [&](const std::vector<std::pair<double, double>>& points) {
    std::vector<Svg::Points> parts(1);
    for (size_t i = 1; i < points.size(); ++i) {
      double ax = x_of(std::max(points[i - 1].first, 1e-9)), ay = y_of(points[i - 1].second);
      double bx = x_of(std::max(points[i].first, 1e-9)), by = y_of(points[i].second);
      double from = 0, to = 1;  // part of the segment that is inside (Liang and Barsky)
      const auto cut = [&](double p, double q) {
        if (p == 0) {
          return q >= 0;
        }
        (p < 0 ? from : to) = p < 0 ? std::max(from, q / p) : std::min(to, q / p);
        return from <= to;
      };
      const double dx = bx - ax, dy = by - ay;
      if (!cut(-dx, ax - frame.x0()) || !cut(dx, frame.x1() - ax) || !cut(-dy, ay - frame.y1()) ||
          !cut(dy, frame.y0() - ay)) {
        continue;
      }
      const std::pair<double, double> a = {ax + from * dx, ay + from * dy};
      const std::pair<double, double> b = {ax + to * dx, ay + to * dy};
      if (parts.back().empty() || std::abs(parts.back().back().first - a.first) > 0.01 ||
          std::abs(parts.back().back().second - a.second) > 0.01) {
        parts.emplace_back();
        parts.back().push_back(a);
      }
      parts.back().push_back(b);
    }
    return parts;
  };

  struct Label {
    double y = 0;
    double end_x = 0;
    double end_y = 0;
    std::string text;
    absl::string_view colour;
    bool has_line = false;
  };
  std::vector<Label> labels;  // of the coloured
  std::vector<std::string> others;
  // The grey ones first, so that the coloured lie above them.
  for (size_t i = curves.size(); i-- > 0;) {
    const Curve& curve = curves[i];
    const bool is_named = i < kPalette.size();
    const absl::string_view colour = is_named ? kPalette[i] : kGrey;
    const size_t reference = result.targets.size() / 2;
    const std::optional<double>& at = curve.method->targets[reference].over_allocation;
    Label label{
        .text = absl::StrCat(curve.method->method, " · ",
                             at.has_value() ? absl::StrFormat("%.0f %%", 100 * (*at - 1)) : "-"),
        .colour = colour};
    for (const Svg::Points& part : inside(curve.points)) {
      if (part.size() < 2) {
        continue;
      }
      svg.Polyline(part, colour, is_named ? 2.2 : 1);
      if (!label.has_line || part.back().first > label.end_x) {
        label.end_x = part.back().first;
        label.end_y = part.back().second;
        label.has_line = true;
      }
    }
    // A method with one setting is a point.
    if (!label.has_line && curve.points.size() == 1) {
      const double x = x_of(std::max(curve.points[0].first, 1e-9));
      const double y = y_of(curve.points[0].second);
      if (x >= frame.x0() && x <= frame.x1() && y >= frame.y1() && y <= frame.y0()) {
        svg.Rect(x - 3, y - 3, 6, 6, colour);
        label.end_x = x;
        label.end_y = y;
        label.has_line = true;
      }
    }
    if (!label.has_line) {
      label.text += " (outside)";
    }
    label.y = label.has_line ? label.end_y : frame.y1();
    if (is_named) {
      labels.push_back(std::move(label));
    } else {
      others.push_back(std::move(label.text));
    }
  }
  // Leaders to all of them would cross each other; the list says what the grey band consists of.
  double limit_above = frame.y1();
  if (!others.empty()) {
    svg.Text(frame.x1() + 38, limit_above + 4, "grey, best first:", "#666666", "start", 11);
    std::reverse(others.begin(), others.end());
    for (const std::string& text : others) {
      limit_above += 14;
      svg.Text(frame.x1() + 38, limit_above + 4, text, "#666666", "start", 11);
    }
    limit_above += 22;
  }
  // Spread the labels over the gutter in the order of the ends of their lines.
  std::stable_sort(labels.begin(), labels.end(),
                   [](const Label& a, const Label& b) { return a.y < b.y; });
  const double gap = 15;
  for (size_t i = 0; i < labels.size(); ++i) {
    labels[i].y = std::max(labels[i].y, i == 0 ? limit_above : labels[i - 1].y + gap);
  }
  double limit = frame.y0() + 4;
  for (size_t i = labels.size(); i-- > 0;) {
    labels[i].y = std::min(labels[i].y, limit);
    limit = labels[i].y - gap;
  }
  for (const Label& label : labels) {
    if (label.has_line) {
      svg.Line(label.end_x + 2, label.end_y, frame.x1() + 34, label.y, label.colour, 0.5);
    }
    svg.Text(frame.x1() + 38, label.y + 4, label.text, label.colour);
  }
  svg.Titles(frame, "steps in violation, mean over traces (%, log scale)",
             "waste: allocation beyond demand (%)");
  return std::move(svg).Finish();
}

}  // namespace cloudscale::backtest
