#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "hypervisor/cgroup/cgroup_options.h"
#include "hypervisor/libvirt/cpu_limits.h"
#include "hypervisor/libvirt/handles.h"
#include "hypervisor/libvirt/libvirt_options.h"
#include "hypervisor/libvirt/memory_note.h"
#include "hypervisor/types.h"

// What a running domain may consume, asked from libvirt by one to three calls.
namespace cloudscale::hypervisor::libvirt {

struct DomainSize {
  int64_t vcpu_count = 1;  // online
  int64_t memory_current_bytes = 0;
  int64_t memory_maximum_bytes = 0;
};
[[nodiscard]] absl::StatusOr<DomainSize> ReadSize(virDomainPtr domain);

struct SchedulerState {
  // Xen: cap and weight as numbers of its own; else `limits` and `shares`.
  std::optional<int64_t> xen_cap_percent;  // 0: none
  std::optional<int64_t> xen_weight;
  CpuLimits limits;
  std::optional<int64_t> shares;
};
[[nodiscard]] absl::StatusOr<SchedulerState> ReadScheduler(virDomainPtr domain, Driver driver,
                                                           int64_t vcpu_count);

// What decides on the allocation apart from the present size of the balloon. Changes only when
// somebody changes it.
struct DomainSettings {
  Allocation allocation;                  // `memory_target_bytes` of containers only
  std::optional<MemoryNote> memory_note;  // of a balloon
};
// `groups`: the scale of shares; without it the weight is left out.
[[nodiscard]] absl::StatusOr<DomainSettings> ReadSettings(
    virDomainPtr domain, Driver driver, int64_t vcpu_count,
    std::optional<cgroup::CgroupVersion> groups);
[[nodiscard]] Allocation AllocationOf(const DomainSettings& settings, Driver driver,
                                      const DomainSize& size);

// Xen's weight, 256 being normal, to and from ours.
[[nodiscard]] int64_t XenWeightFromOurs(int64_t weight);
[[nodiscard]] int64_t OursFromXenWeight(int64_t weight);

}  // namespace cloudscale::hypervisor::libvirt
