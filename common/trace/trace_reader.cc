#include "common/trace/trace_reader.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
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

std::string Excerpt(absl::string_view text) {
  constexpr size_t kMaxShown = 40;
  return text.size() <= kMaxShown ? std::string(text)
                                  : absl::StrCat(text.substr(0, kMaxShown), "...");
}

std::string NameOf(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  for (absl::string_view suffix : {".gz", ".csv"}) {
    name = std::string(absl::StripSuffix(name, suffix));
  }
  return name.empty() ? "trace" : name;
}

class Reader {
 public:
  Reader(const std::string& path, const ReadOptions& options, LineSource source)
      : file_(std::filesystem::path(path).filename().string()),
        own_name_(NameOf(path)),
        options_(options),
        wanted_(options.names.begin(), options.names.end()),
        source_(std::move(source)) {}

  absl::StatusOr<std::vector<Trace>> Run();

 private:
  absl::Status ParseHeader(absl::string_view line);
  absl::Status ParseRow(absl::string_view line);
  absl::Status Append(Series& series, double time, double value);
  Series* FindOrAdd(absl::string_view name);  // nullptr = not wanted
  absl::StatusOr<double> ParseNumber(absl::string_view field, absl::string_view text) const;
  absl::StatusOr<Trace> Finish(Series series) const;
  absl::Status Fault(int64_t line, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(file_, ":", line, ": ", what));
  }

  const std::string file_;
  const std::string own_name_;
  const ReadOptions& options_;
  const std::set<std::string, std::less<>> wanted_;
  LineSource source_;
  size_t columns_ = 0;
  std::string resource_;
  int64_t points_ = 0;
  std::vector<Series> series_;
  std::map<std::string, size_t, std::less<>> index_;
  // Rows of one series mostly follow each other.
  std::string last_name_;
  Series* last_series_ = nullptr;
};

absl::StatusOr<std::vector<Trace>> Reader::Run() {
  absl::string_view line;
  CS_ASSIGN_OR_RETURN(const bool has_header, source_.Next(line));
  if (!has_header) {
    return Fault(1, "the file is empty");
  }
  CS_RETURN_IF_ERROR(ParseHeader(line));
  int64_t blank_line = 0;
  while (true) {
    CS_ASSIGN_OR_RETURN(const bool has_line, source_.Next(line));
    if (!has_line) {
      break;
    }
    if (absl::StripAsciiWhitespace(line).empty()) {
      blank_line = blank_line == 0 ? source_.line_number() : blank_line;
      continue;
    }
    if (blank_line != 0) {
      return Fault(blank_line, "blank line within the data");
    }
    CS_RETURN_IF_ERROR(ParseRow(line));
  }
  std::vector<std::string> missing;
  for (const std::string& name : options_.names) {
    if (!index_.contains(name)) {
      missing.push_back(name);
    }
  }
  if (!missing.empty()) {
    return absl::NotFoundError(
        absl::StrCat(file_, ": no series named '", absl::StrJoin(missing, "', '"), "'"));
  }
  if (series_.empty()) {
    return Fault(source_.line_number(), "no data after the heading");
  }
  std::vector<Trace> traces;
  if (options_.names.empty()) {
    for (Series& series : series_) {
      CS_ASSIGN_OR_RETURN(traces.emplace_back(), Finish(std::move(series)));
    }
  } else {
    for (const std::string& name : options_.names) {
      CS_ASSIGN_OR_RETURN(traces.emplace_back(), Finish(series_[index_.at(name)]));
    }
  }
  return traces;
}

absl::Status Reader::ParseHeader(absl::string_view line) {
  line = absl::StripPrefix(line, "\xEF\xBB\xBF");
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ',');
  double ignored = 0;
  if (fields.size() == 2 && (fields[0] == "t_seconds" || fields[0] == "t") && !fields[1].empty() &&
      !absl::SimpleAtod(fields[1], &ignored)) {
    columns_ = 2;
    resource_ = std::string(absl::StripAsciiWhitespace(fields[1]));
    return absl::OkStatus();
  }
  if (fields.size() == 3 && fields[0] == "trace" &&
      (fields[1] == "t" || fields[1] == "t_seconds")) {
    columns_ = 3;
    resource_ = std::string(absl::StripAsciiWhitespace(fields[2]));
    return absl::OkStatus();
  }
  return Fault(1, absl::StrCat("heading '", Excerpt(line),
                               "' is neither 't_seconds,<name>' nor 'trace,t,value'"));
}

