#include "hypervisor/cgroup/cgroup_hierarchy.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

// nullopt when there is no such file.
absl::StatusOr<std::optional<std::string>> ReadIfThere(const Directory& directory,
                                                       const char* name) {
  absl::StatusOr<std::string> text = ReadFile(directory, name);
  if (!text.ok()) {
    if (IsMissing(text.status())) {
      return std::nullopt;
    }
    return text.status();
  }
  return *std::move(text);
}

bool IsPlainPath(absl::string_view path) {
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
  }
  return true;
}

absl::Status ValidateOptions(const CgroupOptions& options) {
  Violations violations;
  RequireNotEmpty(violations, "root", options.root);
  RequireNotEmpty(violations, "host_id", options.host_id);
  if (!IsPlainPath(options.parent_group)) {
    violations.Add("parent_group", options.parent_group,
                   "names separated by \"/\", relative, without \"..\"");
  }
  if (options.cpu_count.has_value()) {
    RequireInRange(violations, "cpu_count", static_cast<double>(*options.cpu_count), 1, 65536);
  }
  if (options.cpu_capacity_cores.has_value()) {
    RequirePositive(violations, "cpu_capacity_cores", *options.cpu_capacity_cores);
  }
  if (options.memory_capacity_bytes.has_value()) {
    RequirePositive(violations, "memory_capacity_bytes",
                    static_cast<double>(*options.memory_capacity_bytes));
  }
  return violations.ToStatus();
}

// One line of /proc/meminfo, in bytes.
absl::StatusOr<int64_t> MeminfoBytes(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::ConsumePrefix(&line, key) && absl::ConsumePrefix(&line, ":")) {
      absl::ConsumeSuffix(&line, " kB");
      CS_ASSIGN_OR_RETURN(const int64_t kib, ParseCount(line));
      return kib * 1024;
    }
  }
  return absl::UnavailableError(absl::StrCat("meminfo has no ", key));
}

}  // namespace

absl::Status InFile(absl::string_view file, const absl::Status& status) {
  return WithContext(file, status);
}

bool IsMissing(const absl::Status& status) { return absl::IsNotFound(status); }

absl::StatusOr<CgroupHierarchy> CgroupHierarchy::Open(CgroupOptions options) {
  CS_RETURN_IF_ERROR(ValidateOptions(options));
  CgroupHierarchy result(std::move(options));
  CS_RETURN_IF_ERROR(result.FindTrees());
  CS_RETURN_IF_ERROR(result.ReadMachine());
  CS_RETURN_IF_ERROR(result.ProbeCapabilities());
  return result;
}

absl::Status CgroupHierarchy::FindTrees() {
  const auto exists = [&](absl::string_view name) {
    return access(absl::StrCat(options_.root, "/", name).c_str(), R_OK) == 0;
  };
  if (options_.version == CgroupVersion::kAuto) {
    options_.version = exists("cgroup.controllers") ? CgroupVersion::kV2 : CgroupVersion::kV1;
  }
  if (options_.version == CgroupVersion::kV2) {
    if (!exists("cgroup.controllers")) {
      return absl::UnavailableError(
          absl::StrCat("no cgroup v2 tree at ", options_.root, ": no cgroup.controllers"));
    }
    trees_ = {options_.root};
    return absl::OkStatus();
  }
  for (const char* controller : {"cpu", "cpuacct"}) {
    if (!exists(controller)) {
      return absl::UnavailableError(absl::StrCat("no cgroup v1 tree of controller ", controller,
                                                 " at ", options_.root, "/", controller));
    }
    trees_.push_back(absl::StrCat(options_.root, "/", controller));
  }
  if (exists("memory")) {
    trees_.push_back(absl::StrCat(options_.root, "/memory"));
  }
  return absl::OkStatus();
}

