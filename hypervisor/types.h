#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::hypervisor {

enum class VmState { kUnknown, kRunning, kPaused, kBooting, kMigrating, kShutOff, kCrashed };

// What a VM may consume now.
struct Allocation {
  // Cores; nullopt = no cap. 0 < cap.
  std::optional<double> cpu_cap_cores;
  // Relative share under contention; backends map it to their own scale. 1 to 10000, 100 is normal.
  std::optional<int64_t> cpu_weight;
  // Balloon or cgroup limit; nullopt = the VM's full memory, however that was asked for: a limit of
  // all that the VM may have is read back as none.
  std::optional<int64_t> memory_target_bytes;

  friend bool operator==(const Allocation&, const Allocation&) = default;
};

// Cumulative counters and gauges of one VM at one instant, as the hypervisor tells them. Absent =
// not known, which is not the same as zero. Counters start anew when `incarnation` changes (reboot,
// migration, cgroup made again).
struct VmReading {
  std::string uuid;  // the identity; names and domain ids are reused
  std::string name;  // label only
  VmState state = VmState::kUnknown;
  std::string incarnation;
  int64_t vcpu_count = 0;

  std::optional<absl::Duration> cpu_time;  // consumed, all vCPUs
  // Consumed by each online vCPU; empty when the backend cannot tell them apart.
  std::vector<absl::Duration> vcpu_times;
  std::optional<absl::Duration>
      cpu_throttled_time;  // wanted to run, held back by the cap, summed over vCPUs
  std::optional<absl::Duration>
      cpu_wait_time;  // runnable but another VM ran (steal), summed over vCPUs

  std::optional<int64_t> memory_current_bytes;  // what it holds now (balloon actual, cgroup usage)
  std::optional<int64_t> memory_maximum_bytes;  // hard upper bound of memory_target_bytes
  std::optional<int64_t>
      memory_used_bytes;  // what it needs of it: without caches, where the backend can tell
  // What the guest's kernel manages of `memory_current_bytes`; the rest is its own overhead, which
  // none of its figures show.
  std::optional<int64_t> memory_guest_total_bytes;
  std::optional<double>
      memory_pressure_some_ratio;  // PSI: share of time at least one task waited for memory, 0..1
  // What it lacked: read back from swap, faults that had to wait for a disk, processes killed.
  std::optional<int64_t> memory_swap_in_bytes;
  std::optional<int64_t> memory_major_fault_count;
  std::optional<int64_t> memory_oom_kill_count;

  std::optional<int64_t> network_receive_bytes;
  std::optional<int64_t> network_transmit_bytes;
  std::optional<int64_t> disk_read_bytes;
  std::optional<int64_t> disk_write_bytes;

  std::optional<Allocation> allocation;  // nullopt when it could not be read
};

// All VMs of a host at one instant.
struct HostReading {
  std::string host_id;
  std::string boot_id;  // changes when the host restarts
  absl::Time sample_time;
  MonoTime monotonic_time;
  double cpu_capacity_cores = 0;  // what VMs may share; the host's own reserve is already taken off
  int64_t memory_capacity_bytes = 0;
  std::optional<int64_t> memory_free_bytes;
  std::vector<VmReading> vms;  // sorted by uuid
  // VMs that could not be read this time, with the reason; they still exist. Sorted by uuid.
  std::map<std::string, std::string> unreadable;
};

// What a backend can do; asked, never assumed.
struct Capabilities {
  std::string backend;  // "fake", "cgroup-v1", "cgroup-v2", "libvirt-qemu", "xen-credit2" …
  bool cpu_cap = false;
  bool cpu_weight = false;
  bool memory_target = false;
  bool vcpu_count = false;
  bool live_migration = false;
  bool throttled_time = false;
  bool wait_time = false;
  bool memory_pressure = false;
  // Caps are rounded up to a multiple of this many cores.
  double cpu_cap_granularity_cores = 0.01;
  double cpu_cap_min_cores = 0.01;
};

}  // namespace cloudscale::hypervisor
