#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::lbctl {

// What one VM may use, in cores above 0.
struct VmCapacity {
  std::string vm_uuid;
  double granted_cores = 0.0;
  std::optional<double> coming_cores;  // soon; absent when no change is near
};

// The granted capacity of VMs, merged from the reports of several hosts. A report replaces the one
// before of its host; while two hosts report the same VM (it moves), the newest report counts.
// Bounds: kMaxHosts hosts and kMaxVms VMs in all; what is older than its time to live is forgotten.
// Thread safety: thread-compatible.
class CapacityBook {
 public:
  static constexpr size_t kMaxHosts = 1000;
  static constexpr size_t kMaxVms = 100'000;

  // `vms` with each VM once; `time_to_live` > 0. RESOURCE_EXHAUSTED over the bounds, the report
  // before then stays.
  absl::Status Report(const std::string& host_id, const std::vector<VmCapacity>& vms,
                      absl::Duration time_to_live, MonoTime now);

  // What traffic may count on: the smaller of the granted and the coming cores, so that load leaves
  // before capacity does and comes after it. Absent when it is not known or too old.
  [[nodiscard]] std::optional<double> UsableCores(const std::string& vm_uuid, MonoTime now) const;

  // Hosts with a report that still holds.
  [[nodiscard]] size_t host_count(MonoTime now) const;

 private:
  struct HostReport {
    MonoTime reported_at;
    MonoTime expires_at;
    std::map<std::string, double> usable_cores;
  };
  void Expire(MonoTime now);

  std::map<std::string, HostReport> hosts_;
  size_t vm_count_ = 0;
};

}  // namespace cloudscale::lbctl
