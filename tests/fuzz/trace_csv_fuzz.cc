// Fuzz target of the readers of recorded demand: the rows and fields of CSV, and the two forms that
// are made of them, for the simulated host and for backtests. tests/fuzz/corpus_test.cc plays the
// corpus in every build; CONTRIBUTING.md says how to fuzz.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "common/trace/csv.h"
#include "common/trace/line_source.h"
#include "common/trace/trace_reader.h"
#include "sim/backtest/trace_csv.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int64_t kMaxPoints = 10'000;

void Require(bool holds) {
  if (!holds) {
    std::abort();
  }
}

// A fault must say where it is.
void RequireFault(const absl::Status& status) {
  Require(absl::StartsWith(status.message(), "f.csv:"));
}

// Fields that were read are read again as the same when each is quoted.
void CheckRows(absl::string_view text) {
  cloudscale::trace::CsvReader reader("f.csv");
  const absl::Status status =
      cloudscale::trace::ForEachLine(text, [&reader](absl::string_view line) -> absl::Status {
        const auto has_fields = reader.TakeLine(line);
        if (!has_fields.ok() || !*has_fields) {
          return has_fields.status();
        }
        std::vector<std::string> quoted;
        for (const absl::string_view field : reader.fields()) {
          quoted.push_back(absl::StrCat("\"", absl::StrReplaceAll(field, {{"\"", "\"\""}}), "\""));
        }
        const std::string again_line = absl::StrJoin(quoted, ",");
        if (again_line.size() <= cloudscale::trace::CsvReader::kMaxLineBytes) {
          cloudscale::trace::CsvReader again("f.csv");
          Require(again.TakeLine(again_line).ok());
          Require(again.fields() == reader.fields());
        }
        for (size_t i = 0; i < reader.fields().size(); ++i) {
          const auto number = reader.Number(i, 10);
          Require(!number.ok() || (*number >= 0 && *number <= 10 && !std::signbit(*number)));
          const auto time = reader.Time(i, -10, 1e10);
          Require(!time.ok() || (*time >= -10 && *time <= 1e10));
        }
        return absl::OkStatus();
      });
  if (!status.ok()) {
    RequireFault(status);
  }
}

void CheckReplay(absl::string_view text) {
  for (const auto scale :
       {cloudscale::trace::ValueScale::kAutomatic, cloudscale::trace::ValueScale::kByMaximum}) {
    cloudscale::trace::ReadOptions options;
    options.scale = scale;
    options.max_points = kMaxPoints;
    const auto traces = cloudscale::trace::ParseTraces(text, "f.csv", options);
    if (!traces.ok()) {
      RequireFault(traces.status());
      continue;
    }
    for (const cloudscale::trace::Trace& trace : *traces) {
      Require(trace.period > absl::ZeroDuration() && trace.values.size() >= 2);
      for (const double value : trace.values) {
        Require(value >= 0 && value <= 1);
      }
    }
  }
}

void CheckBacktest(absl::string_view text) {
  namespace backtest = cloudscale::backtest;
  for (const double step : {0.0, 30.0}) {
    backtest::TraceCsvOptions options;
    options.step_seconds = step;
    options.max_points = kMaxPoints;
    const auto traces = backtest::ParseTraceCsv(text, "f.csv", options);
    if (!traces.ok()) {
      RequireFault(traces.status());
      continue;
    }
    int64_t points = 0;
    for (const backtest::DemandTrace& trace : *traces) {
      points += static_cast<int64_t>(trace.demand.size());
      Require(trace.step_seconds > 0 && trace.capacity > 0 && trace.demand.size() >= 2);
      for (const double d : trace.demand) {
        Require(std::isnan(d) || (d >= 0 && d <= backtest::TraceCsvParser::kMaxDemand));
      }
    }
    Require(points <= kMaxPoints);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  CheckRows(text);
  CheckReplay(text);
  CheckBacktest(text);
  return 0;
}
