// The half of `FakeHost` that is changed from outside: actions, faults and migrations.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "common/status/macros.h"
#include "hypervisor/fake/fake_host.h"

namespace cloudscale::hypervisor::fake {
namespace {

absl::Status NoSuchVm(const std::string& uuid) {
  return absl::NotFoundError(absl::StrCat("no vm ", uuid));
}

bool IsCapable(const Capabilities& capabilities, VmChange::Kind kind) {
  switch (kind) {
    case VmChange::Kind::kCpuCap:
      return capabilities.cpu_cap;
    case VmChange::Kind::kCpuWeight:
      return capabilities.cpu_weight;
    case VmChange::Kind::kMemoryTarget:
      return capabilities.memory_target;
    case VmChange::Kind::kVcpuCount:
      return capabilities.vcpu_count;
  }
  return false;
}

}  // namespace

absl::StatusOr<Allocation> FakeHost::ReadAllocation(const VmTarget& target) {
  MutexLock lock(&mutex_);
  CS_ASSIGN_OR_RETURN(const FakeVm* const vm, Resolve(target));
  return vm->ReadAllocation(options_.capabilities);
}

absl::Status FakeHost::Change(const ActuationPermit& permit, const VmTarget& target,
                              const VmChange& change) {
  MutexLock lock(&mutex_);
  CS_CHECK(!forbids_changes_);
  absl::Status status = TryChange(target, change);
  Record(permit, target.uuid, change.ToString(), status);
  return status;
}

absl::Status FakeHost::TryChange(const VmTarget& target, const VmChange& change) {
  if (!IsCapable(options_.capabilities, change.kind)) {
    return absl::UnimplementedError(
        absl::StrCat(options_.capabilities.backend, " cannot set ", change.ToString()));
  }
  if (failing_actions_ > 0) {
    --failing_actions_;
    return action_failure_;
  }
  CS_ASSIGN_OR_RETURN(FakeVm* const vm, Resolve(target));
  CS_RETURN_IF_ERROR(vm->Check(change, options_.capabilities));
  return vm->Change(change, now_, options_.capabilities.cpu_cap_granularity_cores);
}

void FakeHost::Record(const ActuationPermit& permit, const std::string& uuid, std::string what,
                      const absl::Status& status) {
  if (actions_.size() >= kMaxActions) {
    actions_.pop_front();
  }
  actions_.push_back(
      {now_, uuid, std::move(what), permit.fencing_token(), permit.request_id(), status});
}

std::vector<ActionRecord> FakeHost::Actions() const {
  MutexLock lock(&mutex_);
  return {actions_.begin(), actions_.end()};
}

absl::Status FakeHost::SetActuationFault(const std::string& uuid, const ActuationFault& fault) {
  MutexLock lock(&mutex_);
  FakeVm* const vm = Find(uuid);
  if (vm == nullptr) {
    return NoSuchVm(uuid);
  }
  vm->set_actuation_fault(fault);
  return absl::OkStatus();
}

absl::Status FakeHost::SetReadFault(const std::string& uuid, const ReadFault& fault) {
  MutexLock lock(&mutex_);
  FakeVm* const vm = Find(uuid);
  if (vm == nullptr) {
    return NoSuchVm(uuid);
  }
  vm->set_read_fault(fault);
  return absl::OkStatus();
}

void FakeHost::FailNextReads(int64_t count, absl::Status status) {
  CS_CHECK(!status.ok());
  MutexLock lock(&mutex_);
  failing_reads_ = count;
  read_failure_ = std::move(status);
}

void FakeHost::FailNextActions(int64_t count, absl::Status status) {
  CS_CHECK(!status.ok());
  MutexLock lock(&mutex_);
  failing_actions_ = count;
  action_failure_ = std::move(status);
}

absl::Status FakeHost::ChangeForeign(const std::string& uuid, const Allocation& allocation) {
  MutexLock lock(&mutex_);
  FakeVm* const vm = Find(uuid);
  if (vm == nullptr) {
    return NoSuchVm(uuid);
  }
  vm->ChangeForeign(allocation);
  return absl::OkStatus();
}

void FakeHost::ForbidChanges() {
  MutexLock lock(&mutex_);
  forbids_changes_ = true;
}

absl::Status FakeHost::StartMigration(const ActuationPermit& permit, const VmTarget& target,
                                      FakeHost* destination) {
  if (!options_.capabilities.live_migration) {
    return absl::UnimplementedError(absl::StrCat(options_.capabilities.backend, " cannot migrate"));
  }
  if (destination == this) {
    return absl::FailedPreconditionError(absl::StrCat("vm is on ", options_.host_id, " already"));
  }
  int64_t bytes = 0;
  {
    MutexLock lock(&mutex_);
    CS_CHECK(!forbids_changes_);
    CS_ASSIGN_OR_RETURN(const FakeVm* const vm, Resolve(target));
    bytes = vm->memory_current_bytes();
  }
  // The destination's lock is never taken while ours is held, so reserve first and give back.
  CS_RETURN_IF_ERROR(destination->Reserve(target.uuid, bytes));
  absl::Status status = [&]() -> absl::Status {
    MutexLock lock(&mutex_);
    CS_ASSIGN_OR_RETURN(FakeVm* const vm, Resolve(target));
    if (vm->state() != VmState::kRunning) {
      return absl::FailedPreconditionError(absl::StrCat("vm ", target.uuid, " does not run"));
    }
    migrations_.erase(target.uuid);
    if (migrations_.size() >= kMaxMigrations) {
      const auto oldest = std::min_element(
          migrations_.begin(), migrations_.end(),
          [](const auto& a, const auto& b) { return a.second.order < b.second.order; });
      if (!oldest->second.copy.is_over()) {
        return absl::ResourceExhaustedError("too many migrations");
      }
      migrations_.erase(oldest);
    }
    PreCopy copy({.memory_bytes = static_cast<double>(std::max<int64_t>(bytes, 1)),
                  .bytes_per_second = options_.migration_bytes_per_second,
                  .downtime_limit = options_.migration_downtime_limit,
                  .max_rounds = options_.migration_max_rounds});
    migrations_.emplace(target.uuid, Migration{copy, destination, bytes, ++migration_count_});
    vm->SetState(VmState::kMigrating);
    return absl::OkStatus();
  }();
  if (!status.ok()) {
    destination->Unreserve(target.uuid);
  }
  MutexLock lock(&mutex_);
  Record(permit, target.uuid, absl::StrCat("migrate to ", destination->host_id()), status);
  return status;
}

absl::StatusOr<MigrationProgress> FakeHost::GetMigrationProgress(const VmTarget& target) const {
  MutexLock lock(&mutex_);
  if (const auto found = migrations_.find(target.uuid); found != migrations_.end()) {
    return found->second.copy.progress();
  }
  CS_RETURN_IF_ERROR(Resolve(target).status());
  return MigrationProgress{};
}

absl::Status FakeHost::CancelMigration(const ActuationPermit& permit, const VmTarget& target) {
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    CS_CHECK(!forbids_changes_);
    const auto found = migrations_.find(target.uuid);
    if (found == migrations_.end()) {
      status = Resolve(target).status();
    } else if (!found->second.copy.is_over()) {
      if (found->second.copy.Cancel()) {
        EndMigration(target.uuid, found->second);
      } else {
        status = absl::FailedPreconditionError(
            absl::StrCat("vm ", target.uuid, " is being switched over"));
      }
    } else if (found->second.copy.stage() == MigrationStage::kDone) {
      status = absl::FailedPreconditionError(absl::StrCat("vm ", target.uuid, " has moved"));
    }
    Record(permit, target.uuid, "cancel migration", status);
  }
  Deliver();
  return status;
}

