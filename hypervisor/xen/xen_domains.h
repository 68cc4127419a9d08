#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hypervisor/types.h"
#include "hypervisor/vm_actuator.h"
#include "hypervisor/xen/xen_calls.h"
#include "hypervisor/xen/xen_options.h"

namespace cloudscale::hypervisor::xen {

// What reader and actuator must see alike.

// Xen adds this to a target when it sets the limit of a domain.
inline constexpr int64_t kLimitSlackKib = 1024;

[[nodiscard]] absl::Status ToStatus(const XenError& error);

template <typename T>
[[nodiscard]] absl::StatusOr<T> ToStatusOr(XenOr<T> result) {
  if (const XenError* error = std::get_if<XenError>(&result)) {
    return ToStatus(*error);
  }
  return std::get<T>(std::move(result));
}

// Our weights are 1 to 10000 with 100 as normal, Xen's 1 to 65535 with 256. Ours survive the way
// there and back; Xen's above 25600 are seen as 10000.
[[nodiscard]] int64_t XenWeightFromWeight(int64_t weight);
[[nodiscard]] int64_t WeightFromXenWeight(int64_t xen_weight);

// The share as cap in cores and weight on our scale.
void FillShare(const XenShare& share, Allocation& allocation);

// The pool of that name; FAILED_PRECONDITION when there is none.
[[nodiscard]] absl::StatusOr<XenPool> FindPool(XenCalls& calls, const std::string& name);

[[nodiscard]] Capabilities CapabilitiesOf(XenScheduler scheduler);

// Dom-0, domains that are being taken down and those of other pools are no VMs.
[[nodiscard]] bool IsVm(const XenDomain& domain, uint32_t pool_id);

// Of two domains with one UUID (a migration within the host, a copy that was moved away) the one
// that runs; nullptr when that does not decide it.
[[nodiscard]] const XenDomain* Prefer(const XenDomain& a, const XenDomain& b);

// What xenstore tells about a domain.
struct StoredDomain {
  // Domain id and start: the id alone is reused, the UUID stays over a restart. Changes when the
  // domain is made anew, so with a restart, a restore and an arrival by migration.
  std::string incarnation;
  int64_t maximum_kib = 0;  // configured maximum
  int64_t target_kib = 0;   // what the guest is asked to hold
};

// NOT_FOUND when the domain is not set up, or not any more.
[[nodiscard]] absl::StatusOr<StoredDomain> ReadStored(XenCalls& calls, uint32_t domain_id);

// A VM of a pool, with what it was found among.
struct FoundVm {
  XenDomain domain;
  StoredDomain stored;
  XenScheduler scheduler = XenScheduler::kOther;
  std::vector<XenDomain> all;
};

// NOT_FOUND when there is none of that UUID; ABORTED when it is of another incarnation;
// FAILED_PRECONDITION when several have it, or there is no such pool.
[[nodiscard]] absl::StatusOr<FoundVm> FindVm(XenCalls& calls, const std::string& pool_name,
                                             const VmTarget& vm);

// Its target in bytes; nullopt when that is all it may have.
[[nodiscard]] std::optional<int64_t> TargetOf(const StoredDomain& stored);

// Memory that a VM may still get: free, without what is promised, what other VMs were granted and
// have not taken yet, and the reserve. `domain_id`: the VM that asks, whose own grant is its own.
[[nodiscard]] int64_t GrantableBytes(const XenMemory& memory, const std::vector<XenDomain>& domains,
                                     std::optional<uint32_t> domain_id, int64_t reserve_bytes);

}  // namespace cloudscale::hypervisor::xen
