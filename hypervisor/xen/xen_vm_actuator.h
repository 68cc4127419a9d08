#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/vm_actuator.h"
#include "hypervisor/xen/xen_calls.h"
#include "hypervisor/xen/xen_domains.h"
#include "hypervisor/xen/xen_options.h"

namespace cloudscale::hypervisor::xen {

// Changes domains of one CPU pool of a Xen host. Every call looks the domain up by UUID and
// compares the incarnation right before it writes: domain ids are reused.
//
// SetCpuCap       percent of one physical CPU, rounded up to 1. OUT_OF_RANGE above the VM's
//                 configured vCPUs. UNIMPLEMENTED unless the pool's scheduler is credit or credit2.
// SetCpuWeight    Xen's weight = weight x 2.56. UNIMPLEMENTED as above.
// SetMemoryTarget target and limit, rounded up to a page; nullopt = the configured maximum.
//                 OUT_OF_RANGE above it. FAILED_PRECONDITION, nothing written, when the host has
//                 not as much to grant without its reserve: shrink others first and wait until they
//                 gave their memory back. What the guest needs at least is the caller's to know:
//                 Xen does not, and a guest asked for less dies.
// SetVcpuCount    asks the guest; OUT_OF_RANGE above the configured vCPUs.
// Each is FAILED_PRECONDITION for a domain that is shut down.
// Besides the codes of `VmActuator`: PERMISSION_DENIED without the rights of Dom-0.
// Thread safety: confined to one thread at a time.
class XenVmActuator final : public VmActuator {
 public:
  // Use the reader's options, and calls of its own. Errors as `XenHostReader::Create`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<XenVmActuator>> Create(
      std::unique_ptr<XenCalls> calls, XenOptions options);

  [[nodiscard]] Capabilities capabilities() const override { return CapabilitiesOf(scheduler_); }
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
  XenVmActuator(std::unique_ptr<XenCalls> calls, XenOptions options, XenScheduler scheduler);

  [[nodiscard]] absl::StatusOr<FoundVm> FindToChange(const VmTarget& vm);
  // Reads the share, lets `change` alter it and writes it when it is another one then.
  template <typename Change>
  [[nodiscard]] absl::Status ChangeShare(const VmTarget& vm, const Change& change);

  const std::unique_ptr<XenCalls> calls_;
  const XenOptions options_;
  const XenScheduler scheduler_;
};

}  // namespace cloudscale::hypervisor::xen
