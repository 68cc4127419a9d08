#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "tools/worker/arrivals.h"
#include "tools/worker/report.h"

namespace cloudscale::worker {

// Real load: threads that burn the CPU time of each unit that arrives. When the process gets less
// CPU than it demands, units wait and their latency shows it.
//
// The backlog is bounded; a unit that finds it full is refused and counted, as a server would.
// Thread safety: Run from one thread.
class Worker {
 public:
  struct Config {
    int64_t thread_count = 1;                         // 1..1024
    int64_t max_backlog = 5000;                       // units, > 0
    absl::Duration report_period = absl::Seconds(1);  // > 0
    absl::Duration tick = absl::Milliseconds(10);     // how often arrivals are looked for
    absl::Duration unit_cpu = absl::Milliseconds(4);  // > 0
  };
  // `clock` is not owned.
  Worker(Clock& clock, Arrivals arrivals, Config config);

  // Works until `stop`; gives each interval to `on_interval`, the last one shortened. Units still
  // waiting at the end are left.
  void Run(std::stop_token stop, const std::function<void(Interval)>& on_interval);

 private:
  struct Finished {
    std::vector<absl::Duration> latencies;
    double cpu_seconds = 0;
  };
  void Serve(std::stop_token stop, MonoTime start);
  [[nodiscard]] Interval EndInterval(MonoTime start, const Interval& last);

  Clock& clock_;
  const Config config_;
  Arrivals arrivals_;
  BoundedQueue<absl::Duration> queue_;  // arrival times
  int64_t dropped_units_ = 0;
  mutable Mutex mutex_;
  Finished finished_ ABSL_GUARDED_BY(mutex_);
  int64_t under_way_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Keeps the calling thread's CPU busy until it has used `cpu_time` of it, however long that takes.
void BurnCpu(absl::Duration cpu_time);

}  // namespace cloudscale::worker
