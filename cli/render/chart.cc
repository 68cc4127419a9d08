#include "cli/render/chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace cloudscale::cli {
namespace {

constexpr int kLabelWidth = 9;
constexpr int kMinWidth = 40;
constexpr int kMinHeight = 4;
constexpr int kDotsPerCell = 4;     // braille rows in a cell
constexpr int kColumnsPerCell = 2;  // braille columns in a cell
// The past gets this share of the width when both sides have something to show.
constexpr double kPastShare = 0.6;

std::string Utf8(char32_t c) {  // only for the range U+0800 to U+FFFF
  return {static_cast<char>(0xE0 | (c >> 12)), static_cast<char>(0x80 | ((c >> 6) & 0x3F)),
          static_cast<char>(0x80 | (c & 0x3F))};
}

struct Plot {
  int columns = 0;
  int rows = 0;
  int past_columns = 0;
  double top = 1.0;
  absl::Duration past;
  absl::Duration future;
};

// What a cell holds, from the lowest to the highest layer.
struct PlotCell {
  uint8_t braille = 0;
  bool is_band = false;
  bool is_cap = false;
  bool is_middle = false;
};

using Grid = std::vector<std::vector<PlotCell>>;

double Largest(const ForecastChart& chart) {
  double top = chart.cap.value_or(0.0);
  for (const ChartSample& sample : chart.history) {
    top = std::max({top, sample.demand.value_or(0.0), sample.cap.value_or(0.0)});
  }
  for (const ChartHorizon& horizon : chart.horizons) {
    top = std::max(top, horizon.high);
  }
  return top;
}

// The next of 1, 2, 2.5, 5, 10 … (times a power of the unit's base) at or above `value`.
double RoundUp(Unit unit, double value) {
  if (!(value > 0.0) || !std::isfinite(value)) {
    return 1.0;
  }
  const double base =
      unit == Unit::kBytes ? std::pow(1024.0, std::floor(std::log2(value) / 10.0)) : 1.0;
  const double scaled = value / base;
  const double power = std::pow(10.0, std::floor(std::log10(scaled)));
  for (const double step : {1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0}) {
    if (scaled <= step * power * (1.0 + 1e-9)) {
      return step * power * base;
    }
  }
  return 10.0 * power * base;
}

Plot MakePlot(const ForecastChart& chart, ChartSize size) {
  Plot plot;
  plot.columns = std::max(size.width, kMinWidth) - kLabelWidth - 2;
  plot.rows = std::max(size.height, kMinHeight);
  plot.top = RoundUp(chart.unit, Largest(chart));
  if (!chart.history.empty()) {
    plot.past = std::max(absl::ZeroDuration(), chart.now - chart.history.front().time);
  }
  if (!chart.horizons.empty()) {
    plot.future = chart.horizons.back().horizon;
  }
  if (plot.past <= absl::ZeroDuration()) {
    plot.past_columns = 0;
  } else if (plot.future <= absl::ZeroDuration()) {
    plot.past_columns = plot.columns;
  } else {
    plot.past_columns = static_cast<int>(std::lround(plot.columns * kPastShare));
  }
  return plot;
}

// Row from the top of the cell in which `value` lies.
int RowOf(const Plot& plot, double value) {
  const double share = std::clamp(value / plot.top, 0.0, 1.0);
  return std::clamp(static_cast<int>((1.0 - share) * plot.rows), 0, plot.rows - 1);
}

// Dot from the top, over all rows.
int DotOf(const Plot& plot, double value) {
  const int dots = plot.rows * kDotsPerCell;
  const double share = std::clamp(value / plot.top, 0.0, 1.0);
  return std::clamp(static_cast<int>(std::lround((1.0 - share) * (dots - 1))), 0, dots - 1);
}

void SetDot(Grid& grid, int x, int y) {
  constexpr std::array<std::array<uint8_t, kDotsPerCell>, kColumnsPerCell> kBits = {
      {{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}};
  PlotCell& cell =
      grid[static_cast<size_t>(y / kDotsPerCell)][static_cast<size_t>(x / kColumnsPerCell)];
  cell.braille = static_cast<uint8_t>(
      cell.braille |
      kBits[static_cast<size_t>(x % kColumnsPerCell)][static_cast<size_t>(y % kDotsPerCell)]);
}

// Largest value of the samples within each of `buckets` equal spans of the past; a span without a
// sample is absent. The largest, because a peak that is not shown is the one that hurts.
template <typename Value>
std::vector<std::optional<double>> Buckets(const ForecastChart& chart, const Plot& plot,
                                           int buckets, Value value) {
  std::vector<std::optional<double>> result(static_cast<size_t>(std::max(buckets, 0)));
  for (const ChartSample& sample : chart.history) {
    const std::optional<double> v = value(sample);
    if (!v.has_value() || buckets <= 0) {
      continue;
    }
    const double share = 1.0 - absl::FDivDuration(chart.now - sample.time, plot.past);
    const int index = std::clamp(static_cast<int>(share * buckets), 0, buckets - 1);
    std::optional<double>& bucket = result[static_cast<size_t>(index)];
    bucket = std::max(bucket.value_or(*v), *v);
  }
  return result;
}

void DrawDemand(const ForecastChart& chart, const Plot& plot, Grid& grid) {
  const auto demand = Buckets(chart, plot, plot.past_columns * kColumnsPerCell,
                              [](const ChartSample& s) { return s.demand; });
  // Few samples leave gaps between buckets; they are joined when no more than this apart.
  const size_t joined = demand.size() / std::max<size_t>(chart.history.size(), 1) * 2 + 2;
  std::optional<size_t> last;
  for (size_t i = 0; i < demand.size(); ++i) {
    if (!demand[i].has_value()) {
      continue;
    }
    const int y = DotOf(plot, *demand[i]);
    SetDot(grid, static_cast<int>(i), y);
    if (last.has_value() && i - *last <= joined) {
      const int y0 = DotOf(plot, *demand[*last]);
      const int steps = std::max(std::abs(y - y0), static_cast<int>(i - *last));
      for (int k = 1; k < steps; ++k) {
        const double share = static_cast<double>(k) / steps;
        SetDot(grid,
               static_cast<int>(std::lround(static_cast<double>(*last) +
                                            share * static_cast<double>(i - *last))),
               static_cast<int>(std::lround(y0 + share * (y - y0))));
      }
    }
    last = i;
  }
}

void DrawCap(const ForecastChart& chart, const Plot& plot, Grid& grid) {
  const auto caps =
      Buckets(chart, plot, plot.past_columns, [](const ChartSample& s) { return s.cap; });
  std::optional<double> current;
  for (int column = 0; column < plot.columns; ++column) {
    if (column >= plot.past_columns) {
      current = chart.cap;
    } else if (caps[static_cast<size_t>(column)].has_value()) {
      current = caps[static_cast<size_t>(column)];
    }
    if (current.has_value()) {
      grid[static_cast<size_t>(RowOf(plot, *current))][static_cast<size_t>(column)].is_cap = true;
    }
  }
}

void DrawForecast(const ForecastChart& chart, const Plot& plot, Grid& grid) {
  const int future_columns = plot.columns - plot.past_columns;
  for (int k = 0; k < future_columns && !chart.horizons.empty(); ++k) {
    const absl::Duration ahead = plot.future * (static_cast<double>(k + 1) / future_columns);
    auto horizon = std::find_if(chart.horizons.begin(), chart.horizons.end(),
                                [&](const ChartHorizon& h) { return h.horizon >= ahead; });
    if (horizon == chart.horizons.end()) {
      horizon = std::prev(chart.horizons.end());
    }
    const auto column = static_cast<size_t>(plot.past_columns) + static_cast<size_t>(k);
    for (int row = RowOf(plot, horizon->high); row <= RowOf(plot, horizon->low); ++row) {
      grid[static_cast<size_t>(row)][column].is_band = true;
    }
    grid[static_cast<size_t>(RowOf(plot, horizon->middle))][column].is_middle = true;
  }
}

std::string CellText(const PlotCell& cell, bool is_even_column, const Style& style) {
  if (cell.braille != 0) {
    return style.Paint(Colour::kCyan, Utf8(static_cast<char32_t>(0x2800 + cell.braille)));
  }
  // Where cap and middle share a line they take turns, so that neither hides the other.
  if (cell.is_cap && !(cell.is_middle && is_even_column)) {
    return style.Paint(Colour::kYellow, "─");
  }
  if (cell.is_middle) {
    return style.Paint(Colour::kMagenta, "•");
  }
  if (cell.is_band) {
    return style.Paint(Colour::kMagenta, "░");
  }
  return " ";
}

std::string TimeAxis(const Plot& plot) {
  std::string marks = absl::StrCat(Repeat(" ", kLabelWidth), " └");
  for (int column = 0; column < plot.columns; ++column) {
    absl::StrAppend(&marks, column == plot.past_columns ? "┬" : "─");
  }
  const std::string left = plot.past_columns > 0 ? absl::StrCat("-", DurationText(plot.past)) : "";
  const std::string right =
      plot.past_columns < plot.columns ? absl::StrCat("+", DurationText(plot.future)) : "";
  const std::string line = Fit(left, std::max(plot.past_columns - 1, 0)) + "now";
  const int rest = plot.columns - DisplayWidth(line);
  std::string text = absl::StrCat(marks, "\n", Repeat(" ", kLabelWidth + 2), line);
  if (rest > 0) {
    absl::StrAppend(&text, Fit(right, rest, Align::kRight));
  }
  return absl::StrCat(text, "\n");
}

std::string Legend(const ForecastChart& chart, const Style& style) {
  std::string text = absl::StrCat(Repeat(" ", kLabelWidth + 2), style.Paint(Colour::kCyan, "⣀⠤⠒"),
                                  " demand   ", style.Paint(Colour::kYellow, "───"), " cap");
  if (!chart.horizons.empty()) {
    absl::StrAppend(&text, "   ", style.Paint(Colour::kMagenta, "•••"), " ", chart.middle_label,
                    "   ", style.Paint(Colour::kMagenta, "░░░"), " ", chart.low_label, " to ",
                    chart.high_label);
  }
  return absl::StrCat(text, "\n");
}

}  // namespace

std::string RenderForecastChart(const ForecastChart& chart, ChartSize size, const Style& style) {
  const Plot plot = MakePlot(chart, size);
  Grid grid(static_cast<size_t>(plot.rows),
            std::vector<PlotCell>(static_cast<size_t>(plot.columns)));
  DrawForecast(chart, plot, grid);
  DrawCap(chart, plot, grid);
  if (plot.past_columns > 0) {
    DrawDemand(chart, plot, grid);
  }
  std::string text;
  for (int row = 0; row < plot.rows; ++row) {
    std::string label;
    if (row == 0) {
      label = FormatValue(chart.unit, plot.top);
    } else if (row == plot.rows / 2) {
      label = FormatValue(chart.unit, plot.top * (1.0 - static_cast<double>(row) / plot.rows));
    } else if (row == plot.rows - 1) {
      label = FormatValue(chart.unit, 0.0);
    }
    absl::StrAppend(&text, Fit(label, kLabelWidth, Align::kRight), label.empty() ? " │" : " ┤");
    bool is_even_column = true;
    for (const PlotCell& cell : grid[static_cast<size_t>(row)]) {
      absl::StrAppend(&text, CellText(cell, is_even_column, style));
      is_even_column = !is_even_column;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, "\n");
  }
  return absl::StrCat(text, TimeAxis(plot), Legend(chart, style));
}

}  // namespace cloudscale::cli
