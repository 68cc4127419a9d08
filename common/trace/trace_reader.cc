#include "common/trace/trace_reader.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "common/trace/csv.h"
#include "common/trace/line_source.h"

namespace cloudscale::trace {
namespace {

constexpr double kGridTolerance = 1e-3;  // of a period; recorded times are rounded
constexpr double kMaxSeconds = 1e10;
constexpr double kHeadroomOverMaximum = 1.25;

// One series while it is read.
struct Series {
  std::string name;
  std::vector<double> values;
  double first_time = 0;
  double last_time = 0;
  double period = 0;
  double maximum = 0;
  int64_t first_line = 0;
  int64_t line_above_one = 0;  // 0 = none
};

class Parser {
 public:
  Parser(const std::string& path, const ReadOptions& options)
      : csv_(std::filesystem::path(path).filename().string()),
        own_name_(TraceNameOf(path)),
        options_(options),
        wanted_(options.names.begin(), options.names.end()) {}

  absl::Status TakeLine(absl::string_view line);
  absl::StatusOr<std::vector<Trace>> Finish();

 private:
  absl::Status TakeHeading(absl::string_view line);
  absl::Status TakeRow();
  absl::Status Append(Series& series, double time, double value);
  Series* FindOrAdd(absl::string_view name);  // nullptr = not wanted
  absl::StatusOr<Trace> FinishSeries(Series series) const;

