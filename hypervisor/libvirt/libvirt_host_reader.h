#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/time/clock.h"
#include "hypervisor/host_reader.h"
#include "hypervisor/libvirt/domain_events.h"
#include "hypervisor/libvirt/domain_limits.h"
#include "hypervisor/libvirt/domain_statistics.h"
#include "hypervisor/libvirt/handles.h"
#include "hypervisor/libvirt/libvirt_options.h"
#include "hypervisor/libvirt/local_domains.h"

namespace cloudscale::hypervisor::libvirt {

// Reads the running domains of one libvirt daemon over a read-only connection.
//
// QEMU domains are read by one call for all. The drivers of LXC and Xen have none: containers are
// read from their control groups where they are on this machine, others by a few calls each. Limits
// are asked for anew when an event tells of a change, and every kSettingsReadings readings, since
// who writes to control groups directly tells nobody. What the numbers are:
//   cpu_time            of the whole domain, emulator threads included.
//   cpu_throttled_time  of the domain's control groups, daemon on this machine only (QEMU, LXC).
//   cpu_wait_time       what its vCPUs waited in the run queue beyond being throttled (QEMU).
//   memory_current      balloon (QEMU, Xen); use of the group (LXC).
//   memory_used         what the guest itself says it cannot give back, when its statistics are on
//                       (<memballoon><stats period=…>) and fresh; use without idle cache (LXC).
//   vcpu_count          online vCPUs; for a container, which none of them limits, the host's CPUs.
// `incarnation` is the domain's number and the start of its process.
//
// One connection and no waiting of its own: wrap it in `BoundedHostReader`. UNAVAILABLE when the
// daemon is gone. A domain whose job lock is held (a hanging QEMU) is read without what only QEMU
// can tell. At most `kMaxDomains`, else RESOURCE_EXHAUSTED. Thread safety: confined to one thread.
class LibvirtHostReader final : public HostReader {
 public:
  static constexpr int kMaxDomains = 4096;
  static constexpr int kSettingsReadings = 30;

  // Real time is its own: a call that hangs may outlive everything else. Errors as `Connect` and
  // `ParseUri`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HostReader>> Create(LibvirtOptions options);

  [[nodiscard]] Capabilities capabilities() const override { return capabilities_; }
  absl::StatusOr<HostReading> Read() override;

 private:
  // What changes rarely, and what keeps sums from falling.
  struct Remembered {
    int id = 0;
    std::optional<DomainSettings> settings;
    int readings_since_asked = 0;
    std::vector<std::string> interfaces;
    std::vector<std::string> disks;
    bool has_devices = false;
    int64_t memory_maximum_bytes = 0;  // of a container
    absl::Duration wait;               // never falls within an incarnation
  };
  struct Sampled {
    Domain domain;
    DomainStatistics statistics;
  };

  LibvirtHostReader(LibvirtOptions options, Endpoint endpoint, Connection connection);

  [[nodiscard]] absl::Status ReadHost(HostReading& reading);
  [[nodiscard]] absl::StatusOr<std::vector<Sampled>> SampleTogether();
  [[nodiscard]] absl::StatusOr<std::vector<Sampled>> SampleOneByOne();
  [[nodiscard]] absl::Status ReadAlone(virDomainPtr domain, Remembered& remembered, VmReading& vm);
  void AddDeviceCounters(virDomainPtr domain, Remembered& remembered, VmReading& vm);
  [[nodiscard]] absl::Status AddAllocation(virDomainPtr domain, Remembered& remembered,
                                           VmReading& vm);
  [[nodiscard]] absl::Status Complete(Sampled& sampled);

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  const LibvirtOptions options_;
  const Endpoint endpoint_;
  const Connection connection_;
  DomainEvents events_;
  std::set<std::string> changed_;  // since the last reading
  LocalDomains local_;
  Capabilities capabilities_;
  std::string boot_id_;
  int64_t host_cpu_count_ = 1;
  std::map<std::string, Remembered> remembered_;  // by uuid
};

}  // namespace cloudscale::hypervisor::libvirt
