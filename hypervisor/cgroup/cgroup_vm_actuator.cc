#include "hypervisor/cgroup/cgroup_vm_actuator.h"

#include <unistd.h>

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

constexpr int64_t kPeriodUs = 100000;

// What the kernel says about writing a control file, in the terms of `VmActuator`.
absl::Status FromWrite(absl::string_view group, const char* file, const absl::Status& status) {
  if (absl::IsNotFound(status)) {
    return absl::NotFoundError(
        absl::StrCat("group ", group, " or its ", file, " is gone: ", status.message()));
  }
  return WithContext(absl::StrCat("group ", group), status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CgroupVmActuator>> CgroupVmActuator::Create(CgroupOptions options) {
  CS_ASSIGN_OR_RETURN(CgroupHierarchy hierarchy, CgroupHierarchy::Open(std::move(options)));
  return std::unique_ptr<CgroupVmActuator>(new CgroupVmActuator(std::move(hierarchy)));
}

absl::StatusOr<Group> CgroupVmActuator::FindGroup(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const GroupDirectories parent, hierarchy_.OpenParent());
  const auto check = [&](Group group) -> absl::StatusOr<Group> {
    if (!vm.incarnation.empty() && vm.incarnation != group.incarnation) {
      return absl::AbortedError(absl::StrCat("group ", group.name, " was made again: incarnation ",
                                             group.incarnation, ", not ", vm.incarnation));
    }
    return group;
  };
  if (const auto hint = name_by_uuid_.find(vm.uuid); hint != name_by_uuid_.end()) {
    absl::StatusOr<Group> group = hierarchy_.OpenGroup(parent, hint->second);
    if (group.ok() && group->uuid == vm.uuid) {
      return check(*std::move(group));
    }
    name_by_uuid_.erase(hint);
  }
  CS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries,
                      ListDirectories(parent.cpu, CgroupHierarchy::kMaxGroups));
  for (const DirectoryEntry& entry : entries) {
    absl::StatusOr<Group> group = hierarchy_.OpenGroup(parent, entry.name);
    if (group.ok() && group->uuid == vm.uuid) {
      if (name_by_uuid_.size() >= CgroupHierarchy::kMaxGroups) {
        name_by_uuid_.clear();
      }
      name_by_uuid_[vm.uuid] = entry.name;
      return check(*std::move(group));
    }
  }
  return absl::NotFoundError(
      absl::StrCat("no group with UUID ", vm.uuid, " under ", hierarchy_.options().parent_group));
}

absl::StatusOr<Allocation> CgroupVmActuator::ReadAllocation(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const Group group, FindGroup(vm));
  absl::StatusOr<Allocation> result = hierarchy_.ReadAllocation(group.directories);
  if (absl::IsInvalidArgument(result.status())) {
    return absl::InternalError(absl::StrCat("group ", group.name, ": ", result.status().message()));
  }
  return result;
}

absl::Status CgroupVmActuator::SetCpuCap(const ActuationPermit&, const VmTarget& vm,
                                         std::optional<double> cores) {
  if (cores.has_value() && !(std::isfinite(*cores) && *cores > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("cap of ", *cores, " cores; must be above 0"));
  }
  CS_ASSIGN_OR_RETURN(const Group group, FindGroup(vm));
  if (cores.has_value() && *cores > static_cast<double>(hierarchy_.cpu_count())) {
    return absl::OutOfRangeError(
        absl::StrCat("cap of ", *cores, " cores; the machine has ", hierarchy_.cpu_count()));
  }
  CS_ASSIGN_OR_RETURN(const std::optional<CpuQuota> now, hierarchy_.ReadQuota(group.directories));
  if (!now.has_value()) {
    return absl::UnimplementedError("the cgroup tree has no CPU quota");
  }
  CpuQuota wanted{.quota_us = std::nullopt, .period_us = now->period_us};
  if (cores.has_value()) {
    wanted = {.quota_us = QuotaFromCores(*cores, kPeriodUs), .period_us = kPeriodUs};
  }
  if (wanted == *now) {
    return absl::OkStatus();
  }
  const absl::Status status = WriteQuota(group, *now, wanted);
  if (absl::IsInvalidArgument(status)) {
    return ExplainQuotaRefusal(cores.value_or(0), status);
  }
  return status;
}

absl::Status CgroupVmActuator::WriteQuota(const Group& group, const CpuQuota& now,
                                          const CpuQuota& wanted) const {
  const Directory& directory = group.directories.cpu;
  const auto write = [&](const char* file, const std::string& text) {
    return FromWrite(group.name, file, WriteFile(directory, file, text));
  };
  const std::string quota =
      wanted.quota_us.has_value() ? absl::StrCat(*wanted.quota_us) : std::string("-1");
  if (hierarchy_.version() == CgroupVersion::kV2) {
    return write("cpu.max",
                 absl::StrCat(wanted.quota_us.has_value() ? quota : "max", " ", wanted.period_us));
  }
  if (wanted.period_us == now.period_us) {
    return write("cpu.cfs_quota_us", quota);
  }
  // Two files, so for a moment the cap is neither the old nor the new one. In this order it is the
  // lower of what it can be, which no group further up forbids.
  const std::string period = absl::StrCat(wanted.period_us);
  if (wanted.period_us > now.period_us) {
    CS_RETURN_IF_ERROR(write("cpu.cfs_period_us", period));
    return write("cpu.cfs_quota_us", quota);
  }
  CS_RETURN_IF_ERROR(write("cpu.cfs_quota_us", quota));
  return write("cpu.cfs_period_us", period);
}

