#include "sim/backtest/trace_csv.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/trace/csv.h"
#include "common/trace/line_source.h"

namespace cloudscale::backtest {
namespace {

// Rows from which the step of a trace is found.
constexpr size_t kProbeRows = 16;
// How far off the grid a time may be, in steps.
constexpr double kGridTolerance = 0.25;
constexpr size_t kNoColumn = static_cast<size_t>(-1);

constexpr absl::string_view kTimeNames[] = {"t", "t_seconds", "time", "timestamp", "seconds"};
constexpr absl::string_view kTraceNames[] = {"trace", "series", "vm", "name", "id"};

struct Row {
  double time = 0;
  double value = 0;
  int64_t line = 0;
};

// One trace while it is read.
struct Series {
  std::vector<Row> probe;  // rows whose place on the grid is not known yet
  double step = 0;         // 0 while probing
  double first_time = 0;
  double last_time = 0;
  bool has_rows = false;
  std::vector<double> demand;
};

template <size_t N>
bool IsOneOf(absl::string_view name, const absl::string_view (&names)[N]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

void SetDefaultCapacities(std::vector<DemandTrace>& traces) {
  std::vector<double> maxima;
  bool are_fractions = true;
  for (const DemandTrace& trace : traces) {
    double maximum = 0;
    for (const double d : trace.demand) {
      maximum = d > maximum ? d : maximum;  // not for kUnknown
    }
    maxima.push_back(maximum);
    are_fractions = are_fractions && maximum <= 1;
  }
  for (size_t i = 0; i < traces.size(); ++i) {
    traces[i].capacity = are_fractions || maxima[i] <= 0 ? 1 : maxima[i];
  }
}

class TraceCsvParser::Impl {
 public:
  Impl(std::string file, std::string trace_name, TraceCsvOptions options)
      : csv_(std::move(file)),
        trace_name_(std::move(trace_name)),
        options_(std::move(options)),
        wanted_(options_.names) {
    std::sort(wanted_.begin(), wanted_.end());
  }

  absl::Status TakeLine(absl::string_view line);
  absl::StatusOr<std::vector<DemandTrace>> Finish();

 private:
  absl::Status TakeFirst(absl::string_view line);
  absl::Status TakeHeading();
  absl::Status TakeRow();
  absl::Status TakePoint(Series& series, const Row& row);
  absl::Status EndProbe(Series& series);
  absl::Status Place(Series& series, const Row& row);
  absl::StatusOr<double> Value() const;
  absl::StatusOr<Series*> SeriesOf(absl::string_view name);  // null = not wanted

  trace::CsvReader csv_;
  const std::string trace_name_;
  const TraceCsvOptions options_;
  std::vector<std::string> wanted_;

  size_t trace_column_ = kNoColumn;
  size_t time_column_ = kNoColumn;
  size_t value_column_ = kNoColumn;
  predictor::Resource resource_ = predictor::Resource::kCpu;

  int64_t points_ = 0;
  std::map<std::string, size_t, std::less<>> index_;
  std::vector<std::unique_ptr<Series>> series_;
  std::vector<std::string> series_names_;
  // Rows of one trace mostly follow each other.
  std::string last_name_;
  Series* last_series_ = nullptr;
  bool has_last_ = false;
};

absl::Status TraceCsvParser::Impl::TakeLine(absl::string_view line) {
  CS_ASSIGN_OR_RETURN(const bool has_fields, csv_.TakeLine(line));
  if (!has_fields) {
    return absl::OkStatus();
  }
  return csv_.column_names().empty() ? TakeFirst(line) : TakeRow();
}

absl::Status TraceCsvParser::Impl::TakeFirst(absl::string_view line) {
  const std::vector<absl::string_view>& fields = csv_.fields();
  double ignored = 0;
  // Without a heading the last column is the demand, which no heading can be.
  if (!absl::SimpleAtod(fields.back(), &ignored)) {
    return TakeHeading();
  }
  switch (fields.size()) {
    case 1:
      csv_.NameColumns({"value"});
      break;
    case 2:
      csv_.NameColumns({"t", "value"});
      time_column_ = 0;
      break;
    case 3:
      csv_.NameColumns({"trace", "t", "value"});
      trace_column_ = 0;
      time_column_ = 1;
      break;
    default:
      return csv_.LineFault(1,
                            absl::StrCat("found ", fields.size(), " columns and no heading in '",
                                         trace::Excerpt(line),
                                         "', expected a heading, or 'trace,t,value', 't,value' or "
                                         "'value'"));
  }
  value_column_ = fields.size() - 1;
  if (!options_.value_column.empty() && options_.value_column != "value") {
    return csv_.LineFault(1, absl::StrCat("found no heading, expected one with the column '",
                                          options_.value_column, "'"));
  }
  resource_ = options_.resource.value_or(predictor::Resource::kCpu);
  return TakeRow();
}

absl::Status TraceCsvParser::Impl::TakeHeading() {
  const std::vector<absl::string_view>& fields = csv_.fields();
  csv_.NameColumns({fields.begin(), fields.end()});
  std::vector<size_t> others;
  for (size_t column = 0; column < fields.size(); ++column) {
    const absl::string_view name = fields[column];
    const std::string lower = absl::AsciiStrToLower(name);
    if (!options_.value_column.empty() && name == options_.value_column) {
      value_column_ = column;
    } else if (time_column_ == kNoColumn && IsOneOf(lower, kTimeNames)) {
      time_column_ = column;
    } else if (trace_column_ == kNoColumn && IsOneOf(lower, kTraceNames)) {
      trace_column_ = column;
    } else {
      others.push_back(column);
    }
  }
  const std::string all = absl::StrJoin(csv_.column_names(), ",");
  if (!options_.value_column.empty() && value_column_ == kNoColumn) {
    return csv_.LineFault(1, absl::StrCat("found the columns '", trace::Excerpt(all),
                                          "', expected one named '", options_.value_column, "'"));
  }
  if (value_column_ == kNoColumn) {
    // A column named `value` is the demand among others as well.
    for (const size_t column : others) {
      if (fields[column] == "value") {
        others = {column};
        break;
      }
    }
    if (others.empty()) {
      return csv_.LineFault(1,
                            absl::StrCat("found the columns '", trace::Excerpt(all),
                                         "', expected a column with the demand, such as 'value'"));
    }
    if (others.size() > 1) {
      return csv_.LineFault(
          1, absl::StrCat("found ", others.size(), " columns that may be the demand in '",
                          trace::Excerpt(all), "', expected one (choose it by its name)"));
    }
    value_column_ = others.front();
  }
  if (trace_column_ != kNoColumn && time_column_ == kNoColumn && options_.step_seconds <= 0) {
    return csv_.LineFault(1, absl::StrCat("found the columns '", trace::Excerpt(all),
                                          "', expected a column with the time, such as 't'"));
  }
  const std::string heading = absl::AsciiStrToLower(csv_.column_names()[value_column_]);
  resource_ = options_.resource.value_or(heading == "mem" || absl::StartsWith(heading, "memory")
                                             ? predictor::Resource::kMemory
                                             : predictor::Resource::kCpu);
  return absl::OkStatus();
}

absl::StatusOr<double> TraceCsvParser::Impl::Value() const {
  if (csv_.fields()[value_column_].empty()) {
    return csv_.FieldFault(value_column_, "a number from 0 to 1e18 (leave the row out for a gap)");
  }
  return csv_.Number(value_column_, kMaxDemand);
}

absl::StatusOr<Series*> TraceCsvParser::Impl::SeriesOf(absl::string_view name) {
  if (has_last_ && last_name_ == name) {
    return last_series_;
  }
  if (name.empty() || name.size() > kMaxNameBytes) {
    return csv_.FieldFault(trace_column_,
                           absl::StrCat("the name of a trace, 1 to ", kMaxNameBytes, " bytes"));
  }
  has_last_ = true;
  last_name_ = std::string(name);
  last_series_ = nullptr;
  if (!wanted_.empty() && !std::binary_search(wanted_.begin(), wanted_.end(), last_name_)) {
    return nullptr;
  }
  const auto [it, is_new] = index_.emplace(last_name_, series_.size());
  if (is_new) {
    if (static_cast<int64_t>(series_.size()) >= options_.max_traces) {
      return csv_.TooMuch(csv_.line_number(),
                          absl::StrCat("more than ", options_.max_traces, " traces"));
    }
    series_.push_back(std::make_unique<Series>());
    series_names_.push_back(last_name_);
  }
  last_series_ = series_[it->second].get();
  return last_series_;
}

absl::Status TraceCsvParser::Impl::TakeRow() {
  CS_RETURN_IF_ERROR(csv_.CheckColumns());
  Row row{.line = csv_.line_number()};
  CS_ASSIGN_OR_RETURN(row.value, Value());
  if (time_column_ != kNoColumn) {
    CS_ASSIGN_OR_RETURN(row.time, csv_.Time(time_column_, -kMaxSeconds, kMaxSeconds));
  }
  CS_ASSIGN_OR_RETURN(Series* const series,
                      SeriesOf(trace_column_ == kNoColumn ? absl::string_view(trace_name_)
                                                          : csv_.fields()[trace_column_]));
  return series == nullptr ? absl::OkStatus() : TakePoint(*series, row);
}

absl::Status TraceCsvParser::Impl::TakePoint(Series& series, const Row& row) {
  if (++points_ > options_.max_points) {
    return csv_.TooMuch(row.line, absl::StrCat("more than ", options_.max_points, " points"));
  }
  if (time_column_ == kNoColumn) {
    if (options_.step_seconds <= 0) {
      return csv_.LineFault(
          row.line,
          "found no column with the time, expected one, or the step to be given (--step)");
    }
    series.step = options_.step_seconds;
    series.demand.push_back(row.value);
    return absl::OkStatus();
  }
  if (series.has_rows && row.time == series.last_time) {
    return csv_.FieldFault(time_column_, "a later time; this one is there already");
  }
  if (series.has_rows && row.time < series.last_time) {
    return csv_.FieldFault(
        time_column_,
        absl::StrFormat("a time after that of the row before (%.15g)", series.last_time));
  }
  if (series.step == 0 && options_.step_seconds > 0) {
    series.step = options_.step_seconds;
  }
  if (series.step > 0) {
    return Place(series, row);
  }
  series.probe.push_back(row);
  series.has_rows = true;
  series.last_time = row.time;
  return series.probe.size() < kProbeRows ? absl::OkStatus() : EndProbe(series);
}

absl::Status TraceCsvParser::Impl::EndProbe(Series& series) {
  std::vector<double> intervals;
  for (size_t i = 1; i < series.probe.size(); ++i) {
    intervals.push_back(series.probe[i].time - series.probe[i - 1].time);
  }
  const auto middle = intervals.begin() + static_cast<std::ptrdiff_t>((intervals.size() - 1) / 2);
  std::nth_element(intervals.begin(), middle, intervals.end());
  series.step = *middle;
  series.has_rows = false;
  const std::vector<Row> probe = std::exchange(series.probe, {});
  for (const Row& row : probe) {
    CS_RETURN_IF_ERROR(Place(series, row));
  }
  return absl::OkStatus();
}

absl::Status TraceCsvParser::Impl::Place(Series& series, const Row& row) {
  if (!series.has_rows) {
    series.first_time = row.time;
  } else {
    const double interval = row.time - series.last_time;
    const double steps = std::round(interval / series.step);
    if (steps < 1 || std::abs(interval / series.step - steps) > kGridTolerance) {
      return csv_.LineFault(
          row.line, absl::StrFormat("%s: found %.15g, %.4g steps after the row before, expected a "
                                    "whole number of steps of %.6g s",
                                    csv_.ColumnText(time_column_), row.time, interval / series.step,
                                    series.step));
    }
    const double missing = steps - 1;
    if (static_cast<double>(points_) + missing > static_cast<double>(options_.max_points)) {
      return csv_.TooMuch(row.line,
                          absl::StrFormat("with the gap of %.0f steps there are more than %d "
                                          "points",
                                          missing, options_.max_points));
    }
    points_ += static_cast<int64_t>(missing);
    series.demand.insert(series.demand.end(), static_cast<size_t>(missing), DemandTrace::kUnknown);
  }
  series.has_rows = true;
  series.last_time = row.time;
  series.demand.push_back(row.value);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DemandTrace>> TraceCsvParser::Impl::Finish() {
  if (csv_.column_names().empty()) {
    return csv_.LineFault(1,
                          "the file is empty, expected a heading such as 'trace,t,value' and data");
  }
  std::vector<DemandTrace> traces;
  std::vector<std::string> missing;
  for (const std::string& name : options_.names) {
    if (!index_.contains(name)) {
      missing.push_back(trace::Excerpt(name));
    }
  }
  if (!missing.empty()) {
    return absl::NotFoundError(
        absl::StrCat(csv_.file(), ": no trace named '", absl::StrJoin(missing, "', '"), "'"));
  }
  if (series_.empty()) {
    return csv_.LineFault(csv_.line_number(),
                          "found no data after the heading, expected at least two rows");
  }
  std::vector<size_t> order;
  for (size_t i = 0; options_.names.empty() && i < series_.size(); ++i) {
    order.push_back(i);
  }
  for (const std::string& name : options_.names) {
    const size_t i = index_.at(name);
    if (std::find(order.begin(), order.end(), i) == order.end()) {
      order.push_back(i);  // a name given twice is one trace
    }
  }
  for (const size_t i : order) {
    Series& series = *series_[i];
    if (series.probe.size() == 1 || (series.step > 0 && series.demand.size() == 1)) {
      return csv_.LineFault(series.probe.empty() ? csv_.line_number() : series.probe.front().line,
                            absl::StrCat("trace '", trace::Excerpt(series_names_[i]),
                                         "' has one row, expected at least two"));
    }
    if (!series.probe.empty()) {
      CS_RETURN_IF_ERROR(EndProbe(series));
    }
    traces.push_back({.name = series_names_[i],
                      .file = trace_name_,
                      .resource = resource_,
                      .start_seconds = series.first_time,
                      .step_seconds = series.step,
                      .capacity = 1,
                      .demand = std::move(series.demand)});
    series.demand = {};
  }
  return traces;
}

TraceCsvParser::TraceCsvParser(std::string file, std::string trace_name, TraceCsvOptions options)
    : impl_(std::make_unique<Impl>(std::move(file), std::move(trace_name), std::move(options))) {}
TraceCsvParser::~TraceCsvParser() = default;
absl::Status TraceCsvParser::TakeLine(absl::string_view line) { return impl_->TakeLine(line); }
absl::StatusOr<std::vector<DemandTrace>> TraceCsvParser::Finish() { return impl_->Finish(); }

absl::StatusOr<std::vector<DemandTrace>> ReadTraceCsv(const std::string& path,
                                                      const TraceCsvOptions& options) {
  CS_ASSIGN_OR_RETURN(trace::LineSource source, trace::LineSource::Open(path, options.max_bytes));
  TraceCsvParser parser(std::filesystem::path(path).filename().string(), trace::TraceNameOf(path),
                        options);
  CS_RETURN_IF_ERROR(trace::ForEachLine(
      source, [&parser](absl::string_view line) { return parser.TakeLine(line); }));
  CS_ASSIGN_OR_RETURN(std::vector<DemandTrace> traces, parser.Finish());
  SetDefaultCapacities(traces);
  return traces;
}

absl::StatusOr<std::vector<DemandTrace>> ParseTraceCsv(absl::string_view text,
                                                       const std::string& file,
                                                       const TraceCsvOptions& options) {
  TraceCsvParser parser(file, trace::TraceNameOf(file), options);
  CS_RETURN_IF_ERROR(trace::ForEachLine(
      text, [&parser](absl::string_view line) { return parser.TakeLine(line); }));
  CS_ASSIGN_OR_RETURN(std::vector<DemandTrace> traces, parser.Finish());
  SetDefaultCapacities(traces);
  return traces;
}

}  // namespace cloudscale::backtest
