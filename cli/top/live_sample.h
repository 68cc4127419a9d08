#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::cli {

// What the live view knows about one resource of a VM. Cores or bytes. Counters count since the
// scaler started.
struct LiveResource {
  std::optional<double> usage{};
  std::optional<double> demand{};
  std::optional<double> forecast{};
  std::optional<double> allocation{};  // absent: uncapped
  std::optional<double> recommended{};
  double padding = 0.0;
  double static_peak = 0.0;
  double saved_seconds = 0.0;
  int64_t under_estimate_count = 0;
  int64_t step_count = 0;
  bool is_warm = false;
  std::string model{};
  std::string quality{};  // FRESH, STALE …
};

struct LiveVm {
  std::string uuid{};
  std::string name{};
  std::string mode{};  // AUTO …
  bool is_paused = false;
  bool is_migrating = false;
  std::string reason{};
  int64_t violation_count = 0;
  LiveResource cpu{};
  LiveResource memory{};
};

struct LiveLink {
  std::string peer{};
  std::string health{};  // UP …
  std::string detail{};
};

// Sums of the host. Counters count since the scaler started.
struct LiveTotals {
  double capacity_cores = 0.0;
  double demand_cores = 0.0;
  double usage_cores = 0.0;
  double granted_cores = 0.0;
  double headroom_cores = 0.0;
  double reserved_cores = 0.0;
  double static_peak_cores = 0.0;
  double saved_core_seconds = 0.0;
  double granted_core_seconds = 0.0;
  int64_t granted_memory_bytes = 0;
  int64_t memory_capacity_bytes = 0;
  int64_t memory_headroom_bytes = 0;
  int64_t vm_count = 0;
  int64_t managed_vm_count = 0;
  int64_t decision_count = 0;
  int64_t action_count = 0;
  int64_t failed_action_count = 0;
  int64_t under_estimate_count = 0;
  int64_t step_count = 0;
  int64_t violation_count = 0;
  int64_t retrain_request_count = 0;
};

// One look at a host and its VMs.
struct LiveSample {
  std::string host_id{};
  std::string mode{};
  bool is_paused = false;
  bool is_warm = false;
  std::string fail_static_reason{};  // empty: not fail-static
  int64_t sequence = 0;
  std::optional<absl::Time> step_time{};  // of the scaler's clock; absent before the first step
  int64_t pending_action_count = 0;
  LiveTotals totals{};
  std::vector<LiveLink> links{};
  std::vector<LiveVm> vms{};  // in order of UUID
};

}  // namespace cloudscale::cli
