#include "hypervisor/fake/fake_host.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "hypervisor/fake/cpu_sharing.h"

namespace cloudscale::hypervisor::fake {
namespace {

absl::Status NoSuchVm(const std::string& uuid) {
  return absl::NotFoundError(absl::StrCat("no vm ", uuid));
}

absl::Status ValidateSpec(const FakeVmSpec& spec) {
  Violations violations;
  RequireNotEmpty(violations, "uuid", spec.uuid);
  RequireInRange(violations, "vcpu_count", static_cast<double>(spec.vcpu_count), 1, 4096);
  RequirePositive(violations, "memory_maximum_bytes",
                  static_cast<double>(spec.memory_maximum_bytes));
  RequireInRange(violations, "backlog_limit_core_seconds", spec.backlog_limit_core_seconds, 0, 1e9);
  RequirePositive(violations, "balloon_bytes_per_second", spec.balloon_bytes_per_second);
  RequireInRange(violations, "dirty_bytes_per_second", spec.dirty_bytes_per_second, 0, 1e15);
  if (spec.boot_time < absl::ZeroDuration() || spec.boot_time > absl::Hours(24)) {
    violations.Add("boot_time", absl::FormatDuration(spec.boot_time), "0 to 24h");
  }
  return violations.ToStatus();
}

}  // namespace

FakeHost::FakeHost(FakeHostOptions options, MonoTime start)
    : options_(std::move(options)), now_(start) {
  CS_CHECK(!options_.host_id.empty());
  CS_CHECK(std::isfinite(options_.cpu_capacity_cores) && options_.cpu_capacity_cores > 0);
  CS_CHECK(options_.memory_capacity_bytes > 0);
  CS_CHECK(options_.substep > absl::ZeroDuration() && options_.max_substeps >= 1);
  CS_CHECK(options_.migration_bytes_per_second > 0 && options_.migration_max_rounds >= 1);
}

MonoTime FakeHost::now() const {
  MutexLock lock(&mutex_);
  return now_;
}

void FakeHost::AdvanceTo(MonoTime time) {
  {
    MutexLock lock(&mutex_);
    const absl::Duration elapsed = time - now_;
    if (elapsed <= absl::ZeroDuration()) {
      return;
    }
    const double exact = std::ceil(absl::FDivDuration(elapsed, options_.substep));
    const auto steps =
        static_cast<int64_t>(std::min(exact, static_cast<double>(options_.max_substeps)));
    const MonoTime begin = now_;
    for (int64_t i = 1; i <= steps; ++i) {
      // From the begin each time, so that rounding does not add up.
      const MonoTime end = i == steps ? time : begin + elapsed * i / steps;
      Step(end - now_);
      now_ = end;
    }
  }
  Deliver();
}

void FakeHost::Step(absl::Duration dt) {
  std::vector<CpuClaim> claims;
  claims.reserve(vms_.size());
  for (const auto& [uuid, vm] : vms_) {
    claims.push_back(vm->BeginStep(now_, dt));
  }
  const std::vector<double> granted = ShareCores(options_.cpu_capacity_cores, claims);
  size_t i = 0;
  for (const auto& [uuid, vm] : vms_) {
    vm->EndStep(granted[i++]);
  }
  StepMigrations(dt);
}

FakeVm* FakeHost::Find(const std::string& uuid) const {
  const auto found = vms_.find(uuid);
  return found == vms_.end() ? nullptr : found->second.get();
}

absl::StatusOr<FakeVm*> FakeHost::Resolve(const VmTarget& target) const {
  FakeVm* const vm = Find(target.uuid);
  if (vm == nullptr || vm->is_vanished()) {
    return NoSuchVm(target.uuid);
  }
  if (!target.incarnation.empty() && target.incarnation != vm->incarnation()) {
    return absl::AbortedError(absl::StrCat("vm ", target.uuid, " is now incarnation ",
                                           vm->incarnation(), ", not ", target.incarnation));
  }
  return vm;
}

int64_t FakeHost::FreeMemory() const {
  int64_t free = options_.memory_capacity_bytes;
  for (const auto& [uuid, vm] : vms_) {
    free -= vm->is_vanished() ? 0 : vm->memory_current_bytes();
  }
  for (const auto& [uuid, bytes] : reserved_) {
    free -= bytes;
  }
  return free;
}

absl::StatusOr<HostReading> FakeHost::Read(absl::Time wall_time) {
  MutexLock lock(&mutex_);
  if (failing_reads_ > 0) {
    --failing_reads_;
    return read_failure_;
  }
  HostReading reading;
  reading.host_id = options_.host_id;
  reading.boot_id = absl::StrCat(options_.host_id, "-boot-", boot_number_);
  reading.sample_time = wall_time;
  reading.monotonic_time = now_;
  reading.cpu_capacity_cores = options_.cpu_capacity_cores;
  reading.memory_capacity_bytes = options_.memory_capacity_bytes;
  reading.memory_free_bytes = std::max<int64_t>(FreeMemory(), 0);
  for (const auto& [uuid, vm] : vms_) {
    if (vm->is_vanished()) {
      continue;
    }
    if (!vm->read_fault().unreadable.empty()) {
      reading.unreadable[uuid] = vm->read_fault().unreadable;
    } else {
      reading.vms.push_back(vm->Read(options_.capabilities));
    }
  }
  return reading;
}

absl::Status FakeHost::AddVm(FakeVmSpec spec) {
  CS_RETURN_IF_ERROR(ValidateSpec(spec));
  MutexLock lock(&mutex_);
  if (vms_.size() >= kMaxVms) {
    return absl::ResourceExhaustedError(absl::StrCat("host has ", kMaxVms, " VMs"));
  }
  if (vms_.contains(spec.uuid) || reserved_.contains(spec.uuid)) {
    return absl::AlreadyExistsError(absl::StrCat("vm ", spec.uuid, " exists"));
  }
  const std::string uuid = spec.uuid;
  vms_.emplace(uuid, std::make_unique<FakeVm>(std::move(spec), now_));
  return absl::OkStatus();
}

absl::Status FakeHost::RemoveVm(const std::string& uuid) {
  {
    MutexLock lock(&mutex_);
    if (vms_.erase(uuid) == 0) {
      return NoSuchVm(uuid);
    }
    AbandonMigration(uuid, "the vm is gone");
  }
  Deliver();
  return absl::OkStatus();
}

absl::Status FakeHost::RestartVm(const std::string& uuid) {
  {
    MutexLock lock(&mutex_);
    FakeVm* const vm = Find(uuid);
    if (vm == nullptr) {
      return NoSuchVm(uuid);
    }
    AbandonMigration(uuid, "the vm restarted");
    vm->Restart(now_);
  }
  Deliver();
  return absl::OkStatus();
}

void FakeHost::Restart() {
  {
    MutexLock lock(&mutex_);
    ++boot_number_;
    for (const auto& [uuid, migration] : migrations_) {
      AbandonMigration(uuid, "the host restarted");
    }
    for (const auto& [uuid, vm] : vms_) {
      vm->Restart(now_);
    }
  }
  Deliver();
}

absl::Status FakeHost::SetVmState(const std::string& uuid, VmState state) {
  {
    MutexLock lock(&mutex_);
    FakeVm* const vm = Find(uuid);
    if (vm == nullptr) {
      return NoSuchVm(uuid);
    }
    AbandonMigration(uuid, "the state of the vm was changed");
    vm->SetState(state);
  }
  Deliver();
  return absl::OkStatus();
}

absl::Status FakeHost::SetVanished(const std::string& uuid, bool vanished) {
  {
    MutexLock lock(&mutex_);
    FakeVm* const vm = Find(uuid);
    if (vm == nullptr) {
      return NoSuchVm(uuid);
    }
    AbandonMigration(uuid, "the vm vanished");
    vm->set_vanished(vanished);
  }
  Deliver();
  return absl::OkStatus();
}

absl::StatusOr<GroundTruth> FakeHost::Truth(const std::string& uuid) const {
  MutexLock lock(&mutex_);
  const FakeVm* const vm = Find(uuid);
  if (vm == nullptr) {
    return NoSuchVm(uuid);
  }
  return vm->truth();
}

std::map<std::string, GroundTruth> FakeHost::AllTruth() const {
  MutexLock lock(&mutex_);
  std::map<std::string, GroundTruth> truth;
  for (const auto& [uuid, vm] : vms_) {
    truth[uuid] = vm->truth();
  }
  return truth;
}

absl::StatusOr<Allocation> FakeHost::TrueAllocation(const std::string& uuid) const {
  MutexLock lock(&mutex_);
  const FakeVm* const vm = Find(uuid);
  if (vm == nullptr) {
    return NoSuchVm(uuid);
  }
  return vm->true_allocation();
}

}  // namespace cloudscale::hypervisor::fake
