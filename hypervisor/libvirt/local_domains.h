#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hypervisor/cgroup/cgroup_hierarchy.h"
#include "hypervisor/libvirt/libvirt_options.h"

namespace cloudscale::hypervisor::libvirt {

// Looks at the processes and control groups of domains whose daemon runs on this machine: what
// libvirt does not tell. Everything is optional; a host that hides these files only loses what they
// say. Thread safety: confined to one thread.
class LocalDomains {
 public:
  explicit LocalDomains(const LibvirtOptions& options, const Endpoint& endpoint);

  struct Measured {
    std::optional<absl::Duration> throttled_time;  // by caps, summed over the domain's groups
    // Of a container, for which there is nothing beside its group:
    std::optional<absl::Duration> cpu_time;
    std::optional<Allocation> allocation;
    std::optional<cgroup::MemoryUse> memory;
    std::optional<double> memory_pressure_some_ratio;
  };

  // Tells apart the runs of a domain: its number and the start of its process. The actuator and the
  // reader say the same. `id` is libvirt's domain number.
  [[nodiscard]] std::string Incarnation(const std::string& uuid, const std::string& name, int id);

  // After `Incarnation` of the same domain.
  [[nodiscard]] Measured Measure(const std::string& uuid);

  // Whether weights are those of cgroup v1 (1024 is normal) or v2 (100 is); nullopt when that
  // cannot be told.
  [[nodiscard]] std::optional<cgroup::CgroupVersion> version() const;

  // Takes off what these files would be needed for and are not there for.
  void Refine(Capabilities& capabilities) const;

  // Forgets all other domains.
  void KeepOnly(const std::vector<std::string>& uuids);

 private:
  struct Known {
    int id = 0;
    std::string incarnation;
    bool has_group = false;
    cgroup::GroupDirectories group;
    std::vector<cgroup::Directory> throttling;  // its own, its parent's and its vCPUs' groups
  };
  [[nodiscard]] std::optional<int64_t> ProcessId(const std::string& name) const;
  [[nodiscard]] std::optional<std::string> ProcessStart(int64_t pid) const;
  void OpenGroups(int64_t pid, Known& known) const;

  const LibvirtOptions options_;
  const Endpoint endpoint_;
  std::optional<cgroup::CgroupHierarchy> hierarchy_;
  std::map<std::string, Known> known_;  // by uuid
};

}  // namespace cloudscale::hypervisor::libvirt
