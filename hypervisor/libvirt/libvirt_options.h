#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "hypervisor/types.h"

namespace cloudscale::hypervisor::libvirt {

enum class Driver { kQemu, kLxc, kXen };

// What a connection URI says before anybody is asked.
struct Endpoint {
  Driver driver = Driver::kQemu;
  // The daemon runs on this machine, so that its domains' control groups can be read.
  bool is_local = true;
};
// `driver[+transport]://[user@][host[:port]]/path[?options]` with driver qemu, lxc or xen.
// INVALID_ARGUMENT says what is wrong and what is known.
[[nodiscard]] absl::StatusOr<Endpoint> ParseUri(const std::string& uri);

// Shared by reader and actuator, which must be made with equal values.
struct LibvirtOptions {
  std::string uri = "qemu:///system";
  std::string host_id;
  // Where the daemon keeps the process ids of its domains; only looked at when it is local.
  std::string run_directory = "/run/libvirt";
  std::string proc_root = "/proc";
  std::string cgroup_root = "/sys/fs/cgroup";
  // What VMs may share, > 0; nullopt = all that the host has.
  std::optional<double> cpu_capacity_cores;
  std::optional<int64_t> memory_capacity_bytes;
};

// What the driver can do as far as it is known without asking. Weights need the version of the
// control groups and throttled time their files, hence a local daemon.
[[nodiscard]] Capabilities CapabilitiesOf(const Endpoint& endpoint);

}  // namespace cloudscale::hypervisor::libvirt
