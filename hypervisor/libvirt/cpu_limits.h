#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/cgroup/cgroup_parse.h"

// How a cap in cores becomes libvirt's scheduler parameters. Pure.
namespace cloudscale::hypervisor::libvirt {

using cgroup::CpuQuota;

// A domain's limits as `virDomainGetSchedulerParameters` tells them.
struct CpuLimits {
  // Of the whole domain, emulator threads included; nullopt: the driver has none (LXC).
  std::optional<CpuQuota> global;
  // Of each vCPU (QEMU) or of the container (LXC).
  CpuQuota vcpu;
  // How many quotas `vcpu` stands for; >= 1.
  int64_t vcpu_count = 1;
};

// Cores that the limits leave together; nullopt without any.
[[nodiscard]] std::optional<double> CapOf(const CpuLimits& limits);

// One scheduler parameter to set by one call.
struct ParameterWrite {
  std::string name;
  int64_t value = 0;
  friend bool operator==(const ParameterWrite&, const ParameterWrite&) = default;
};

// Writes, in this order, after which the cap is `cores` rounded up to a microsecond per quota, at
// least 1 ms; nullopt lifts all limits. The domain's global quota is used, since one vCPU may then
// have all of the cap; its vCPU quota where it is the only one that is set or known. cgroup v1
// refuses a vCPU quota above the global one at any moment: what is lowered goes inside out, what is
// raised outside in. Empty when it holds already.
[[nodiscard]] std::vector<ParameterWrite> PlanCap(const CpuLimits& limits,
                                                  std::optional<double> cores);

}  // namespace cloudscale::hypervisor::libvirt
