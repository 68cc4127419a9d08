#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "services/monitor/sample.h"

namespace cloudscale::monitor {

// How samples are judged. The defaults hold for a period of 0.1 s to 60 s.
struct SamplingConfig {
  // Identity of the host; empty = as the hypervisor names it.
  std::string host_id;
  absl::Duration period = absl::Seconds(1);

  // A series without a believed sample for longer than this is kStale instead of kMissing.
  int64_t stale_after_periods = 3;

  // A rate over less than this share of a period is dominated by the granularity of the counters;
  // it is not computed, and the next sample covers the time instead.
  double min_interval_ratio = 0.25;
  // A rate over more than this share of a period is a true mean, but hides peaks: kLate.
  double late_interval_ratio = 1.75;

  // Usage above vCPUs times this, plus one `counter_granularity` per vCPU, is impossible.
  double usage_tolerance_ratio = 1.05;
  absl::Duration counter_granularity = absl::Milliseconds(10);
  // Usage above this many times the host's capacity is impossible. Not 1: the host's own reserve is
  // taken off the capacity but not enforced against VMs without a cap.
  double capacity_tolerance_ratio = 2.0;

  // Wall clocks that disagree by more mark a series kSkewed.
  absl::Duration max_clock_skew = absl::Seconds(2);

  // Guest reports older than this are not used.
  absl::Duration max_guest_age = absl::Seconds(5);

  // The guest's word on its memory counts as confirmed while its size agrees with the hypervisor's.
  bool is_guest_memory_trusted = false;

  // A CPU counter that stands exactly still right after the VM was busy is not believed for this
  // many samples, even when nothing contradicts it. See CpuSeries.
  int64_t standing_samples_distrusted = 3;

  // A VM that disappears is forgotten, history and all, after this many periods; until then its
  // return continues the series.
  int64_t forget_after_periods = 60;

  // Where `VmReading::memory_used_bytes` comes from on this backend.
  GuestSource backend_memory_source = GuestSource::kBalloon;
};

}  // namespace cloudscale::monitor
