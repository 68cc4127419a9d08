#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/time/clock.h"
#include "hypervisor/host_reader.h"
#include "hypervisor/xen/xen_calls.h"
#include "hypervisor/xen/xen_domains.h"
#include "hypervisor/xen/xen_options.h"

namespace cloudscale::hypervisor::xen {

// Reads the domains of one CPU pool of a Xen host, from its Dom-0, which is no VM itself.
//
// What the numbers are:
//   cpu_time, vcpu_times   libxenstat's, which is what the scheduler charged.
//   cpu_throttled_time, cpu_wait_time  absent: Xen tells nobody outside the guest.
//   memory_current_bytes   pages that the domain holds.
//   memory_maximum_bytes   the configured maximum, `memory/static-max` of xenstore. libxenstat's
//                          `max_mem` is the present limit.
//   memory_used_bytes      absent: Xen does not look into guests; their agents tell.
//   network, disk          libxenstat's, as the guest sees them, summed over its devices.
//   allocation             cap and weight of the pool's scheduler; the target of xenstore, which
//                          Xen always has.
//   incarnation            domain id and start time.
//   cpu_capacity_cores     the pool's CPUs. Dom-0 shares them; give it a weight of its own.
//   memory_capacity_bytes  what the VMs hold and what is free, less the reserve: neither Xen's own
//                          memory nor Dom-0's is in it.
//   memory_free_bytes      what may still be granted: free, less what is promised and the reserve.
//
// All counters are of one call, `sample_time` is its middle. What seldom changes (xenstore's nodes,
// the pool) is kept: read again when the domain's limit changed or its CPU time went back, and in
// turn every `kStoredReadings` readings.
//
// Errors: UNAVAILABLE when hypervisor or xenstore do not answer, FAILED_PRECONDITION when the pool
// is gone. A domain that goes meanwhile is left out; one that is half-made, or whose UUID another
// one has, is in `unreadable`.
// Thread safety: confined to one thread at a time.
class XenHostReader final : public HostReader {
 public:
  // Readings for which a kept value is good when nothing hints at a change.
  static constexpr int64_t kStoredReadings = 30;

  // `clock` is not owned. UNAVAILABLE when Xen does not answer, FAILED_PRECONDITION when there is
  // no such pool.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<XenHostReader>> Create(
      Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options);

  [[nodiscard]] Capabilities capabilities() const override {
    return CapabilitiesOf(pool_.scheduler);
  }
  absl::StatusOr<HostReading> Read() override;

 private:
  struct Kept {
    std::string uuid;
    int64_t limit_kib = 0;
    int64_t cpu_time_ns = 0;
    int64_t readings_left = 0;
    StoredDomain stored;
  };
  XenHostReader(Clock& clock, std::unique_ptr<XenCalls> calls, XenOptions options,
                std::string boot_id, XenPool pool);

  [[nodiscard]] bool IsStillThere(const XenDomain& domain);
  [[nodiscard]] absl::StatusOr<StoredDomain> Stored(const XenDomain& domain);
  [[nodiscard]] absl::StatusOr<VmReading> ReadVm(const XenDomain& domain,
                                                 const XenDomainStatistics& statistics);

  Clock& clock_;
  const std::unique_ptr<XenCalls> calls_;
  const XenOptions options_;
  const std::string boot_id_;
  XenPool pool_;
  int64_t pool_readings_left_ = kStoredReadings;
  std::map<uint32_t, Kept> kept_;  // by domain id; only domains of the last reading
};

}  // namespace cloudscale::hypervisor::xen
