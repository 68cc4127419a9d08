#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/types.h"
#include "services/monitor/quality.h"

namespace cloudscale::monitor {

// Identity and time of one snapshot.
struct SampleHeader {
  std::string host_id;
  std::string boot_id;
  // Number of the sampling period on this host, from 1; also counts periods whose sample failed or
  // was missed, so that a gap in the numbers is a gap in time.
  int64_t sequence = 0;
  absl::Time sample_time;   // for people and calendars; may step
  MonoTime monotonic_time;  // for intervals
};

// Where the memory numbers of a VM came from.
enum class GuestSource { kNone, kAgent, kBalloon, kCgroup };

// Cumulative counters as read; absent = not known, never zero by default.
struct Counters {
  absl::Time start_time;  // when this monitor first saw the present incarnation
  bool is_reset = false;  // true in the first sample of an incarnation that replaced another
  std::optional<absl::Duration> cpu_time;
  std::optional<absl::Duration> cpu_throttled_time;
  std::optional<absl::Duration> cpu_wait_time;
  std::optional<int64_t> network_received_bytes;
  std::optional<int64_t> network_transmitted_bytes;
  std::optional<int64_t> disk_read_bytes;
  std::optional<int64_t> disk_written_bytes;
  std::optional<int64_t> swap_in_bytes;
  std::optional<int64_t> swap_out_bytes;
  std::optional<int64_t> major_fault_count;
  std::optional<int64_t> oom_kill_count;
};

// One VM at the instant of the snapshot. Rates are over the interval that ended there. A value is
// present only when it is believed: a series whose quality is neither trusted nor kLate carries
// none, so that bad data can never be mistaken for small usage.
struct VmSample {
  std::string uuid;
  std::string name;
  hypervisor::VmState state = hypervisor::VmState::kUnknown;
  int64_t vcpu_count = 0;

  Quality cpu_quality = Quality::kMissing;
  std::optional<double> cpu_usage_cores;
  // Never below the usage; see demand.h for how it is estimated.
  std::optional<double> cpu_demand_cores;
  // True when the demand could be higher than estimated: it was held back and nobody measured by
  // how much.
  bool is_cpu_demand_lower_bound = false;
  std::optional<double> cpu_throttled_ratio;  // share of vCPU time held back by the cap, 0 to 1
  std::optional<double> cpu_wait_ratio;       // share of wanted vCPU time spent waiting, 0 to 1
  std::optional<double> cpu_cap_cores;
  std::optional<double> cpu_weight;  // relative to 1.0 = normal

  Quality memory_quality = Quality::kMissing;
  std::optional<int64_t> memory_target_bytes;
  std::optional<int64_t> memory_allocated_bytes;
  std::optional<int64_t> memory_maximum_bytes;
  std::optional<int64_t> memory_used_bytes;
  std::optional<int64_t> memory_demand_bytes;
  std::optional<int64_t> memory_guest_total_bytes;
  std::optional<int64_t> memory_guest_available_bytes;
  std::optional<double> memory_pressure_some_ratio;
  std::optional<double> memory_pressure_full_ratio;

  std::optional<Counters> counters;
  std::optional<absl::Duration> guest_report_age;
  GuestSource guest_source = GuestSource::kNone;
  // The guest's report claims more memory than the VM has; the sample is kImpossible.
  bool is_guest_refuted = false;
};

// The host at the instant of the snapshot. When the reading failed, the last known capacity.
struct HostSample {
  double cpu_capacity_cores = 0;
  int64_t memory_total_bytes = 0;
  std::optional<int64_t> memory_free_bytes;
  // Sum over the VMs; absent when the usage of any running VM is not known.
  std::optional<double> cpu_usage_cores;
  absl::Duration sampling_duration;
  absl::Duration sampling_period;
};

// All VMs of one host sampled at the same instant.
struct HostSnapshot {
  SampleHeader header;
  HostSample host;
  std::vector<VmSample> vms;  // sorted by uuid
  // False when the hypervisor did not answer: then every VM is kMissing or kStale.
  bool is_complete = false;
};

}  // namespace cloudscale::monitor
