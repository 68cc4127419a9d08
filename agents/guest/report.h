#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "agents/guest/proc_parse.h"

namespace cloudscale::guest {

// One look at the guest from inside. Absent = the kernel does not tell.
struct Report {
  std::string boot_id;
  int64_t sequence = 0;  // from 1, up by one
  absl::Time sample_time;
  absl::Duration uptime;
  MemoryInfo memory;
  PagingCounters paging;
  std::optional<Pressure> cpu_pressure;
  std::optional<Pressure> memory_pressure;
  std::optional<Pressure> io_pressure;
  std::optional<LoadInfo> load;
  std::optional<double> cpu_steal_ratio;  // since the last report, 0..1
  std::optional<int64_t> vcpu_count;
};

}  // namespace cloudscale::guest
