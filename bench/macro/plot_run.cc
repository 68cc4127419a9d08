// Draws columns of a recorded run over time as SVG.
//
// plot_run --csv FILE --svg FILE --columns cap_cores,read_cores [--title T] [--unit cores]
// The first column of the file is the time in seconds. An empty or negative field is a gap in the
// line.
#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "bench/macro/settings.h"
#include "common/status/macros.h"
#include "common/trace/csv.h"
#include "sim/backtest/svg.h"

namespace cloudscale::bench {
namespace {

// Distinct without colour vision too.
constexpr std::array<const char*, 6> kColours = {"#999999", "#0072B2", "#D55E00",
                                                 "#009E73", "#CC79A7", "#E69F00"};

struct Curve {
  std::string name;
  size_t column = 0;
  std::vector<backtest::Svg::Points> pieces;  // in the units of the file
};

struct Plot {
  std::vector<Curve> curves;
  double length = 0;
  double top = 0;
};

absl::Status AddRow(const trace::CsvReader& csv, Plot& plot) {
  double time = 0;
  if (csv.fields().empty() || !absl::SimpleAtod(csv.fields()[0], &time)) {
    return csv.FieldFault(0, "seconds");
  }
  plot.length = std::max(plot.length, time);
  for (Curve& curve : plot.curves) {
    double value = -1;
    if (curve.column >= csv.fields().size() ||
        !absl::SimpleAtod(csv.fields()[curve.column], &value) || value < 0) {
      curve.pieces.emplace_back();
      continue;
    }
    plot.top = std::max(plot.top, value);
    curve.pieces.back().emplace_back(time, value);
  }
  return absl::OkStatus();
}

absl::StatusOr<Plot> ReadPlot(const std::string& path, const std::vector<std::string>& columns) {
  std::ifstream file(path);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  trace::CsvReader csv(path);
  Plot plot;
  std::string line;
  while (std::getline(file, line)) {
    CS_ASSIGN_OR_RETURN(const bool has_fields, csv.TakeLine(line));
    if (!has_fields) {
      continue;
    }
    if (!plot.curves.empty()) {
      CS_RETURN_IF_ERROR(AddRow(csv, plot));
      continue;
    }
    for (const std::string& name : columns) {
      const auto it = std::find(csv.fields().begin(), csv.fields().end(), name);
      if (it == csv.fields().end()) {
        return absl::InvalidArgumentError(absl::StrCat("--columns: no '", name, "' in ", path));
      }
      plot.curves.push_back(
          {.name = name, .column = static_cast<size_t>(it - csv.fields().begin()), .pieces = {{}}});
    }
  }
  if (plot.length <= 0 || plot.top <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": nothing to draw"));
  }
  return plot;
}

absl::Status Run(const Settings& settings) {
  const std::vector<std::string> columns = absl::StrSplit(settings.Text("columns"), ',');
  if (columns.size() > kColours.size()) {
    return absl::InvalidArgumentError(absl::StrCat("--columns: at most ", kColours.size()));
  }
  CS_ASSIGN_OR_RETURN(const Plot plot, ReadPlot(settings.Text("csv"), columns));
  const backtest::Frame frame;
  backtest::Svg svg(frame, settings.Text("title"), settings.Text("subtitle"));
  const double top = plot.top * 1.1;
  const auto x = [&](double t) { return frame.x0() + t / plot.length * (frame.x1() - frame.x0()); };
  const auto y = [&](double v) { return frame.y0() - v / top * (frame.y0() - frame.y1()); };
  const double value_step = backtest::TickStep(top, 5);
  for (int i = 0; i * value_step <= top; ++i) {
    svg.Line(frame.x0(), y(i * value_step), frame.x1(), y(i * value_step), backtest::kGridColour);
    svg.Text(frame.x0() - 6, y(i * value_step) + 4, absl::StrCat(i * value_step), backtest::kInk,
             "end");
  }
  const double time_step = backtest::TickStep(plot.length, 8);
  for (int i = 0; i * time_step <= plot.length; ++i) {
    svg.Text(x(i * time_step), frame.y0() + 18, absl::StrCat(i * time_step), backtest::kInk,
             "middle");
  }
  for (size_t c = 0; c < plot.curves.size(); ++c) {
    for (const backtest::Svg::Points& piece : plot.curves[c].pieces) {
      backtest::Svg::Points points;
      for (const auto& [time, value] : piece) {
        points.emplace_back(x(time), y(value));
      }
      if (!points.empty()) {
        svg.Polyline(points, kColours[c], 1.5);
      }
    }
    svg.Text(frame.x1() + 8, frame.y1() + 10 + 18.0 * static_cast<double>(c), plot.curves[c].name,
             kColours[c]);
  }
  svg.Titles(frame, "seconds", settings.Text("unit"));
  std::ofstream out(settings.Text("svg"));
  out << std::move(svg).Finish();
  return out ? absl::OkStatus()
             : absl::InternalError(absl::StrCat("cannot write ", settings.Text("svg")));
}

int Main(int argc, char** argv) {
  Settings settings({{"csv", ""},
                     {"svg", "run.svg"},
                     {"columns", ""},
                     {"title", "recorded run"},
                     {"subtitle", ""},
                     {"unit", "cores"}});
  absl::Status status = settings.Parse(argc, argv);
  if (status.ok()) {
    status = Run(settings);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "plot_run: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Main(argc, argv); }
