#include "sim/backtest/svg.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace cloudscale::backtest {
namespace {

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

std::string PointsText(const Svg::Points& points) {
  return absl::StrJoin(points, " ", [](std::string* out, const auto& p) {
    absl::StrAppendFormat(out, "%.1f,%.1f", p.first, p.second);
  });
}

}  // namespace

Svg::Svg(const Frame& frame, absl::string_view title, absl::string_view subtitle) {
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

void Svg::Rect(double x, double y, double width, double height, absl::string_view fill,
               double opacity) {
  absl::StrAppendFormat(&text_, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" ", x, y,
                        width, height);
  absl::StrAppendFormat(&text_, "fill=\"%s\" fill-opacity=\"%g\"/>\n", fill, opacity);
}

void Svg::Line(double xa, double ya, double xb, double yb, absl::string_view colour, double width) {
  absl::StrAppendFormat(&text_, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", xa, ya,
                        xb, yb);
  absl::StrAppendFormat(&text_, "stroke=\"%s\" stroke-width=\"%g\"/>\n", colour, width);
}

void Svg::Text(double x, double y, absl::string_view text, absl::string_view colour,
               absl::string_view anchor, double size, double rotation, absl::string_view halo) {
  absl::StrAppendFormat(&text_,
                        "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\" text-anchor=\"%s\" "
                        "font-size=\"%g\"",
                        x, y, colour, anchor, size);
  if (!halo.empty()) {  // keeps lines behind the text away from it
    absl::StrAppendFormat(&text_, " stroke=\"%s\" stroke-width=\"4\" paint-order=\"stroke\"", halo);
  }
  if (rotation != 0) {
    absl::StrAppendFormat(&text_, " transform=\"rotate(%g %.1f %.1f)\"", rotation, x, y);
  }
  absl::StrAppend(&text_, ">", Escaped(text), "</text>\n");
}

void Svg::Polyline(const Points& points, absl::string_view colour, double width) {
  absl::StrAppendFormat(&text_,
                        "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%g\" "
                        "stroke-linejoin=\"round\" points=\"%s\"/>\n",
                        colour, width, PointsText(points));
}

void Svg::Polygon(const Points& points, absl::string_view fill, double opacity) {
  absl::StrAppendFormat(&text_, "<polygon fill=\"%s\" fill-opacity=\"%g\" points=\"%s\"/>\n", fill,
                        opacity, PointsText(points));
}

void Svg::Titles(const Frame& frame, absl::string_view x, absl::string_view y) {
  Text((frame.x0() + frame.x1()) / 2, frame.height - 12, x, kInk, "middle");
  Text(17, (frame.y0() + frame.y1()) / 2, y, kInk, "middle", 12, -90);
}

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

}  // namespace cloudscale::backtest
