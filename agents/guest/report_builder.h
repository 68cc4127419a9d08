#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agents/guest/report.h"

namespace cloudscale::guest {

// The files as read; nullopt where there is none or it cannot be read.
struct ProcTexts {
  std::optional<std::string> boot_id;
  std::optional<std::string> uptime;
  std::optional<std::string> meminfo;
  std::optional<std::string> vmstat;
  std::optional<std::string> pressure_cpu;
  std::optional<std::string> pressure_memory;
  std::optional<std::string> pressure_io;
  std::optional<std::string> loadavg;
  std::optional<std::string> stat;
  int64_t page_bytes = 4096;
};

// Makes reports from texts: numbers them and turns counters into ratios. Pure. Thread safety:
// thread-compatible.
class ReportBuilder {
 public:
  struct Built {
    Report report;
    // Files that were there but made no sense, as "vmstat: …"; their fields are absent.
    std::vector<std::string> faults;
  };
  // INVALID_ARGUMENT when boot id, uptime or meminfo is missing or makes no sense: without them
  // there is nothing to report, and no sequence number is used.
  [[nodiscard]] absl::StatusOr<Built> Build(const ProcTexts& texts, absl::Time now);

 private:
  int64_t next_sequence_ = 1;
  std::string last_boot_id_;
  std::optional<CpuTicks> last_ticks_;
};

}  // namespace cloudscale::guest
