#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cloudscale::hypervisor::xen {

// Raised with every change of what this header declares: a module of another version is refused.
inline constexpr int kXenCallsVersion = 2;

enum class XenErrorCode {
  kNotFound,     // no such domain
  kRefused,      // Xen does not allow it now
  kInvalid,      // Xen does not accept the value
  kUnsupported,  // this Xen cannot
  kDenied,       // no rights
  kUnavailable,  // no hypervisor or no xenstore
  kInternal,     // anything else
};

struct XenError {
  XenErrorCode code = XenErrorCode::kInternal;
  std::string message;  // what was tried and what Xen's library said
};

template <typename T>
using XenOr = std::variant<T, XenError>;
using XenDone = std::optional<XenError>;  // nullopt = done

enum class XenScheduler { kCredit, kCredit2, kOther };

// Numbers as Xen tells them; 1 KiB = 1024 bytes.
struct XenDomain {
  uint32_t domain_id = 0;
  std::string uuid;  // lower case, 8-4-4-4-12
  uint32_t pool_id = 0;
  bool is_paused = false;
  bool is_shut_down = false;
  bool is_crashed = false;    // shut down by its own fault
  bool is_suspended = false;  // shut down to be saved or moved
  bool is_dying = false;
  int64_t cpu_time_ns = 0;
  int64_t current_kib = 0;
  // What it may hold now: its target and a little more, not the configured maximum.
  int64_t limit_kib = 0;
  int64_t claimed_kib = 0;  // promised to it, still counted as free
  int64_t online_vcpus = 0;
  int64_t maximum_vcpus = 0;
};

struct XenPool {
  uint32_t pool_id = 0;
  std::string name;
  XenScheduler scheduler = XenScheduler::kOther;
  int64_t cpu_count = 0;
};

struct XenVcpuStatistics {
  bool is_online = false;
  int64_t cpu_time_ns = 0;
};

struct XenDomainStatistics {
  uint32_t domain_id = 0;
  std::string name;
  int64_t cpu_time_ns = 0;
  int64_t current_bytes = 0;
  std::vector<XenVcpuStatistics> vcpus;
  // As the guest sees it, summed over its devices; absent without a device of the kind.
  std::optional<int64_t> network_receive_bytes;
  std::optional<int64_t> network_transmit_bytes;
  std::optional<int64_t> disk_read_bytes;
  std::optional<int64_t> disk_write_bytes;
};

struct XenMemory {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

struct XenStatistics {
  XenMemory memory;
  std::vector<XenDomainStatistics> domains;  // with Dom-0, in no order
};

struct XenShare {
  int64_t cap_percent = 0;  // of one physical CPU; 0 = no cap
  int64_t weight = 0;       // 1 to 65535; Xen's default is 256

  friend bool operator==(const XenShare&, const XenShare&) = default;
};

// All that CloudScale asks of Xen's libraries, as they tell it: judging and converting is done
// above. The implementation is a module that is loaded at run time (xen_module.h), so that hosts
// without Xen need none of its libraries. For the same reason only types of the standard library
// pass: a static Abseil would exist twice.
// Thread safety: confined to one thread at a time.
class XenCalls {
 public:
  virtual ~XenCalls() = default;

  // Every domain, Dom-0 and the half-made ones among them.
  virtual XenOr<std::vector<XenDomain>> ListDomains() = 0;
  virtual XenOr<std::vector<XenPool>> ListPools() = 0;
  // Counters of all domains at one instant. A domain that has no name yet is not in it.
  virtual XenOr<XenStatistics> ReadStatistics() = 0;
  virtual XenOr<XenMemory> ReadMemory() = 0;
  // nullopt when there is no such node.
  virtual XenOr<std::optional<std::string>> ReadStore(const std::string& path) = 0;

  // `scheduler` is that of the domain's pool, kCredit or kCredit2; a wrong one answers an error.
  virtual XenOr<XenShare> GetShare(uint32_t domain_id, XenScheduler scheduler) = 0;
  // Sets cap and weight together: Xen has no call for one of them.
  virtual XenDone SetShare(uint32_t domain_id, XenScheduler scheduler, const XenShare& share) = 0;
  // Sets what the guest is asked for, and the limit that Xen holds it to.
  virtual XenDone SetMemoryTarget(uint32_t domain_id, int64_t target_kib) = 0;
  // Asks the guest to run with its first `count` vCPUs.
  virtual XenDone SetOnlineVcpus(uint32_t domain_id, int64_t count) = 0;
  // Lets a suspended domain run on where it stands.
  virtual XenDone Resume(uint32_t domain_id) = 0;
};

}  // namespace cloudscale::hypervisor::xen

// What the module exports.
extern "C" {
int cloudscale_xen_calls_version();
// nullptr and the reason in `error` when this is no Dom-0. To be deleted by the caller.
cloudscale::hypervisor::xen::XenCalls* cloudscale_xen_calls_open(
    cloudscale::hypervisor::xen::XenError* error);
}