  CsvReader csv_;
  const std::string own_name_;
  const ReadOptions& options_;
  const std::set<std::string, std::less<>> wanted_;
  size_t time_column_ = 0;  // the value follows; before it the name, if there is one
  std::string resource_;
  int64_t points_ = 0;
  std::vector<Series> series_;
  std::map<std::string, size_t, std::less<>> index_;
  // Rows of one series mostly follow each other.
  std::string last_name_;
  Series* last_series_ = nullptr;
};

absl::Status Parser::TakeLine(absl::string_view line) {
  CS_ASSIGN_OR_RETURN(const bool has_fields, csv_.TakeLine(line));
  if (!has_fields) {
    return absl::OkStatus();
  }
  return csv_.column_names().empty() ? TakeHeading(line) : TakeRow();
}

absl::StatusOr<std::vector<Trace>> Parser::Finish() {
  if (csv_.column_names().empty()) {
    return csv_.LineFault(1, "the file is empty, expected a heading and data");
  }
  std::vector<std::string> missing;
  for (const std::string& name : options_.names) {
    if (!index_.contains(name)) {
      missing.push_back(Excerpt(name));
    }
  }
  if (!missing.empty()) {
    return absl::NotFoundError(
        absl::StrCat(csv_.file(), ": no series named '", absl::StrJoin(missing, "', '"), "'"));
  }
  if (series_.empty()) {
    return csv_.LineFault(csv_.line_number(), "no data after the heading");
  }
  std::vector<Trace> traces;
  if (options_.names.empty()) {
    for (Series& series : series_) {
      CS_ASSIGN_OR_RETURN(traces.emplace_back(), FinishSeries(std::move(series)));
    }
  } else {
    for (const std::string& name : options_.names) {
      CS_ASSIGN_OR_RETURN(traces.emplace_back(), FinishSeries(series_[index_.at(name)]));
    }
  }
  return traces;
}

absl::Status Parser::TakeHeading(absl::string_view line) {
  const std::vector<absl::string_view>& fields = csv_.fields();
  const auto is_time = [](absl::string_view name) { return name == "t_seconds" || name == "t"; };
  double ignored = 0;
  const bool is_one = fields.size() == 2 && is_time(fields[0]) && !fields[1].empty() &&
                      !absl::SimpleAtod(fields[1], &ignored);
  const bool is_many = fields.size() == 3 && fields[0] == "trace" && is_time(fields[1]);
  if (!is_one && !is_many) {
    return csv_.LineFault(1, absl::StrCat("heading '", Excerpt(line),
                                          "' is neither 't_seconds,<name>' nor 'trace,t,value'"));
  }
  time_column_ = fields.size() - 2;
  resource_ = std::string(fields.back());
  csv_.NameColumns({fields.begin(), fields.end()});
  return absl::OkStatus();
}

absl::Status Parser::TakeRow() {
  CS_RETURN_IF_ERROR(csv_.CheckColumns());
  const bool has_name = time_column_ > 0;
  if (has_name && csv_.fields()[0].empty()) {
    return csv_.FieldFault(0, "the name of a series");
  }
  CS_ASSIGN_OR_RETURN(const double time, csv_.Time(time_column_, 0, kMaxSeconds));
  CS_ASSIGN_OR_RETURN(const double value,
                      csv_.Number(time_column_ + 1, std::numeric_limits<double>::infinity()));
  Series* const series = FindOrAdd(has_name ? csv_.fields()[0] : absl::string_view(own_name_));
  return series == nullptr ? absl::OkStatus() : Append(*series, time, value);
}

Series* Parser::FindOrAdd(absl::string_view name) {
  if (last_name_ == name) {
    return last_series_;
  }
  last_name_ = std::string(name);
  last_series_ = nullptr;
  if (const auto found = index_.find(name); found != index_.end()) {
    last_series_ = &series_[found->second];
    return last_series_;
  }
  const bool is_wanted = wanted_.empty()
                             ? static_cast<int64_t>(series_.size()) < options_.max_traces
                             : wanted_.contains(name);
  if (is_wanted) {
    index_.emplace(last_name_, series_.size());
    last_series_ = &series_.emplace_back();
    last_series_->name = last_name_;
    last_series_->first_line = csv_.line_number();
  }
  return last_series_;
}

absl::Status Parser::Append(Series& series, double time, double value) {
  if (++points_ > options_.max_points) {
    return csv_.TooMuch(csv_.line_number(),
                        absl::StrCat("more than ", options_.max_points, " points"));
  }
  if (series.values.empty()) {
    series.first_time = time;
  } else {
    const double gap = time - series.last_time;
    if (gap <= 0) {
      return csv_.FieldFault(
          time_column_,
          absl::StrFormat("a time after that of the row before (%.15g)", series.last_time));
    }
    if (series.values.size() == 1) {
      series.period = gap;
      if (gap < 1e-3) {
        return csv_.FieldFault(
            time_column_,
            absl::StrFormat("one at least 0.001 s after that before (%.15g)", series.last_time));
      }
    } else if (std::abs(gap - series.period) > kGridTolerance * series.period) {
      return csv_.FieldFault(
          time_column_, absl::StrFormat("a time %g s after that of the row before, not %g s: the "
                                        "grid must be regular",
                                        series.period, gap));
    }
  }
  if (value > 1 && series.line_above_one == 0) {
    series.line_above_one = csv_.line_number();
  }
  series.maximum = std::max(series.maximum, value);
  series.last_time = time;
  series.values.push_back(value);
  return absl::OkStatus();
}

absl::StatusOr<Trace> Parser::FinishSeries(Series series) const {
  if (series.values.size() < 2) {
    return csv_.LineFault(
        series.first_line,
        absl::StrCat("series '", series.name, "' has one point; its period is unknown"));
  }
  Trace trace;
  // Over the whole length, so that rounded times do not add up to a wrong period.
  trace.period = absl::Seconds((series.last_time - series.first_time) /
                               static_cast<double>(series.values.size() - 1));
  const bool scales =
      options_.scale == ValueScale::kByMaximum ||
      (options_.scale == ValueScale::kAutomatic && time_column_ == 0 && series.line_above_one != 0);
  if (scales && series.maximum > 0) {
    const double full = kHeadroomOverMaximum * series.maximum;
    for (double& value : series.values) {
      value /= full;
    }
    trace.note = absl::StrFormat("values divided by %g, which is %g times the largest", full,
                                 kHeadroomOverMaximum);
  } else if (options_.scale != ValueScale::kRaw && series.line_above_one != 0) {
    return csv_.LineFault(
        series.line_above_one,
        absl::StrFormat("value above 1 in series '%s' (largest %g); allowed is a fraction "
                        "of the VM, 0 to 1, unless scaling is asked for",
                        series.name, series.maximum));
  }
  trace.name = std::move(series.name);
  trace.resource = resource_;
  trace.values = std::move(series.values);
  return trace;
}

absl::Status ValidateOptions(const ReadOptions& options) {
  Violations violations;
  RequireInRange(violations, "max_traces", static_cast<double>(options.max_traces), 1, 100000);
  RequirePositive(violations, "max_bytes", static_cast<double>(options.max_bytes));
  RequirePositive(violations, "max_points", static_cast<double>(options.max_points));
  return violations.ToStatus();
}

}  // namespace

absl::StatusOr<std::vector<Trace>> ReadTraces(const std::string& path, const ReadOptions& options) {
  CS_RETURN_IF_ERROR(ValidateOptions(options));
  CS_ASSIGN_OR_RETURN(LineSource source, LineSource::Open(path, options.max_bytes));
  Parser parser(path, options);
  CS_RETURN_IF_ERROR(
      ForEachLine(source, [&parser](absl::string_view line) { return parser.TakeLine(line); }));
  return parser.Finish();
}

absl::StatusOr<std::vector<Trace>> ParseTraces(absl::string_view text, const std::string& file,
                                               const ReadOptions& options) {
  CS_RETURN_IF_ERROR(ValidateOptions(options));
  Parser parser(file, options);
  CS_RETURN_IF_ERROR(
      ForEachLine(text, [&parser](absl::string_view line) { return parser.TakeLine(line); }));
  return parser.Finish();
}

}  // namespace cloudscale::trace
