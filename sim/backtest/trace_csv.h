#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sim/backtest/demand_trace.h"

namespace cloudscale::backtest {

struct TraceCsvOptions {
  // Seconds between samples; 0 = found from the times. Required for a file without times.
  double step_seconds = 0;
  // Only these traces, in this order; empty = all, in the order of the file.
  std::vector<std::string> names = {};
  // Heading of the column that holds the demand; empty = the only one that is neither time nor
  // name.
  std::string value_column = {};
  // Unset: memory when the heading of the demand is `mem` or begins with `memory`, else CPU.
  std::optional<predictor::Resource> resource = std::nullopt;
  // Bounds of what is kept and read; beyond them RESOURCE_EXHAUSTED. Steps that are filled in for
  // gaps count.
  int64_t max_points = 50'000'000;
  int64_t max_traces = 100'000;
  int64_t max_bytes = int64_t{4} << 30;  // uncompressed
};

// Takes the lines of a recorded trace file, one at a time:
//
//   trace,t,value      many traces, which may be interleaved
//   t,value            one trace, named after the file
//   value              one trace, with `step_seconds`
//
// A heading may be left out; with one, columns may come in any order and others may be present.
// Time is a number of seconds or `2026-03-01 12:31:05` or RFC 3339. Times go up within a trace on a
// regular grid (its step is the median of the first intervals); they may be up to a quarter of a
// step off. Steps without a row are unknown, never filled with a value. Demand is finite and from 0
// to 1e18.
//
// A fault is INVALID_ARGUMENT as "x.csv:17: column 3 (value): found 'abc', expected …". Memory is
// bounded by `max_points`. Thread safety: thread-compatible.
class TraceCsvParser {
 public:
  // Largest demand that is taken for one.
  static constexpr double kMaxDemand = 1e18;
  static constexpr double kMaxSeconds = 1e12;
  static constexpr size_t kMaxNameBytes = 256;

  // `file` is the name in messages; `trace_name` that of a trace without one.
  TraceCsvParser(std::string file, std::string trace_name, TraceCsvOptions options);
  ~TraceCsvParser();
  TraceCsvParser(const TraceCsvParser&) = delete;
  TraceCsvParser& operator=(const TraceCsvParser&) = delete;

  // The next line, without its end. No call may follow an error.
  absl::Status TakeLine(absl::string_view line);
  // After the last line; once. Capacities are not set.
  absl::StatusOr<std::vector<DemandTrace>> Finish();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

// Reads a file, plain or gzip (told by content). NOT_FOUND also for a name that it lacks; DATA_LOSS
// for damaged compressed data; others as above. Capacities are set by SetDefaultCapacities.
[[nodiscard]] absl::StatusOr<std::vector<DemandTrace>> ReadTraceCsv(
    const std::string& path, const TraceCsvOptions& options = {});

// The same on text in memory; `file` is the name in messages.
[[nodiscard]] absl::StatusOr<std::vector<DemandTrace>> ParseTraceCsv(
    absl::string_view text, const std::string& file, const TraceCsvOptions& options = {});

}  // namespace cloudscale::backtest
