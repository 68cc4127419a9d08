#include "hypervisor/libvirt/cpu_limits.h"

#include <libvirt/libvirt.h>

#include <algorithm>

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int64_t kNoQuota = -1;
constexpr int64_t kLeastQuotaUs = 1000;  // the kernel's
constexpr const char* kGlobal = VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA;
constexpr const char* kVcpu = VIR_DOMAIN_SCHEDULER_VCPU_QUOTA;

std::vector<ParameterWrite> PlanLift(const CpuLimits& limits) {
  std::vector<ParameterWrite> writes;
  if (limits.global && limits.global->quota_us) {
    writes.push_back({kGlobal, kNoQuota});
  }
  if (limits.vcpu.quota_us) {
    writes.push_back({kVcpu, kNoQuota});
  }
  return writes;
}

}  // namespace

std::optional<double> CapOf(const CpuLimits& limits) {
  std::optional<double> cap = limits.vcpu.cores();
  if (cap) {
    *cap *= static_cast<double>(limits.vcpu_count);
  }
  if (limits.global) {
    const std::optional<double> global = limits.global->cores();
    if (global && (!cap || *global < *cap)) {
      cap = global;
    }
  }
  return cap;
}

std::vector<ParameterWrite> PlanCap(const CpuLimits& limits, std::optional<double> cores) {
  if (!cores) {
    return PlanLift(limits);
  }
  const auto count = static_cast<double>(limits.vcpu_count);
  const int64_t per_vcpu = cgroup::QuotaFromCores(*cores / count, limits.vcpu.period_us);
  std::vector<ParameterWrite> writes;
  const bool uses_global = limits.global && (limits.global->quota_us || !limits.vcpu.quota_us);
  if (!uses_global) {
    if (limits.vcpu.quota_us != per_vcpu) {
      writes.push_back({kVcpu, per_vcpu});
    }
    return writes;
  }
  const int64_t global = cgroup::QuotaFromCores(*cores, limits.global->period_us);
  const bool is_new = limits.global->quota_us != global;
  if (limits.vcpu.quota_us) {
    // The most that a vCPU may have beside that global quota.
    const auto most = static_cast<int64_t>(static_cast<double>(global) /
                                           static_cast<double>(limits.global->period_us) *
                                           static_cast<double>(limits.vcpu.period_us));
    if (*limits.vcpu.quota_us > most) {
      writes.push_back({kVcpu, most < kLeastQuotaUs ? kNoQuota : most});
    } else if (const int64_t raised = std::min(per_vcpu, most); *limits.vcpu.quota_us < raised) {
      if (is_new) {
        writes.push_back({kGlobal, global});
      }
      writes.push_back({kVcpu, raised});
      return writes;
    }
  }
  if (is_new) {
    writes.push_back({kGlobal, global});
  }
  return writes;
}

}  // namespace cloudscale::hypervisor::libvirt