absl::Status CgroupHierarchy::ReadMachine() {
  CS_ASSIGN_OR_RETURN(const Directory proc, OpenDirectory(options_.proc_root));
  CS_ASSIGN_OR_RETURN(const std::string boot_id, ReadFile(proc, "sys/kernel/random/boot_id"));
  boot_id_ = std::string(absl::StripAsciiWhitespace(boot_id));
  if (!IsUuid(boot_id_)) {
    return absl::UnavailableError("boot_id is not a UUID");
  }
  CS_ASSIGN_OR_RETURN(const std::string meminfo, ReadFile(proc, "meminfo"));
  CS_ASSIGN_OR_RETURN(machine_memory_bytes_, MeminfoBytes(meminfo, "MemTotal"));
  page_size_ = sysconf(_SC_PAGESIZE);
  cpu_count_ = options_.cpu_count.value_or(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  return absl::OkStatus();
}

absl::Status CgroupHierarchy::ProbeCapabilities() {
  const bool is_v2 = version() == CgroupVersion::kV2;
  capabilities_.backend = is_v2 ? "cgroup-v2" : "cgroup-v1";
  capabilities_.cpu_cap_granularity_cores = 1e-5;  // a microsecond of 100 ms
  capabilities_.cpu_cap_min_cores = 0.01;          // the kernel's least quota is 1 ms
  const auto probe = [&](const std::string& tree, const char* file) {
    for (const std::string& group : {absl::StrCat(tree, "/", options_.parent_group), tree}) {
      if (access(absl::StrCat(group, "/", file).c_str(), F_OK) == 0) {
        return group;
      }
    }
    return std::string();
  };
  if (!is_v2) {
    capabilities_.cpu_cap = !probe(trees_[0], "cpu.cfs_quota_us").empty();
    capabilities_.cpu_weight = !probe(trees_[0], "cpu.shares").empty();
    capabilities_.memory_target = trees_.size() > 2;
    capabilities_.throttled_time = capabilities_.cpu_cap;
    const std::string group = probe(trees_[0], "cpu.stat");
    if (!group.empty()) {
      CS_ASSIGN_OR_RETURN(const Directory directory, OpenDirectory(group));
      const absl::StatusOr<std::string> text = ReadFile(directory, "cpu.stat");
      capabilities_.wait_time = text.ok() && absl::StrContains(*text, "wait_sum ");
    }
    return absl::OkStatus();
  }
  CS_ASSIGN_OR_RETURN(const Directory directory,
                      OpenDirectory(probe(trees_[0], "cgroup.controllers")));
  CS_ASSIGN_OR_RETURN(const std::string text, ReadFile(directory, "cgroup.controllers"));
  for (absl::string_view controller : absl::StrSplit(absl::StripAsciiWhitespace(text), ' ')) {
    if (controller == "cpu") {
      capabilities_.cpu_cap = capabilities_.cpu_weight = capabilities_.throttled_time = true;
    } else if (controller == "memory") {
      capabilities_.memory_target = true;
    }
  }
  capabilities_.memory_pressure = !probe(trees_[0], "memory.pressure").empty() ||
                                  !probe(options_.proc_root, "pressure/memory").empty();
  return absl::OkStatus();
}

absl::StatusOr<GroupDirectories> CgroupHierarchy::OpenParent() const {
  GroupDirectories result;
  Directory* const places[] = {&result.cpu, &result.cpuacct, &result.memory};
  for (size_t i = 0; i < std::min(trees_.size(), std::size(places)); ++i) {
    absl::StatusOr<Directory> directory =
        OpenDirectory(absl::StrCat(trees_[i], "/", options_.parent_group));
    if (!directory.ok()) {
      return absl::UnavailableError(absl::StrCat("parent group: ", directory.status().message()));
    }
    *places[i] = *std::move(directory);
  }
  return result;
}

absl::StatusOr<Group> CgroupHierarchy::OpenGroup(const GroupDirectories& parent,
                                                 const std::string& name) const {
  Group group;
  group.name = name;
  group.incarnation = boot_id_.substr(0, 8);
  const auto open = [&](const Directory& from, Directory* to) {
    CS_ASSIGN_OR_RETURN(*to, OpenChildDirectory(from, name));
    CS_ASSIGN_OR_RETURN(const std::string stamp, DirectoryStamp(*to));
    absl::StrAppend(&group.incarnation, "/", stamp);
    return absl::OkStatus();
  };
  CS_RETURN_IF_ERROR(WithContext("cpu tree", open(parent.cpu, &group.directories.cpu)));
  if (parent.cpuacct.is_open()) {
    CS_RETURN_IF_ERROR(
        WithContext("cpuacct tree", open(parent.cpuacct, &group.directories.cpuacct)));
  }
  if (parent.memory.is_open()) {
    CS_RETURN_IF_ERROR(WithContext("memory tree", open(parent.memory, &group.directories.memory)));
  }
  const std::optional<std::string> attribute = ReadAttribute(group.directories.cpu, kUuidAttribute);
  group.uuid = attribute.has_value() && IsUuid(*attribute)
                   ? absl::AsciiStrToLower(*attribute)
                   : UuidFromName(options_.host_id, absl::StrCat(options_.parent_group, "/", name));
  return group;
}

const Directory& CgroupHierarchy::UsageDirectory(const GroupDirectories& group) const {
  return version() == CgroupVersion::kV2 ? group.cpu : group.cpuacct;
}

const Directory* CgroupHierarchy::MemoryDirectory(const GroupDirectories& group) const {
  if (version() == CgroupVersion::kV2) {
    return &group.cpu;
  }
  return group.memory.is_open() ? &group.memory : nullptr;
}

absl::StatusOr<std::optional<CpuQuota>> CgroupHierarchy::ReadQuota(
    const GroupDirectories& group) const {
  const bool is_v2 = version() == CgroupVersion::kV2;
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> text,
                      ReadIfThere(group.cpu, is_v2 ? "cpu.max" : "cpu.cfs_quota_us"));
  if (!text.has_value()) {
    return std::nullopt;
  }
  absl::StatusOr<CpuQuota> quota;
  if (is_v2) {
    quota = ParseCpuMax(*text);
  } else {
    CS_ASSIGN_OR_RETURN(const std::string period, ReadFile(group.cpu, "cpu.cfs_period_us"));
    quota = ParseCfsQuota(*text, period);
  }
  if (!quota.ok()) {
    return InFile(is_v2 ? "cpu.max" : "cpu.cfs_quota_us, cpu.cfs_period_us", quota.status());
  }
  return *quota;
}

