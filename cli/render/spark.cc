#include "cli/render/spark.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/render/text.h"

namespace cloudscale::cli {

std::string Sparkline(std::span<const double> values, double top, int width) {
  constexpr std::array<absl::string_view, 8> kLevels = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (width <= 0) {
    return "";
  }
  const size_t shown = std::min(values.size(), static_cast<size_t>(width));
  std::string line = Repeat(" ", width - static_cast<int>(shown));
  for (const double value : values.last(shown)) {
    if (!std::isfinite(value)) {
      line.append(" ");
      continue;
    }
    const double share = top > 0.0 ? std::clamp(value / top, 0.0, 1.0) : 0.0;
    const auto level = static_cast<size_t>(std::lround(share * 7.0));
    absl::StrAppend(&line, kLevels[level]);
  }
  return line;
}

std::string LoadBar(double used, double granted, double top, int width) {
  if (width <= 0 || !(top > 0.0)) {
    return Repeat(" ", width);
  }
  const auto cells = [&](double value) {
    const double share = std::isfinite(value) ? std::clamp(value / top, 0.0, 1.0) : 0.0;
    return static_cast<int>(std::lround(share * width));
  };
  const int used_cells = cells(used);
  const int granted_cells = cells(granted);
  const int solid = std::min(used_cells, granted_cells);
  const int over = std::max(0, used_cells - granted_cells);
  const int spare = std::max(0, granted_cells - used_cells);
  return Repeat("█", solid) + Repeat("▓", over) + Repeat("░", spare) +
         Repeat("·", width - solid - over - spare);
}

}  // namespace cloudscale::cli
