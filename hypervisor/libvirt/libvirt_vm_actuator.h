#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/libvirt/handles.h"
#include "hypervisor/libvirt/libvirt_options.h"
#include "hypervisor/libvirt/local_domains.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::libvirt {

// Sets limits of running domains; a domain's stored definition is never touched.
//
// SetCpuCap       quotas as `PlanCap` chooses them; Xen: cap in whole per cent. OUT_OF_RANGE above
//                 the host's CPUs.
// SetCpuWeight    cpu_shares on the scale of the host's control groups (v1: weight × 10.24), or
//                 Xen's weight × 2.56. UNIMPLEMENTED where that scale is not known.
// SetMemoryTarget balloon (QEMU, Xen), rounded up to a KiB, and a note of it (memory_note.h); limit
//                 of a container, never below what it uses without idle cache: FAILED_PRECONDITION,
//                 since cgroup v2 would kill processes to obey. OUT_OF_RANGE above the domain's
//                 maximum.
// SetVcpuCount    hot-plug of vCPUs (QEMU, Xen); the guest must take part to give one back.
// One connection and no waiting of its own: wrap it in `BoundedVmActuator`. Thread safety: confined
// to one thread.
class LibvirtVmActuator final : public VmActuator {
 public:
  // Errors as `Connect` and `ParseUri`. Use the reader's options.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<VmActuator>> Create(LibvirtOptions options);

  [[nodiscard]] Capabilities capabilities() const override { return capabilities_; }
  absl::StatusOr<Allocation> ReadAllocation(const VmTarget& vm) override;
  absl::Status SetCpuCap(const ActuationPermit& permit, const VmTarget& vm,
                         std::optional<double> cores) override;
  absl::Status SetCpuWeight(const ActuationPermit& permit, const VmTarget& vm,
                            int64_t weight) override;
  absl::Status SetMemoryTarget(const ActuationPermit& permit, const VmTarget& vm,
                               std::optional<int64_t> bytes) override;
  absl::Status SetVcpuCount(const ActuationPermit& permit, const VmTarget& vm,
                            int64_t count) override;

 private:
  LibvirtVmActuator(LibvirtOptions options, Endpoint endpoint, Connection connection,
                    double host_cpu_count);

  // The running domain; ABORTED when it is another run than the one decided on.
  [[nodiscard]] absl::StatusOr<Domain> Find(const VmTarget& vm);
  [[nodiscard]] absl::Status SetParameter(virDomainPtr domain, const std::string& name,
                                          int64_t value) const;
  [[nodiscard]] absl::Status CheckContainerFits(const VmTarget& vm, int64_t bytes);

  const LibvirtOptions options_;
  const Endpoint endpoint_;
  const Connection connection_;
  const double host_cpu_count_;
  LocalDomains local_;
  Capabilities capabilities_;
};

}  // namespace cloudscale::hypervisor::libvirt
