#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Parsers of what Linux tells under /proc. Pure. Errors are INVALID_ARGUMENT and quote the
// offending text, shortened. Unknown lines are passed over: each kernel adds some. Thread safety:
// thread-safe.
namespace cloudscale::guest {

// /proc/meminfo, in bytes.
struct MemoryInfo {
  int64_t total_bytes = 0;                 // > 0
  std::optional<int64_t> available_bytes;  // not told before Linux 3.14
  std::optional<int64_t> free_bytes;
  std::optional<int64_t> cached_bytes;
  std::optional<int64_t> swap_total_bytes;
  std::optional<int64_t> swap_free_bytes;
};
// Refuses a file without MemTotal, values that are no counts, and available, free or swap free
// above their total.
[[nodiscard]] absl::StatusOr<MemoryInfo> ParseMeminfo(absl::string_view text);

// /proc/vmstat, since boot.
struct PagingCounters {
  std::optional<int64_t> swap_in_bytes;
  std::optional<int64_t> swap_out_bytes;
  std::optional<int64_t> major_fault_count;
  std::optional<int64_t> oom_kill_count;  // not told before Linux 4.13
};
// `page_bytes`: the kernel's page size, > 0.
[[nodiscard]] absl::StatusOr<PagingCounters> ParseVmstat(absl::string_view text,
                                                         int64_t page_bytes);

// /proc/pressure/{cpu,memory,io}.
struct Pressure {
  double some_ratio = 0;             // last 10 s, 0..1
  std::optional<double> full_ratio;  // last 10 s, 0..1; cpu has none before Linux 5.13
  absl::Duration some_total;         // since boot
  std::optional<absl::Duration> full_total;
};
[[nodiscard]] absl::StatusOr<Pressure> ParsePressure(absl::string_view text);

// /proc/loadavg.
struct LoadInfo {
  double load_average = 0;       // one minute
  int64_t run_queue_length = 0;  // runnable threads, the one that reads included
};
[[nodiscard]] absl::StatusOr<LoadInfo> ParseLoadavg(absl::string_view text);

// /proc/stat, in clock ticks since boot, all CPUs.
struct CpuTicks {
  int64_t total = 0;
  int64_t steal = 0;
  int64_t cpu_count = 0;  // online
};
[[nodiscard]] absl::StatusOr<CpuTicks> ParseStat(absl::string_view text);

// /proc/uptime.
[[nodiscard]] absl::StatusOr<absl::Duration> ParseUptime(absl::string_view text);

// A UUID in lower case, from boot_id, product_uuid and the like.
[[nodiscard]] absl::StatusOr<std::string> ParseUuid(absl::string_view text);

}  // namespace cloudscale::guest
