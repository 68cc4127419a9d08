#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/workload/demand_source.h"

namespace cloudscale::worker {

// The command line of `cloudscale-worker`.
struct WorkerOptions {
  std::string pattern = "web";                // name of a workload pattern, or "trace"
  std::string trace_file;                     // with "trace"
  std::string trace_series;                   // empty = the first of the file
  double mean = 0.4;                          // of a pattern, fraction of the peak, 0..1
  double amplitude = 0.3;                     // of a pattern, fraction of the peak, 0..1
  absl::Duration period = absl::Seconds(60);  // of a pattern
  double peak_cores = 1;                      // 0 < x <= 1024
  int64_t memory_mib = 16;                    // 0..1048576
  int64_t seed = 1;
  double speed = 1;         // 0 < x <= 10000
  std::string report_file;  // empty = standard output
  bool is_help = false;
};

// Each flag is "--name value" or "--name=value". INVALID_ARGUMENT with all faults at once.
[[nodiscard]] absl::StatusOr<WorkerOptions> ParseWorkerOptions(
    const std::vector<std::string>& arguments);

[[nodiscard]] absl::string_view WorkerUsage();

// What the options ask for. Errors of the trace file as `trace::ReadTraces`.
[[nodiscard]] absl::StatusOr<std::shared_ptr<const workload::DemandSource>> MakeDemand(
    const WorkerOptions& options);

}  // namespace cloudscale::worker
