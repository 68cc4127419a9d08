#include "sim/backtest/report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"

namespace cloudscale::backtest {
namespace {

using Json = nlohmann::ordered_json;
using Row = std::vector<std::string>;

constexpr absl::string_view kLegend =
    "a/d: allocation / demand where the sweep of the method's knob crosses that violation ratio "
    "(1.00 = the cap\n"
    "equals demand on average), traces scaled by their P99. fleet: the same for VMs of equal size. "
    "v90: violation ratio of\n"
    "the 90th-percentile trace. depth: 95th percentile of the share of demand that a violation "
    "cuts. "
    "own: a/d with the\n"
    "knob chosen for each trace. p95, p99: least pinball loss x 100. published: violations and a/d "
    "of the source's setting.\n";

std::string Number(std::optional<double> value, int digits) {
  return value.has_value() && std::isfinite(*value) ? absl::StrFormat("%.*f", digits, *value) : "-";
}

std::string Percent(std::optional<double> ratio, int digits) {
  return ratio.has_value() && std::isfinite(*ratio)
             ? absl::StrFormat("%.*f%%", digits, 100 * *ratio)
             : "-";
}

// 0.02 → "2%".
std::string TargetText(double target) { return absl::StrFormat("%g%%", 100 * target); }

// The first column to the left, the others to the right.
std::string Aligned(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", i == 0 ? row[i] + padding : padding + row[i]);
    }
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return text;
}

// A Markdown table, columns padded so that it is readable as text too; numbers to the right.
std::string Markdown(const std::vector<Row>& rows) {
  std::vector<Row> lines = rows;
  lines.insert(lines.begin() + 1, Row(rows.front().size(), "---:"));
  lines[1][0] = "---";
  std::vector<size_t> widths(rows.front().size());
  for (const Row& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  std::string text;
  for (const Row& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      const std::string padding(widths[i] - line[i].size(), ' ');
      absl::StrAppend(&text, "| ", i == 0 ? line[i] + padding : padding + line[i], " ");
    }
    absl::StrAppend(&text, "|\n");
  }
  return text;
}

Row LeagueRow(const MethodResult& r, size_t reference) {
  Row row = {r.method};
  for (const TargetPoint& point : r.targets) {
    row.push_back(Number(point.over_allocation, 3));
  }
  const TargetPoint& at = r.targets[reference];
  row.push_back(Number(at.fleet, 2));
  row.push_back(Percent(at.violation_p90, 1));
  row.push_back(Percent(at.depth_p95, 0));
  row.push_back(Number(r.per_trace.over_allocation, 2) +
                (r.per_trace.reached_ratio > 0.98
                     ? ""
                     : absl::StrFormat(" (%.0f%%)", 100 * r.per_trace.reached_ratio)));
  row.push_back(Number(r.best_pinball_95, 3));
  row.push_back(Number(r.best_pinball_99, 3));
  row.push_back(r.published.has_value() ? Percent(r.published->violation_ratio, 1) + " / " +
                                              Number(r.published->over_allocation, 2)
                                        : "-");
  return row;
}

Row SettingRow(const MethodResult& r) {
  const Aggregate& point = r.sweep.front();
  return {r.method,
          absl::StrFormat("%g", point.knob),
          Percent(point.violation_ratio, 2),
          Number(point.over_allocation, 3),
          Number(point.fleet, 2),
          Percent(point.violation_p90, 1),
          Percent(point.depth_p95, 0),
          Number(point.pinball_95, 3),
          Number(point.pinball_99, 3)};
}

Row LeagueHeading(const BacktestResult& result) {
  Row row = {"method"};
  for (const double target : result.targets) {
    row.push_back("a/d @" + TargetText(target));
  }
  const std::string at = " @" + TargetText(result.reference_target);
  for (const char* name : {"fleet", "v90", "depth", "own"}) {
    row.push_back(name + at);
  }
  row.insert(row.end(), {"p95", "p99", "published"});
  return row;
}

std::vector<Row> CalibrationRows(const MethodResult& r) {
  std::vector<Row> rows;
  for (const Calibration& c : r.calibration) {
    rows.push_back(
        {r.method, Percent(c.asked, 2), Percent(c.got, 2), Number(c.got / c.asked, 2),
         c.long_traces == 0
             ? "-"
             : absl::StrFormat("%s of %d", Percent(c.long_traces_near_ratio, 0), c.long_traces)});
  }
  return rows;
}

// What belongs to one loop and hold.
struct Section {
  std::string title;
  std::vector<Row> league;
  std::vector<Row> calibration;  // with its heading; empty unless a knob is a target
};

std::vector<Section> SectionsOf(const BacktestResult& result) {
  std::vector<Section> sections;
  const size_t reference = result.targets.size() / 2;
  size_t i = 0;
  while (i < result.results.size()) {
    const MethodResult& first = result.results[i];
    Section section;
    section.title =
        absl::StrCat(first.loop == Loop::kOpen ? "Open" : "Closed", " loop, a cap holds ",
                     first.hold, first.hold == 1 ? " step, " : " steps, ", result.bases.size(),
                     result.bases.size() == 1 ? " trace" : " traces");
    section.league = {result.knob.has_value() ? Row{"method", "knob", "violations", "a/d", "fleet",
                                                    "v90", "depth", "p95", "p99"}
                                              : LeagueHeading(result)};
    for (; i < result.results.size() && result.results[i].loop == first.loop &&
           result.results[i].hold == first.hold;
         ++i) {
      const MethodResult& r = result.results[i];
      section.league.push_back(result.knob.has_value() ? SettingRow(r) : LeagueRow(r, reference));
      const std::vector<Row> rows = CalibrationRows(r);
      section.calibration.insert(section.calibration.end(), rows.begin(), rows.end());
    }
    if (!section.calibration.empty()) {
      section.calibration.insert(
          section.calibration.begin(),
          {"asked against got", "asked", "got", "got/asked", "long traces within 50%"});
    }
    sections.push_back(std::move(section));
  }
  return sections;
}

}  // namespace