absl::StatusOr<std::optional<int64_t>> CgroupHierarchy::ReadWeight(
    const GroupDirectories& group) const {
  const bool is_v2 = version() == CgroupVersion::kV2;
  const char* file = is_v2 ? "cpu.weight" : "cpu.shares";
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(group.cpu, file));
  if (!text.has_value()) {
    return std::nullopt;
  }
  const absl::StatusOr<int64_t> value = ParseCount(*text);
  if (!value.ok()) {
    return InFile(file, value.status());
  }
  // A group set to cpu.idle shows weight 0; the least weight says the same.
  return is_v2 ? std::clamp<int64_t>(*value, 1, 10000) : WeightFromShares(*value);
}

absl::StatusOr<std::optional<std::optional<int64_t>>> CgroupHierarchy::ReadMemoryLimit(
    const GroupDirectories& group) const {
  using Result = std::optional<std::optional<int64_t>>;
  const Directory* directory = MemoryDirectory(group);
  if (directory == nullptr) {
    return Result();
  }
  const char* file = version() == CgroupVersion::kV2 ? "memory.max" : "memory.limit_in_bytes";
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(*directory, file));
  if (!text.has_value()) {
    return Result();
  }
  const absl::StatusOr<std::optional<int64_t>> limit = ParseLimit(*text);
  if (!limit.ok()) {
    return InFile(file, limit.status());
  }
  return Result(*limit);
}

