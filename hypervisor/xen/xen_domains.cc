#include "hypervisor/xen/xen_domains.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr int64_t kNormalWeight = 100;
constexpr int64_t kNormalXenWeight = 256;
constexpr int64_t kMaxWeight = 10000;
constexpr int64_t kKib = 1024;

absl::StatusOr<std::string> ReadNode(XenCalls& calls, const std::string& path) {
  CS_ASSIGN_OR_RETURN(std::optional<std::string> value, ToStatusOr(calls.ReadStore(path)));
  if (!value.has_value()) {
    return absl::NotFoundError(absl::StrCat("xenstore has no ", path));
  }
  return *std::move(value);
}

absl::StatusOr<int64_t> ReadKib(XenCalls& calls, const std::string& path) {
  CS_ASSIGN_OR_RETURN(const std::string text, ReadNode(calls, path));
  int64_t kib = 0;
  if (!absl::SimpleAtoi(text, &kib) || kib < 0 ||
      kib > std::numeric_limits<int64_t>::max() / kKib) {
    return absl::InternalError(absl::StrCat("xenstore ", path, ": no number of KiB: ", text));
  }
  return kib;
}

}  // namespace

absl::Status ToStatus(const XenError& error) {
  switch (error.code) {
    case XenErrorCode::kNotFound:
      return absl::NotFoundError(error.message);
    case XenErrorCode::kRefused:
      return absl::FailedPreconditionError(error.message);
    case XenErrorCode::kInvalid:
      return absl::InvalidArgumentError(error.message);
    case XenErrorCode::kUnsupported:
      return absl::UnimplementedError(error.message);
    case XenErrorCode::kDenied:
      return absl::PermissionDeniedError(error.message);
    case XenErrorCode::kUnavailable:
      return absl::UnavailableError(error.message);
    case XenErrorCode::kInternal:
      break;
  }
  return absl::InternalError(error.message);
}

int64_t XenWeightFromWeight(int64_t weight) {
  return (weight * kNormalXenWeight + kNormalWeight / 2) / kNormalWeight;
}

int64_t WeightFromXenWeight(int64_t xen_weight) {
  const int64_t weight = (xen_weight * kNormalWeight + kNormalXenWeight / 2) / kNormalXenWeight;
  return std::clamp<int64_t>(weight, 1, kMaxWeight);
}

void FillShare(const XenShare& share, Allocation& allocation) {
  allocation.cpu_cap_cores = std::nullopt;
  if (share.cap_percent > 0) {
    allocation.cpu_cap_cores = static_cast<double>(share.cap_percent) / 100;
  }
  allocation.cpu_weight = WeightFromXenWeight(share.weight);
}

absl::StatusOr<XenPool> FindPool(XenCalls& calls, const std::string& name) {
  CS_ASSIGN_OR_RETURN(const std::vector<XenPool> pools, ToStatusOr(calls.ListPools()));
  std::string names;
  for (const XenPool& pool : pools) {
    if (pool.name == name) {
      return pool;
    }
    absl::StrAppend(&names, names.empty() ? "" : ", ", pool.name);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("Xen has no CPU pool ", name, "; it has ", names.empty() ? "none" : names));
}

Capabilities CapabilitiesOf(XenScheduler scheduler) {
  const bool has_shares = scheduler != XenScheduler::kOther;
  Capabilities capabilities;
  capabilities.backend = scheduler == XenScheduler::kCredit    ? "xen-credit"
                         : scheduler == XenScheduler::kCredit2 ? "xen-credit2"
                                                               : "xen";
  capabilities.cpu_cap = has_shares;
  capabilities.cpu_weight = has_shares;
  capabilities.memory_target = true;
  capabilities.vcpu_count = true;
  capabilities.live_migration = true;
  capabilities.cpu_cap_granularity_cores = 0.01;
  capabilities.cpu_cap_min_cores = 0.01;
  return capabilities;
}

bool IsVm(const XenDomain& domain, uint32_t pool_id) {
  return domain.domain_id != 0 && !domain.is_dying && domain.pool_id == pool_id;
}

const XenDomain* Prefer(const XenDomain& a, const XenDomain& b) {
  const auto runs = [](const XenDomain& domain) {
    return !domain.is_paused && !domain.is_shut_down;
  };
  if (runs(a) == runs(b)) {
    return nullptr;
  }
  return runs(a) ? &a : &b;
}

absl::StatusOr<StoredDomain> ReadStored(XenCalls& calls, uint32_t domain_id) {
  const std::string domain = absl::StrCat("/local/domain/", domain_id);
  StoredDomain stored;
  CS_ASSIGN_OR_RETURN(const std::string vm, ReadNode(calls, domain + "/vm"));
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> start,
                      ToStatusOr(calls.ReadStore(vm + "/start_time")));
  // A toolstack that writes no start still changes the id unless ids have run out.
  stored.incarnation = absl::StrCat(domain_id, "@", start.value_or("unknown"));
  CS_ASSIGN_OR_RETURN(stored.maximum_kib, ReadKib(calls, domain + "/memory/static-max"));
  CS_ASSIGN_OR_RETURN(stored.target_kib, ReadKib(calls, domain + "/memory/target"));
  return stored;
}

absl::StatusOr<FoundVm> FindVm(XenCalls& calls, const std::string& pool_name, const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const XenPool pool, FindPool(calls, pool_name));
  FoundVm found;
  found.scheduler = pool.scheduler;
  CS_ASSIGN_OR_RETURN(found.all, ToStatusOr(calls.ListDomains()));
  const XenDomain* domain = nullptr;
  for (const XenDomain& candidate : found.all) {
    if (!IsVm(candidate, pool.pool_id) || candidate.uuid != vm.uuid) {
      continue;
    }
    domain = domain == nullptr ? &candidate : Prefer(*domain, candidate);
    if (domain == nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("several domains have UUID ", vm.uuid, " and none of them alone runs"));
    }
  }
  if (domain == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("no domain with UUID ", vm.uuid, " in CPU pool ", pool_name));
  }
  found.domain = *domain;
  CS_ASSIGN_OR_RETURN(found.stored, ReadStored(calls, domain->domain_id));
  if (!vm.incarnation.empty() && vm.incarnation != found.stored.incarnation) {
    return absl::AbortedError(absl::StrCat("vm ", vm.uuid, " was started anew: incarnation ",
                                           found.stored.incarnation, ", not ", vm.incarnation));
  }
  return found;
}

std::optional<int64_t> TargetOf(const StoredDomain& stored) {
  return stored.target_kib < stored.maximum_kib ? std::make_optional(stored.target_kib * kKib)
                                                : std::nullopt;
}

int64_t GrantableBytes(const XenMemory& memory, const std::vector<XenDomain>& domains,
                       std::optional<uint32_t> domain_id, int64_t reserve_bytes) {
  int64_t promised_kib = 0;
  for (const XenDomain& domain : domains) {
    promised_kib += domain.claimed_kib;
    // Dom-0's limit may be all memory and says nothing.
    if (domain.domain_id != 0 && domain.domain_id != domain_id && !domain.is_dying) {
      promised_kib += std::max<int64_t>(0, domain.limit_kib - kLimitSlackKib - domain.current_kib);
    }
  }
  return std::max<int64_t>(0, memory.free_bytes - promised_kib * kKib - reserve_bytes);
}

}  // namespace cloudscale::hypervisor::xen
