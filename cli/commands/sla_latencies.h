#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace cloudscale::cli {

class Session;

// What `sla report-latencies` is told on the command line.
struct LatencyInput {
  std::string application;
  std::string source_id;  // empty: made from the time
  std::string vm_uuid;
  std::string unit = "s";                    // or `ms`
  absl::Duration period = absl::Seconds(1);  // at most 5 min
};

// Reads one response time a line (`error` for a failed request) until the end of the input, and
// reports those of each period together. INVALID_ARGUMENT, naming the line, for one that is
// neither; those of periods before are reported then. An error of the server when it refuses any.
absl::Status ReportLatencies(Session& session, const LatencyInput& input);

}  // namespace cloudscale::cli
