#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/render/format.h"
#include "cli/render/text.h"

namespace cloudscale::cli {

// One past sample of a VM's resource.
struct ChartSample {
  absl::Time time;
  std::optional<double> demand = std::nullopt;
  std::optional<double> cap = std::nullopt;  // absent: uncapped
};

// What the forecast says for everything up to `horizon` from `now`.
struct ChartHorizon {
  absl::Duration horizon;
  double low = 0.0;
  double middle = 0.0;
  double high = 0.0;
};

struct ForecastChart {
  Unit unit = Unit::kCores;
  absl::Time now;
  std::vector<ChartSample> history;    // oldest first
  std::vector<ChartHorizon> horizons;  // growing
  std::optional<double> cap;           // in force now, drawn on into the future
  std::string low_label;               // for example `p50`
  std::string middle_label;
  std::string high_label;
};

struct ChartSize {
  int width = 80;   // cells, at least 40
  int height = 12;  // lines of the plot without axis and legend, at least 4
};

// Draws past demand (braille line), the forecast band (`░`) with its middle (`•`) and the cap (`─`)
// on one time axis; legend and axis below. Lines end with `\n`. Readable without colours because
// each thing has a glyph of its own.
[[nodiscard]] std::string RenderForecastChart(const ForecastChart& chart, ChartSize size,
                                              const Style& style);

}  // namespace cloudscale::cli