absl::StatusOr<std::optional<MemoryUse>> CgroupHierarchy::ReadMemoryUse(
    const GroupDirectories& group) const {
  const Directory* directory = MemoryDirectory(group);
  if (directory == nullptr) {
    return std::nullopt;
  }
  const bool is_v2 = version() == CgroupVersion::kV2;
  const char* file = is_v2 ? "memory.current" : "memory.usage_in_bytes";
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(*directory, file));
  if (!text.has_value()) {
    return std::nullopt;
  }
  const absl::StatusOr<int64_t> current = ParseCount(*text);
  if (!current.ok()) {
    return InFile(file, current.status());
  }
  CS_ASSIGN_OR_RETURN(const std::string stat_text, ReadFile(*directory, "memory.stat"));
  const absl::StatusOr<std::map<std::string, int64_t>> stat = ParseFlatKeyed(stat_text);
  if (!stat.ok()) {
    return InFile("memory.stat", stat.status());
  }
  // v1 counts the group alone under the plain name and its children too under total_.
  const auto cache = stat->find(is_v2 ? "inactive_file" : "total_inactive_file");
  const int64_t cache_bytes = cache == stat->end() ? 0 : cache->second;
  MemoryUse use;
  use.current_bytes = *current;
  use.used_bytes = std::max<int64_t>(0, *current - cache_bytes);
  const auto count = [&](absl::string_view key) -> std::optional<int64_t> {
    const auto entry = stat->find(is_v2 ? std::string(key) : absl::StrCat("total_", key));
    return entry == stat->end() ? std::nullopt : std::make_optional(entry->second);
  };
  use.major_fault_count = count("pgmajfault");
  // Pages that were swapped out and then wanted again.
  if (const std::optional<int64_t> pages = count("workingset_refault_anon")) {
    use.swap_in_bytes = *pages * page_size_;
  }
  CS_ASSIGN_OR_RETURN(use.oom_kill_count, ReadOomKills(*directory));
  return use;
}

absl::StatusOr<std::optional<int64_t>> CgroupHierarchy::ReadOomKills(
    const Directory& directory) const {
  const char* file = version() == CgroupVersion::kV2 ? "memory.events" : "memory.oom_control";
  CS_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(directory, file));
  if (!text.has_value()) {
    return std::nullopt;
  }
  const absl::StatusOr<std::map<std::string, int64_t>> events = ParseFlatKeyed(*text);
  if (!events.ok()) {
    return InFile(file, events.status());
  }
  const auto kills = events->find("oom_kill");
  return kills == events->end() ? std::nullopt : std::make_optional(kills->second);
}

absl::StatusOr<Allocation> CgroupHierarchy::ReadAllocation(const GroupDirectories& group) const {
  Allocation result;
  CS_ASSIGN_OR_RETURN(const std::optional<CpuQuota> quota, ReadQuota(group));
  if (!quota.has_value() && capabilities_.cpu_cap) {
    // "No file" must never look like "no cap".
    return absl::NotFoundError("no CPU quota file");
  }
  if (quota.has_value()) {
    result.cpu_cap_cores = quota->cores();
  }
  CS_ASSIGN_OR_RETURN(result.cpu_weight, ReadWeight(group));
  CS_ASSIGN_OR_RETURN(const std::optional<std::optional<int64_t>> limit, ReadMemoryLimit(group));
  if (!limit.has_value() && capabilities_.memory_target) {
    return absl::NotFoundError("no memory limit file");
  }
  result.memory_target_bytes = limit.value_or(std::nullopt);
  if (result.memory_target_bytes >= MemoryMaximum()) {
    result.memory_target_bytes = std::nullopt;
  }
  return result;
}

absl::StatusOr<double> CgroupHierarchy::CpuCapacity(const GroupDirectories& parent) const {
  double capacity = options_.cpu_capacity_cores.value_or(static_cast<double>(cpu_count_));
  CS_ASSIGN_OR_RETURN(const std::optional<CpuQuota> quota, ReadQuota(parent));
  if (quota.has_value() && quota->cores().has_value()) {
    capacity = std::min(capacity, *quota->cores());
  }
  return capacity;
}

absl::StatusOr<int64_t> CgroupHierarchy::MemoryCapacity(const GroupDirectories& parent) const {
  int64_t capacity = MemoryMaximum();
  CS_ASSIGN_OR_RETURN(const std::optional<std::optional<int64_t>> limit, ReadMemoryLimit(parent));
  if (limit.has_value() && limit->has_value()) {
    capacity = std::min(capacity, **limit);
  }
  return capacity;
}

int64_t CgroupHierarchy::MemoryMaximum() const {
  return options_.memory_capacity_bytes.value_or(machine_memory_bytes_);
}

absl::StatusOr<int64_t> CgroupHierarchy::AvailableMemory() const {
  CS_ASSIGN_OR_RETURN(const Directory proc, OpenDirectory(options_.proc_root));
  CS_ASSIGN_OR_RETURN(const std::string meminfo, ReadFile(proc, "meminfo"));
  return MeminfoBytes(meminfo, "MemAvailable");
}

}  // namespace cloudscale::hypervisor::cgroup
