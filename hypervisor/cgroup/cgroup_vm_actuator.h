#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hypervisor/actuation_permit.h"
#include "hypervisor/cgroup/cgroup_hierarchy.h"
#include "hypervisor/cgroup/cgroup_options.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::cgroup {

// Sets quota, weight and memory limit of groups of real processes. Every call opens the group anew,
// compares the incarnation and then writes only through the opened directory: a group made again
// under the same name is never touched by a decision about the old one.
//
// SetCpuCap       quota over a period of 100 ms, rounded up to 1 us, at least 1 ms (0.01 cores).
//                 OUT_OF_RANGE above the machine's CPUs, and, where the kernel refuses it (v1),
//                 above the cap of a group further up, which the message names.
//                 FAILED_PRECONDITION when a group inside has a greater quota (v1).
// SetCpuWeight    cpu.shares = weight x 10.24 (v1) or cpu.weight (v2).
// SetMemoryTarget limit, rounded up to a page. Never below what the group uses without cache:
//                 FAILED_PRECONDITION, nothing written, since v2 would kill processes to obey; the
//                 same when the kernel cannot free enough (v1). OUT_OF_RANGE above the machine's
//                 memory. Blocks while the kernel frees memory.
// SetVcpuCount    UNIMPLEMENTED.
// Besides the codes of `VmActuator`: PERMISSION_DENIED when the tree is not writable.
// Thread safety: confined to one thread at a time.
class CgroupVmActuator final : public VmActuator {
 public:
  // Errors as `CgroupHierarchy::Open`. Use the reader's options.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CgroupVmActuator>> Create(
      CgroupOptions options);

  [[nodiscard]] Capabilities capabilities() const override { return hierarchy_.capabilities(); }
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
  explicit CgroupVmActuator(CgroupHierarchy hierarchy) : hierarchy_(std::move(hierarchy)) {}

  [[nodiscard]] absl::StatusOr<Group> FindGroup(const VmTarget& vm);
  [[nodiscard]] absl::Status WriteQuota(const Group& group, const CpuQuota& now,
                                        const CpuQuota& wanted) const;
  [[nodiscard]] absl::Status ExplainQuotaRefusal(double cores, const absl::Status& status) const;
  [[nodiscard]] absl::Status CheckMemoryFits(const Group& group, int64_t bytes) const;

  const CgroupHierarchy hierarchy_;
  std::map<std::string, std::string> name_by_uuid_;  // a hint, checked at every use
};

}  // namespace cloudscale::hypervisor::cgroup
