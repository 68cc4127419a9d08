#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hypervisor/bounded/bounded_calls.h"
#include "hypervisor/host_reader.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor {

// A reader whose calls take a bounded time and which connects again by itself (bounded_calls.h).
// `capabilities` are those last seen, before the first connection the ones given.
class BoundedHostReader final : public HostReader {
 public:
  BoundedHostReader(BoundedCalls<HostReader>::Make make, Capabilities expected,
                    absl::Duration limit);

  [[nodiscard]] Capabilities capabilities() const override { return capabilities_; }
  absl::StatusOr<HostReading> Read() override;

 private:
  Capabilities capabilities_;
  BoundedCalls<HostReader> calls_;
};

// The same for the changing half. DEADLINE_EXCEEDED from a call that sets something: it may still
// take effect later.
class BoundedVmActuator final : public VmActuator {
 public:
  BoundedVmActuator(BoundedCalls<VmActuator>::Make make, Capabilities expected,
                    absl::Duration limit);

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
  Capabilities capabilities_;
  BoundedCalls<VmActuator> calls_;
};

}  // namespace cloudscale::hypervisor
