#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/time/clock.h"
#include "hypervisor/fake/fake_host.h"
#include "hypervisor/host_reader.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::fake {

// The faces of a `FakeHost`. Every call first brings the model to the clock's present, so the host
// lives on whatever time the process lives on. Host and clock must outlive them. Many may share one
// host; each is confined to one thread, as its interface says.

class FakeHostReader final : public HostReader {
 public:
  FakeHostReader(FakeHost& host, const Clock& clock) : host_(host), clock_(clock) {}

  Capabilities capabilities() const override { return host_.capabilities(); }
  absl::StatusOr<HostReading> Read() override;

 private:
  FakeHost& host_;
  const Clock& clock_;
};

class FakeVmActuator final : public VmActuator {
 public:
  FakeVmActuator(FakeHost& host, const Clock& clock) : host_(host), clock_(clock) {}

  Capabilities capabilities() const override { return host_.capabilities(); }
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
  FakeHost& host_;
  const Clock& clock_;
};

// Moves VMs away from `source` to the hosts it knows, by host id.
class FakeVmMigrator final : public VmMigrator {
 public:
  FakeVmMigrator(FakeHost& source, std::map<std::string, FakeHost*> destinations,
                 const Clock& clock);

  // INVALID_ARGUMENT for a host that it does not know; else as `FakeHost::StartMigration`.
  absl::Status StartMigration(const ActuationPermit& permit, const VmTarget& vm,
                              const std::string& target_host_id) override;
  absl::StatusOr<MigrationProgress> GetMigrationProgress(const VmTarget& vm) override;
  absl::Status CancelMigration(const ActuationPermit& permit, const VmTarget& vm) override;

 private:
  void Advance();

  FakeHost& source_;
  const std::map<std::string, FakeHost*> destinations_;
  const Clock& clock_;
};

}  // namespace cloudscale::hypervisor::fake
