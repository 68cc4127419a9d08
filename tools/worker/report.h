#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::worker {

// What happened in one interval, for judging from outside whether the process got what it wanted.
struct Interval {
  absl::Time end;                   // wall time
  absl::Duration elapsed;           // since the start of the process, at the end of the interval
  double demanded_cpu_seconds = 0;  // arrived within the interval
  double done_cpu_seconds = 0;      // finished within the interval
  double total_demanded_cpu_seconds = 0;
  double total_done_cpu_seconds = 0;
  int64_t backlog = 0;        // units waiting or under way at the end
  int64_t dropped_units = 0;  // refused within the interval because the backlog was full
  std::vector<absl::Duration> latencies;  // from arrival to end, of each unit finished
};

// One JSON object without a newline:
//   t, unix_seconds, demanded_cpu_seconds, done_cpu_seconds, total_demanded_cpu_seconds,
//   total_done_cpu_seconds, backlog, dropped_units, finished_units, latency_mean_seconds,
//   latency_p95_seconds
// The latencies are null when nothing finished. p95 is the least latency that at least 95 % of the
// units do not exceed.
[[nodiscard]] std::string ToJsonLine(Interval interval);

}  // namespace cloudscale::worker
