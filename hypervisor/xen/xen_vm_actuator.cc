#include "hypervisor/xen/xen_vm_actuator.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr int64_t kKib = 1024;
constexpr int64_t kPageKib = 4;
constexpr double kPercent = 100;

absl::Status Done(const XenDone& done) {
  return done.has_value() ? ToStatus(*done) : absl::OkStatus();
}

absl::Status NoShares() {
  return absl::UnimplementedError("the pool's scheduler has neither caps nor weights");
}

// A cap of 0.3 is 30 percent, although 0.3 * 100 is a little more.
int64_t PercentFromCores(double cores) {
  constexpr double kRounding = 1e-9;
  return std::max<int64_t>(1, std::llround(std::ceil(cores * kPercent - kRounding)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<XenVmActuator>> XenVmActuator::Create(
    std::unique_ptr<XenCalls> calls, XenOptions options) {
  CS_ASSIGN_OR_RETURN(const XenPool pool, FindPool(*calls, options.pool));
  return std::unique_ptr<XenVmActuator>(
      new XenVmActuator(std::move(calls), std::move(options), pool.scheduler));
}

XenVmActuator::XenVmActuator(std::unique_ptr<XenCalls> calls, XenOptions options,
                             XenScheduler scheduler)
    : calls_(std::move(calls)), options_(std::move(options)), scheduler_(scheduler) {}

absl::StatusOr<FoundVm> XenVmActuator::FindToChange(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(FoundVm found, FindVm(*calls_, options_.pool, vm));
  if (found.domain.is_shut_down) {
    return absl::FailedPreconditionError(
        absl::StrCat("domain ", found.domain.domain_id, " is shut down"));
  }
  return found;
}

absl::StatusOr<Allocation> XenVmActuator::ReadAllocation(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const FoundVm found, FindVm(*calls_, options_.pool, vm));
  Allocation allocation;
  allocation.memory_target_bytes = TargetOf(found.stored);
  if (found.scheduler != XenScheduler::kOther) {
    CS_ASSIGN_OR_RETURN(const XenShare share,
                        ToStatusOr(calls_->GetShare(found.domain.domain_id, found.scheduler)));
    FillShare(share, allocation);
  }
  return allocation;
}

template <typename Change>
absl::Status XenVmActuator::ChangeShare(const VmTarget& vm, const Change& change) {
  CS_ASSIGN_OR_RETURN(const FoundVm found, FindToChange(vm));
  if (found.scheduler == XenScheduler::kOther) {
    return NoShares();
  }
  CS_ASSIGN_OR_RETURN(const XenShare now,
                      ToStatusOr(calls_->GetShare(found.domain.domain_id, found.scheduler)));
  XenShare wanted = now;
  CS_RETURN_IF_ERROR(change(found.domain, wanted));
  if (wanted == now) {
    return absl::OkStatus();
  }
  return Done(calls_->SetShare(found.domain.domain_id, found.scheduler, wanted));
}

absl::Status XenVmActuator::SetCpuCap(const ActuationPermit&, const VmTarget& vm,
                                      std::optional<double> cores) {
  if (cores.has_value() && !(std::isfinite(*cores) && *cores > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("cap of ", *cores, " cores; must be above 0"));
  }
  return ChangeShare(vm, [&](const XenDomain& domain, XenShare& share) {
    if (cores.has_value() && *cores > static_cast<double>(domain.maximum_vcpus)) {
      return absl::OutOfRangeError(
          absl::StrCat("cap of ", *cores, " cores; the VM has ", domain.maximum_vcpus, " vCPUs"));
    }
    share.cap_percent = cores.has_value() ? PercentFromCores(*cores) : 0;
    return absl::OkStatus();
  });
}

absl::Status XenVmActuator::SetCpuWeight(const ActuationPermit&, const VmTarget& vm,
                                         int64_t weight) {
  if (weight < 1 || weight > 10000) {
    return absl::InvalidArgumentError(absl::StrCat("weight ", weight, "; must be 1 to 10000"));
  }
  return ChangeShare(vm, [&](const XenDomain&, XenShare& share) {
    if (WeightFromXenWeight(share.weight) != weight) {
      share.weight = XenWeightFromWeight(weight);
    }
    return absl::OkStatus();
  });
}

absl::Status XenVmActuator::SetMemoryTarget(const ActuationPermit&, const VmTarget& vm,
                                            std::optional<int64_t> bytes) {
  if (bytes.has_value() && *bytes <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory target of ", *bytes, " bytes; must be above 0"));
  }
  CS_ASSIGN_OR_RETURN(const FoundVm found, FindToChange(vm));
  const int64_t maximum_bytes = found.stored.maximum_kib * kKib;
  if (bytes.value_or(0) > maximum_bytes) {
    return absl::OutOfRangeError(
        absl::StrCat("memory target of ", *bytes, " bytes; the VM's maximum is ", maximum_bytes));
  }
  int64_t target_kib = found.stored.maximum_kib;
  if (bytes.has_value()) {
    constexpr int64_t kPage = kPageKib * kKib;
    target_kib = std::min(target_kib, (*bytes + kPage - 1) / kPage * kPageKib);
  }
  // The limit may be behind: xenstore's node is written by others too, the limit only with it.
  if (target_kib == found.stored.target_kib && target_kib <= found.domain.limit_kib) {
    return absl::OkStatus();
  }
  const int64_t growth_bytes = (target_kib - found.domain.current_kib) * kKib;
  if (growth_bytes > 0 && target_kib > found.stored.target_kib) {
    CS_ASSIGN_OR_RETURN(const XenMemory memory, ToStatusOr(calls_->ReadMemory()));
    const int64_t grantable =
        GrantableBytes(memory, found.all, found.domain.domain_id, options_.reserve_bytes);
    if (growth_bytes > grantable) {
      return absl::FailedPreconditionError(
          absl::StrCat("the VM would take ", growth_bytes, " bytes more; the host has ", grantable,
                       " to grant: ", memory.free_bytes, " free, without what is promised and ",
                       options_.reserve_bytes, " kept for Xen"));
    }
  }
  return Done(calls_->SetMemoryTarget(found.domain.domain_id, target_kib));
}

absl::Status XenVmActuator::SetVcpuCount(const ActuationPermit&, const VmTarget& vm,
                                         int64_t count) {
  if (count < 1) {
    return absl::InvalidArgumentError(absl::StrCat(count, " vCPUs; must be at least 1"));
  }
  CS_ASSIGN_OR_RETURN(const FoundVm found, FindToChange(vm));
  if (count > found.domain.maximum_vcpus) {
    return absl::OutOfRangeError(
        absl::StrCat(count, " vCPUs; the VM has ", found.domain.maximum_vcpus));
  }
  // Written even when as many are online: the guest may be about to follow an earlier request.
  return Done(calls_->SetOnlineVcpus(found.domain.domain_id, count));
}

}  // namespace cloudscale::hypervisor::xen
