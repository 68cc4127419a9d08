#include "hypervisor/libvirt/domain_limits.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "hypervisor/libvirt/memory_note.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int64_t kKiB = 1024;
constexpr int64_t kNormalXenWeight = 256;
constexpr int64_t kMaxXenWeight = 65535;
// As many as the daemon takes; asking how many there are costs a call of its own.
constexpr int kMaxParameters = 16;

std::optional<CpuQuota> QuotaOf(std::optional<int64_t> quota_us, std::optional<int64_t> period_us) {
  if (!quota_us || !period_us) {
    return std::nullopt;
  }
  CpuQuota result;
  if (*period_us > 0) {
    result.period_us = *period_us;
  }
  if (*quota_us > 0) {
    result.quota_us = quota_us;
  }
  return result;
}

// The limit of a container; it has no balloon.
absl::StatusOr<std::optional<int64_t>> HardLimit(virDomainPtr domain) {
  std::array<virTypedParameter, kMaxParameters> parameters{};
  int count = kMaxParameters;
  if (virDomainGetMemoryParameters(domain, parameters.data(), &count, 0) < 0) {
    return LastError("memory parameters");
  }
  const std::optional<int64_t> limit =
      FindParameter(parameters.data(), count, VIR_DOMAIN_MEMORY_HARD_LIMIT);
  if (!limit || *limit >= VIR_DOMAIN_MEMORY_PARAM_UNLIMITED) {
    return std::nullopt;
  }
  return *limit * kKiB;
}

std::optional<MemoryNote> ReadNote(virDomainPtr domain) {
  const std::unique_ptr<char, decltype(&std::free)> text(
      virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, kNoteNamespace,
                           VIR_DOMAIN_AFFECT_LIVE),
      &std::free);
  // Mostly there is none; what a driver without metadata lacks is the note, nothing more.
  return text == nullptr ? std::nullopt : NoteFromXml(text.get());
}

}  // namespace

absl::StatusOr<DomainSize> ReadSize(virDomainPtr domain) {
  virDomainInfo info{};
  if (virDomainGetInfo(domain, &info) < 0) {
    return LastError("domain information");
  }
  DomainSize size;
  size.vcpu_count = std::max<int64_t>(1, info.nrVirtCpu);
  size.memory_current_bytes = static_cast<int64_t>(info.memory) * kKiB;
  size.memory_maximum_bytes = static_cast<int64_t>(info.maxMem) * kKiB;
  return size;
}

absl::StatusOr<SchedulerState> ReadScheduler(virDomainPtr domain, Driver driver,
                                             int64_t vcpu_count) {
  std::array<virTypedParameter, kMaxParameters> raw{};
  int count = kMaxParameters;
  // libvirt's Xen driver takes no flags at all.
  const unsigned flags = driver == Driver::kXen ? 0 : VIR_DOMAIN_AFFECT_LIVE;
  if (virDomainGetSchedulerParametersFlags(domain, raw.data(), &count, flags) < 0) {
    return LastError("scheduler parameters");
  }
  const auto find = [&](const char* field) { return FindParameter(raw.data(), count, field); };
  SchedulerState state;
  if (driver == Driver::kXen) {
    state.xen_cap_percent = find(VIR_DOMAIN_SCHEDULER_CAP);
    state.xen_weight = find(VIR_DOMAIN_SCHEDULER_WEIGHT);
    return state;
  }
  state.shares = find(VIR_DOMAIN_SCHEDULER_CPU_SHARES);
  const std::optional<CpuQuota> vcpu =
      QuotaOf(find(VIR_DOMAIN_SCHEDULER_VCPU_QUOTA), find(VIR_DOMAIN_SCHEDULER_VCPU_PERIOD));
  if (!vcpu) {
    return absl::UnimplementedError("the driver has no CPU quota");
  }
  state.limits.vcpu = *vcpu;
  state.limits.global =
      QuotaOf(find(VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA), find(VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD));
  state.limits.vcpu_count = driver == Driver::kLxc ? 1 : vcpu_count;
  return state;
}

absl::StatusOr<DomainSettings> ReadSettings(virDomainPtr domain, Driver driver, int64_t vcpu_count,
                                            std::optional<cgroup::CgroupVersion> groups) {
  CS_ASSIGN_OR_RETURN(const SchedulerState state, ReadScheduler(domain, driver, vcpu_count));
  DomainSettings settings;
  Allocation& allocation = settings.allocation;
  if (driver == Driver::kXen) {
    if (state.xen_cap_percent.value_or(0) > 0) {
      allocation.cpu_cap_cores = static_cast<double>(*state.xen_cap_percent) / 100;
    }
    if (state.xen_weight) {
      allocation.cpu_weight = OursFromXenWeight(*state.xen_weight);
    }
  } else {
    allocation.cpu_cap_cores = CapOf(state.limits);
    if (state.shares && groups) {
      allocation.cpu_weight = *groups == cgroup::CgroupVersion::kV2
                                  ? *state.shares
                                  : cgroup::WeightFromShares(*state.shares);
    }
  }
  if (driver == Driver::kLxc) {
    CS_ASSIGN_OR_RETURN(allocation.memory_target_bytes, HardLimit(domain));
  } else {
    settings.memory_note = ReadNote(domain);
  }
  return settings;
}

Allocation AllocationOf(const DomainSettings& settings, Driver driver, const DomainSize& size) {
  Allocation allocation = settings.allocation;
  if (driver != Driver::kLxc) {
    allocation.memory_target_bytes =
        MemoryTarget(settings.memory_note, size.memory_current_bytes, size.memory_maximum_bytes);
  } else if (allocation.memory_target_bytes >= size.memory_maximum_bytes) {
    allocation.memory_target_bytes = std::nullopt;
  }
  return allocation;
}

int64_t XenWeightFromOurs(int64_t weight) {
  return std::clamp<int64_t>((weight * kNormalXenWeight + 50) / 100, 1, kMaxXenWeight);
}

int64_t OursFromXenWeight(int64_t weight) {
  return std::clamp<int64_t>((weight * 100 + kNormalXenWeight / 2) / kNormalXenWeight, 1, 10000);
}

}  // namespace cloudscale::hypervisor::libvirt