absl::Status Reader::ParseRow(absl::string_view line) {
  const int64_t number = source_.line_number();
  absl::string_view fields[3];
  size_t count = 0;
  for (absl::string_view field : absl::StrSplit(line, ',')) {
    if (count < 3) {
      fields[count] = field;
    }
    ++count;
  }
  if (count != columns_) {
    return Fault(number, absl::StrCat("has ", count, " columns, expected ", columns_));
  }
  const size_t shift = columns_ == 3 ? 1 : 0;
  if (columns_ == 3 && fields[0].empty()) {
    return Fault(number, "trace has no name");
  }
  CS_ASSIGN_OR_RETURN(const double time, ParseNumber("time", fields[shift]));
  CS_ASSIGN_OR_RETURN(const double value, ParseNumber("value", fields[shift + 1]));
  Series* const series = FindOrAdd(columns_ == 3 ? fields[0] : absl::string_view(own_name_));
  return series == nullptr ? absl::OkStatus() : Append(*series, time, value);
}

absl::StatusOr<double> Reader::ParseNumber(absl::string_view field, absl::string_view text) const {
  double number = 0;
  if (!absl::SimpleAtod(text, &number)) {
    return Fault(source_.line_number(),
                 absl::StrCat(field, " '", Excerpt(text), "' is not a number"));
  }
  if (!std::isfinite(number)) {
    return Fault(source_.line_number(),
                 absl::StrCat(field, " '", Excerpt(text), "' is not a finite number"));
  }
  if (number < 0) {
    return Fault(source_.line_number(), absl::StrCat(field, " ", Excerpt(text), " is negative"));
  }
  return number;
}

Series* Reader::FindOrAdd(absl::string_view name) {
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
    last_series_->first_line = source_.line_number();
  }
  return last_series_;
}

absl::Status Reader::Append(Series& series, double time, double value) {
  const int64_t line = source_.line_number();
  if (time > kMaxSeconds) {
    return Fault(line, absl::StrFormat("time %g is above %g seconds", time, kMaxSeconds));
  }
  if (++points_ > options_.max_points) {
    return absl::ResourceExhaustedError(
        absl::StrCat(file_, ":", line, ": more than ", options_.max_points, " points"));
  }
  if (series.values.empty()) {
    series.first_time = time;
  } else {
    const double gap = time - series.last_time;
    if (gap <= 0) {
      return Fault(line, absl::StrFormat("time %g does not follow %g", time, series.last_time));
    }
    if (series.values.size() == 1) {
      series.period = gap;
      if (gap < 1e-3) {
        return Fault(line, absl::StrFormat("period of %g s is below 0.001 s", gap));
      }
    } else if (std::abs(gap - series.period) > kGridTolerance * series.period) {
      return Fault(line, absl::StrFormat("time %g is %g s after the one before, expected %g s: "
                                         "the grid must be regular",
                                         time, gap, series.period));
    }
  }
  if (value > 1 && series.line_above_one == 0) {
    series.line_above_one = line;
  }
  series.maximum = std::max(series.maximum, value);
  series.last_time = time;
  series.values.push_back(value);
  return absl::OkStatus();
}

absl::StatusOr<Trace> Reader::Finish(Series series) const {
  if (series.values.size() < 2) {
    return Fault(series.first_line,
                 absl::StrCat("series '", series.name, "' has one point; its period is unknown"));
  }
  Trace trace;
  // Over the whole length, so that rounded times do not add up to a wrong period.
  trace.period = absl::Seconds((series.last_time - series.first_time) /
                               static_cast<double>(series.values.size() - 1));
  const bool scales =
      options_.scale == ValueScale::kByMaximum ||
      (options_.scale == ValueScale::kAutomatic && columns_ == 2 && series.line_above_one != 0);
  if (scales && series.maximum > 0) {
    const double full = kHeadroomOverMaximum * series.maximum;
    for (double& value : series.values) {
      value /= full;
    }
    trace.note = absl::StrFormat("values divided by %g, which is %g times the largest", full,
                                 kHeadroomOverMaximum);
  } else if (options_.scale != ValueScale::kRaw && series.line_above_one != 0) {
    return Fault(series.line_above_one,
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
  return Reader(path, options, std::move(source)).Run();
}

}  // namespace cloudscale::trace
