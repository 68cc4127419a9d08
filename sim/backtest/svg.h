#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace cloudscale::backtest {

// Colours that both kinds of plot use.
inline constexpr absl::string_view kGridColour = "#e3e3e3";
inline constexpr absl::string_view kInk = "#222222";

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
  using Points = std::vector<std::pair<double, double>>;

  Svg(const Frame& frame, absl::string_view title, absl::string_view subtitle);

  void Rect(double x, double y, double width, double height, absl::string_view fill,
            double opacity = 1);
  void Line(double xa, double ya, double xb, double yb, absl::string_view colour, double width = 1);
  // `halo`: a colour that keeps lines behind the text away from it.
  void Text(double x, double y, absl::string_view text, absl::string_view colour,
            absl::string_view anchor = "start", double size = 12, double rotation = 0,
            absl::string_view halo = "");
  void Polyline(const Points& points, absl::string_view colour, double width);
  void Polygon(const Points& points, absl::string_view fill, double opacity);
  // Both axes' titles.
  void Titles(const Frame& frame, absl::string_view x, absl::string_view y);

  [[nodiscard]] std::string Finish() && { return std::move(text_) + "</svg>\n"; }

 private:
  std::string text_;
};

// A step of 1, 2 or 5 times a power of ten that gives about `count` ticks up to `range`.
[[nodiscard]] double TickStep(double range, int count);

}  // namespace cloudscale::backtest
