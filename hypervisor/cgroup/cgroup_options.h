#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace cloudscale::hypervisor::cgroup {

enum class CgroupVersion {
  kAuto,  // V2 when the root is a unified tree, else V1
  kV1,    // one tree a controller: <root>/cpu, <root>/cpuacct, <root>/memory
  kV2,    // one unified tree at <root>
};

// Where the groups are and what may be given to them. Shared by reader and actuator, which must be
// made with equal values.
struct CgroupOptions {
  // Mount point of the trees; injected so that tests bring their own.
  std::string root = "/sys/fs/cgroup";
  // Source of boot id, total and available memory.
  std::string proc_root = "/proc";
  // Group under the root (of each tree) whose children are the VMs; may have several parts ("a/b").
  // Names only, no "..", not absolute.
  std::string parent_group = "cloudscale";
  CgroupVersion version = CgroupVersion::kAuto;
  // Not empty: part of the identity of every VM.
  std::string host_id;
  // CPUs of the machine; nullopt = those online.
  std::optional<int64_t> cpu_count;
  // Cores that VMs may share, > 0; nullopt = all CPUs. A quota on the parent group lowers it.
  std::optional<double> cpu_capacity_cores;
  // Memory that VMs may share, > 0; nullopt = all memory. A limit on the parent group lowers it.
  std::optional<int64_t> memory_capacity_bytes;
};

}  // namespace cloudscale::hypervisor::cgroup
