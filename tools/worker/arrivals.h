#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "common/workload/demand_source.h"

namespace cloudscale::worker {

// When units of work arrive, whatever becomes of them: an open loop, as users are. The demand in
// cores is integrated over time; each time the integral has grown by the CPU time of a unit, one
// arrives. Pure. Thread safety: thread-compatible.
class Arrivals {
 public:
  struct Config {
    double peak_cores = 1;                            // > 0; demand at fraction 1
    double speed = 1;                                 // > 0; how fast the pattern passes
    absl::Duration unit_cpu = absl::Milliseconds(4);  // > 0; CPU time of a unit
  };
  Arrivals(std::shared_ptr<const workload::DemandSource> demand, Config config);

  // Arrival times since the last call, up to `elapsed` since the start, rising. Exact however late
  // or seldom it is called, so that a throttled process still demands what it should.
  [[nodiscard]] std::vector<absl::Duration> Until(absl::Duration elapsed);

  // CPU seconds demanded so far, parts of units included.
  [[nodiscard]] double demanded_cpu_seconds() const { return demanded_cpu_seconds_; }

 private:
  static constexpr absl::Duration kStep = absl::Milliseconds(10);

  const std::shared_ptr<const workload::DemandSource> demand_;
  const Config config_;
  int64_t step_ = 0;  // next one to integrate
  double demanded_cpu_seconds_ = 0;
  double next_unit_ = 0;  // integral at which the next unit arrives
};

}  // namespace cloudscale::worker
