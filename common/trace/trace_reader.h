#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trace/trace.h"

namespace cloudscale::trace {

// What the numbers of a file mean.
enum class ValueScale {
  // A two-column file with a value above 1 is in units of its own and is scaled as `kByMaximum`;
  // everything else must be fractions.
  kAutomatic,
  // Fractions of the VM's full size; a value above 1 is refused.
  kFraction,
  // The VM's full size is taken to be 1.25 times the largest value of the series. Series whose
  // values are all 0 stay 0.
  kByMaximum,
  // Kept as they stand, whatever the unit.
  kRaw,
};

struct ReadOptions {
  // Only these series, in this order; empty = all, in the order of the file.
  std::vector<std::string> names = {};
  // With `names` empty: only the first so many series, the rest is skipped. 1 to 100000.
  int64_t max_traces = 1000;
  ValueScale scale = ValueScale::kAutomatic;
  // Bounds of what is read, uncompressed; beyond them RESOURCE_EXHAUSTED.
  int64_t max_bytes = int64_t{1} << 30;
  int64_t max_points = 20'000'000;
};

// Reads a recorded trace file, plain or gzip (told by content, not by name):
//
//   t_seconds,cpu        one series; the second heading is free; named after the file
//   trace,t,value        many series, which may be interleaved
//
// Rows, times and faults of the content (INVALID_ARGUMENT) are those of `CsvReader`. Times lie on a
// regular grid, values are finite and not negative. Streams: memory is bounded by the points that
// are kept.
//
// NOT_FOUND: no such file, or a name that it lacks. RESOURCE_EXHAUSTED: over a bound. DATA_LOSS:
// compressed data is damaged or cut short. Thread safety: thread-safe.
[[nodiscard]] absl::StatusOr<std::vector<Trace>> ReadTraces(const std::string& path,
                                                            const ReadOptions& options = {});

// The same on text in memory; `file` is the name in messages, and of a series without one.
[[nodiscard]] absl::StatusOr<std::vector<Trace>> ParseTraces(absl::string_view text,
                                                             const std::string& file,
                                                             const ReadOptions& options = {});

}  // namespace cloudscale::trace