std::string TableReport(const BacktestResult& result) {
  std::string text;
  for (const Section& section : SectionsOf(result)) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", section.title, "\n", Aligned(section.league));
    if (!section.calibration.empty()) {
      absl::StrAppend(&text, "\n", Aligned(section.calibration));
    }
  }
  absl::StrAppend(&text, "\n", kLegend);
  return text;
}

std::string MarkdownReport(const BacktestResult& result) {
  std::string text;
  for (const Section& section : SectionsOf(result)) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", "### ", section.title, "\n\n",
                    Markdown(section.league));
    if (!section.calibration.empty()) {
      absl::StrAppend(&text, "\n", Markdown(section.calibration));
    }
  }
  return text;
}

namespace {

Json Value(std::optional<double> value) {
  return value.has_value() && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

Json AggregateJson(const Aggregate& a) {
  return {{"knob", a.knob},
          {"violation_ratio", a.violation_ratio},
          {"over_allocation", Value(a.over_allocation)},
          {"fleet", Value(a.fleet)},
          {"violation_p90", a.violation_p90},
          {"depth_p95", a.depth_p95},
          {"pinball_95", a.pinball_95},
          {"pinball_99", a.pinball_99}};
}

Json RunJson(const BacktestResult& result, const MethodResult& r) {
  Json json = {{"loop", std::string(LoopName(r.loop))},
               {"hold", r.hold},
               {"method", r.method},
               {"knob_meaning", r.knob_meaning},
               {"targets", Json::array()},
               {"per_trace",
                {{"over_allocation", Value(r.per_trace.over_allocation)},
                 {"reached_ratio", r.per_trace.reached_ratio}}},
               {"best_pinball_95", r.best_pinball_95},
               {"best_pinball_99", r.best_pinball_99},
               {"published", r.published.has_value() ? AggregateJson(*r.published) : Json(nullptr)},
               {"sweep", Json::array()},
               {"calibration", Json::array()},
               {"traces", Json::array()}};
  for (const TargetPoint& p : r.targets) {
    json["targets"].push_back({{"target", p.target},
                               {"knob", Value(p.knob)},
                               {"over_allocation", Value(p.over_allocation)},
                               {"fleet", Value(p.fleet)},
                               {"violation_p90", Value(p.violation_p90)},
                               {"depth_p95", Value(p.depth_p95)}});
  }
  for (const Aggregate& point : r.sweep) {
    json["sweep"].push_back(AggregateJson(point));
  }
  for (const Calibration& c : r.calibration) {
    json["calibration"].push_back({{"asked", c.asked},
                                   {"got", c.got},
                                   {"long_traces", c.long_traces},
                                   {"long_traces_near_ratio", Value(c.long_traces_near_ratio)}});
  }
  for (size_t i = 0; i < r.traces.size(); ++i) {
    json["traces"].push_back({{"trace", (*result.traces)[i].name},
                              {"knob", r.sweep[r.reference].knob},
                              {"violation_ratio", r.traces[i].violation_ratio},
                              {"mean_cap", r.traces[i].mean_cap},
                              {"mean_under", r.traces[i].mean_under},
                              {"mean_over", r.traces[i].mean_over}});
  }
  return json;
}

}  // namespace

std::string JsonReport(const BacktestResult& result) {
  Json json = {{"schema", "cloudscale.backtest/1"},
               {"targets", result.targets},
               {"reference_target", result.reference_target},
               {"traces", Json::array()},
               {"runs", Json::array()}};
  for (size_t i = 0; i < result.bases.size(); ++i) {
    const DemandTrace& trace = (*result.traces)[i];
    const TraceBasis& basis = result.bases[i];
    const auto unknown = std::count_if(trace.demand.begin(), trace.demand.end(),
                                       [](double d) { return std::isnan(d); });
    json["traces"].push_back(
        {{"name", trace.name},
         {"resource", trace.resource == predictor::Resource::kCpu ? "cpu" : "memory"},
         {"steps", trace.demand.size()},
         {"unknown_steps", unknown},
         {"step_seconds", trace.step_seconds},
         {"capacity", trace.capacity},
         {"warm_up_steps", basis.warm_up_steps},
         {"scored_steps", basis.scored_steps},
         {"mean_demand", basis.mean_demand},
         {"scale", basis.scale}});
  }
  for (const MethodResult& r : result.results) {
    json["runs"].push_back(RunJson(result, r));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cloudscale::backtest