absl::Status FakeHost::FailMigration(const std::string& uuid, const std::string& error) {
  {
    MutexLock lock(&mutex_);
    const auto found = migrations_.find(uuid);
    if (found == migrations_.end() || found->second.copy.is_over()) {
      return absl::FailedPreconditionError(absl::StrCat("vm ", uuid, " does not migrate"));
    }
    found->second.copy.Fail(error);
    EndMigration(uuid, found->second);
  }
  Deliver();
  return absl::OkStatus();
}

void FakeHost::StepMigrations(absl::Duration dt) {
  for (auto& [uuid, migration] : migrations_) {
    if (migration.copy.is_over()) {
      continue;
    }
    FakeVm* const vm = Find(uuid);
    CS_CHECK(vm != nullptr);
    migration.copy.Step(dt, vm->spec().dirty_bytes_per_second);
    if (migration.copy.is_over()) {
      EndMigration(uuid, migration);
    } else if (migration.copy.stage() == MigrationStage::kStopAndCopy) {
      vm->SetState(VmState::kPaused);
    }
  }
}

void FakeHost::EndMigration(const std::string& uuid, Migration& migration) {
  if (migration.copy.stage() == MigrationStage::kDone) {
    auto node = vms_.extract(uuid);
    departed_.push_back(
        {migration.destination, std::move(node.mapped()), migration.reserved_bytes, now_});
    return;
  }
  releases_.push_back({migration.destination, uuid});
  if (FakeVm* const vm = Find(uuid); vm != nullptr) {
    vm->SetState(VmState::kRunning);
  }
}

void FakeHost::AbandonMigration(const std::string& uuid, const std::string& why) {
  if (const auto found = migrations_.find(uuid);
      found != migrations_.end() && !found->second.copy.is_over()) {
    found->second.copy.Fail(why);
    EndMigration(uuid, found->second);
  }
}

void FakeHost::Deliver() {
  std::vector<Arrival> departed;
  std::vector<Release> releases;
  {
    MutexLock lock(&mutex_);
    departed.swap(departed_);
    releases.swap(releases_);
  }
  for (Arrival& arrival : departed) {
    FakeHost* const destination = arrival.destination;
    destination->Accept(std::move(arrival));
  }
  for (const Release& release : releases) {
    release.destination->Unreserve(release.uuid);
  }
}

absl::Status FakeHost::Reserve(const std::string& uuid, int64_t bytes) {
  MutexLock lock(&mutex_);
  if (reserved_.contains(uuid)) {
    return absl::AlreadyExistsError(
        absl::StrCat("vm ", uuid, " is already on its way to ", options_.host_id));
  }
  if (vms_.contains(uuid)) {
    return absl::FailedPreconditionError(
        absl::StrCat(options_.host_id, " has a vm ", uuid, " already"));
  }
  const int64_t free = FreeMemory();
  if (bytes > free || vms_.size() + reserved_.size() >= kMaxVms) {
    return absl::FailedPreconditionError(absl::StrCat(options_.host_id, " lacks room for vm ", uuid,
                                                      ": needs ", bytes, " bytes, has ", free));
  }
  reserved_[uuid] = bytes;
  return absl::OkStatus();
}

void FakeHost::Unreserve(const std::string& uuid) {
  MutexLock lock(&mutex_);
  reserved_.erase(uuid);
}

void FakeHost::Accept(Arrival arrival) {
  MutexLock lock(&mutex_);
  const std::string uuid = arrival.vm->spec().uuid;
  reserved_.erase(uuid);
  arrival.vm->Arrive(std::max(arrival.at, now_));
  vms_[uuid] = std::move(arrival.vm);
}

}  // namespace cloudscale::hypervisor::fake