absl::Status CgroupVmActuator::ExplainQuotaRefusal(double cores, const absl::Status& status) const {
  // Which of the groups further up allows less?
  std::string path = hierarchy_.options().parent_group;
  while (!path.empty()) {
    GroupDirectories ancestor;
    absl::StatusOr<Directory> directory =
        OpenDirectory(absl::StrCat(hierarchy_.trees()[0], "/", path));
    if (directory.ok()) {
      ancestor.cpu = *std::move(directory);
      const absl::StatusOr<std::optional<CpuQuota>> quota = hierarchy_.ReadQuota(ancestor);
      if (quota.ok() && quota->has_value()) {
        const std::optional<double> limit = (*quota)->cores();
        if (limit.has_value() && *limit < cores) {
          return absl::OutOfRangeError(
              absl::StrCat("cap of ", cores, " cores; parent group ", path, " has ", *limit));
        }
      }
    }
    const size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "" : path.substr(0, slash);
  }
  return absl::FailedPreconditionError(
      absl::StrCat(status.message(), " (a group inside has a greater quota or a burst is set)"));
}

absl::Status CgroupVmActuator::SetCpuWeight(const ActuationPermit&, const VmTarget& vm,
                                            int64_t weight) {
  if (weight < 1 || weight > 10000) {
    return absl::InvalidArgumentError(absl::StrCat("weight ", weight, "; must be 1 to 10000"));
  }
  CS_ASSIGN_OR_RETURN(const Group group, FindGroup(vm));
  CS_ASSIGN_OR_RETURN(const std::optional<int64_t> now, hierarchy_.ReadWeight(group.directories));
  if (!now.has_value()) {
    return absl::UnimplementedError("the cgroup tree has no CPU weight");
  }
  if (*now == weight) {
    return absl::OkStatus();
  }
  const bool is_v2 = hierarchy_.version() == CgroupVersion::kV2;
  const char* file = is_v2 ? "cpu.weight" : "cpu.shares";
  const absl::Status status =
      FromWrite(group.name, file,
                WriteFile(group.directories.cpu, file,
                          absl::StrCat(is_v2 ? weight : SharesFromWeight(weight))));
  if (absl::IsInvalidArgument(status)) {
    return absl::FailedPreconditionError(
        absl::StrCat(status.message(), " (is it a cpu.idle group?)"));
  }
  return status;
}

absl::Status CgroupVmActuator::CheckMemoryFits(const Group& group, int64_t bytes) const {
  CS_ASSIGN_OR_RETURN(const std::optional<MemoryUse> use,
                      hierarchy_.ReadMemoryUse(group.directories));
  if (use.has_value() && bytes < use->used_bytes) {
    return absl::FailedPreconditionError(absl::StrCat("memory limit of ", bytes, " bytes; group ",
                                                      group.name, " uses ", use->used_bytes,
                                                      " without cache"));
  }
  return absl::OkStatus();
}

absl::Status CgroupVmActuator::SetMemoryTarget(const ActuationPermit&, const VmTarget& vm,
                                               std::optional<int64_t> bytes) {
  if (bytes.has_value() && *bytes <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory limit of ", *bytes, " bytes; must be above 0"));
  }
  CS_ASSIGN_OR_RETURN(const Group group, FindGroup(vm));
  CS_ASSIGN_OR_RETURN(const std::optional<std::optional<int64_t>> now,
                      hierarchy_.ReadMemoryLimit(group.directories));
  if (!now.has_value()) {
    return absl::UnimplementedError("the cgroup tree has no memory limit");
  }
  const bool is_v2 = hierarchy_.version() == CgroupVersion::kV2;
  std::string text = is_v2 ? "max" : "-1";
  if (bytes.has_value()) {
    if (*bytes > hierarchy_.MemoryMaximum()) {
      return absl::OutOfRangeError(absl::StrCat(
          "memory limit of ", *bytes, " bytes; the machine has ", hierarchy_.MemoryMaximum()));
    }
    const int64_t page = sysconf(_SC_PAGESIZE);
    bytes = (*bytes + page - 1) / page * page;  // the kernel rounds down
    text = absl::StrCat(*bytes);
  }
  if (*now == bytes) {
    return absl::OkStatus();
  }
  if (bytes.has_value()) {
    CS_RETURN_IF_ERROR(CheckMemoryFits(group, *bytes));
  }
  const char* file = is_v2 ? "memory.max" : "memory.limit_in_bytes";
  const absl::Status status = FromWrite(
      group.name, file, WriteFile(*hierarchy_.MemoryDirectory(group.directories), file, text));
  if (absl::IsInvalidArgument(status)) {
    return absl::OutOfRangeError(
        absl::StrCat(status.message(), " (above the group's limit of memory and swap together?)"));
  }
  return status;
}

absl::Status CgroupVmActuator::SetVcpuCount(const ActuationPermit&, const VmTarget&, int64_t) {
  return absl::UnimplementedError("cgroups have no CPUs to plug");
}

}  // namespace cloudscale::hypervisor::cgroup
