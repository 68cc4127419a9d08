#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sim/backtest/plot.h"
#include "sim/backtest/svg.h"

namespace cloudscale::backtest {
namespace {

// Okabe and Ito, "Color Universal Design", 2008; its yellow is too faint for lines on white.
constexpr std::array<absl::string_view, 7> kPalette = {"#D55E00", "#0072B2", "#009E73", "#CC79A7",
                                                       "#56B4E9", "#E69F00", "#000000"};
constexpr absl::string_view kGrey = "#8a8a8a";

}  // namespace

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
