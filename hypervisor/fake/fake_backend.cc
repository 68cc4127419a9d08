#include "hypervisor/fake/fake_backend.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"

namespace cloudscale::hypervisor::fake {

absl::StatusOr<HostReading> FakeHostReader::Read() {
  host_.AdvanceTo(clock_.MonoNow());
  return host_.Read(clock_.WallNow());
}

absl::StatusOr<Allocation> FakeVmActuator::ReadAllocation(const VmTarget& vm) {
  host_.AdvanceTo(clock_.MonoNow());
  return host_.ReadAllocation(vm);
}

absl::Status FakeVmActuator::SetCpuCap(const ActuationPermit& permit, const VmTarget& vm,
                                       std::optional<double> cores) {
  host_.AdvanceTo(clock_.MonoNow());
  return host_.Change(permit, vm, {VmChange::Kind::kCpuCap, cores, std::nullopt});
}

absl::Status FakeVmActuator::SetCpuWeight(const ActuationPermit& permit, const VmTarget& vm,
                                          int64_t weight) {
  host_.AdvanceTo(clock_.MonoNow());
  return host_.Change(permit, vm, {VmChange::Kind::kCpuWeight, std::nullopt, weight});
}

absl::Status FakeVmActuator::SetMemoryTarget(const ActuationPermit& permit, const VmTarget& vm,
                                             std::optional<int64_t> bytes) {
  host_.AdvanceTo(clock_.MonoNow());
  return host_.Change(permit, vm, {VmChange::Kind::kMemoryTarget, std::nullopt, bytes});
}

absl::Status FakeVmActuator::SetVcpuCount(const ActuationPermit& permit, const VmTarget& vm,
                                          int64_t count) {
  host_.AdvanceTo(clock_.MonoNow());
  return host_.Change(permit, vm, {VmChange::Kind::kVcpuCount, std::nullopt, count});
}

FakeVmMigrator::FakeVmMigrator(FakeHost& source, std::map<std::string, FakeHost*> destinations,
                               const Clock& clock)
    : source_(source), destinations_(std::move(destinations)), clock_(clock) {
  for (const auto& [host_id, host] : destinations_) {
    CS_CHECK(host != nullptr);
  }
}

void FakeVmMigrator::Advance() {
  const MonoTime now = clock_.MonoNow();
  source_.AdvanceTo(now);
  for (const auto& [host_id, host] : destinations_) {
    host->AdvanceTo(now);
  }
}

absl::Status FakeVmMigrator::StartMigration(const ActuationPermit& permit, const VmTarget& vm,
                                            const std::string& target_host_id) {
  Advance();
  const auto found = destinations_.find(target_host_id);
  if (found == destinations_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("no route to host ", target_host_id));
  }
  return source_.StartMigration(permit, vm, found->second);
}

absl::StatusOr<MigrationProgress> FakeVmMigrator::GetMigrationProgress(const VmTarget& vm) {
  Advance();
  return source_.GetMigrationProgress(vm);
}

absl::Status FakeVmMigrator::CancelMigration(const ActuationPermit& permit, const VmTarget& vm) {
  Advance();
  return source_.CancelMigration(permit, vm);
}

}  // namespace cloudscale::hypervisor::fake
