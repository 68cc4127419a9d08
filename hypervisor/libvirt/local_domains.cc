#include "hypervisor/libvirt/local_domains.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/logging/log.h"
#include "hypervisor/cgroup/cgroup_files.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr size_t kMaxVcpuGroups = 512;

// A file below a directory that may not be there; empty when it cannot be read.
std::string ReadSmallFile(const std::string& directory, const std::string& name) {
  const absl::StatusOr<cgroup::Directory> opened = cgroup::OpenDirectory(directory);
  if (!opened.ok()) {
    return "";
  }
  absl::StatusOr<std::string> text = cgroup::ReadFile(*opened, name.c_str());
  return text.ok() ? *std::move(text) : "";
}

// The group of one controller in /proc/PID/cgroup ("4:cpu,cpuacct:/machine/…" or, v2, "0::/…").
std::optional<std::string> GroupOf(const std::string& text, absl::string_view controller) {
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) {
      continue;
    }
    const std::vector<absl::string_view> names = absl::StrSplit(parts[1], ',');
    const bool is_wanted = controller.empty()
                               ? parts[1].empty()
                               : std::find(names.begin(), names.end(), controller) != names.end();
    if (is_wanted && absl::StartsWith(parts[2], "/") && !absl::StrContains(parts[2], "/..")) {
      return std::string(parts[2]);
    }
  }
  return std::nullopt;
}

// The domain's own group: QEMU's main thread is in a group inside it.
std::string DomainGroup(std::string group) {
  for (const absl::string_view inner : {"/emulator", "/vcpu0"}) {
    if (absl::EndsWith(group, inner)) {
      group.resize(group.size() - inner.size());
    }
  }
  return group;
}

std::optional<absl::Duration> ThrottledTime(const cgroup::Directory& group) {
  const absl::StatusOr<std::string> text = cgroup::ReadFile(group, "cpu.stat");
  if (!text.ok()) {
    return std::nullopt;
  }
  const auto stat = cgroup::ParseFlatKeyed(*text);
  if (!stat.ok()) {
    return std::nullopt;
  }
  if (const auto it = stat->find("throttled_time"); it != stat->end()) {
    return absl::Nanoseconds(it->second);
  }
  if (const auto it = stat->find("throttled_usec"); it != stat->end()) {
    return absl::Microseconds(it->second);
  }
  return std::nullopt;
}

// Of a container's group.
std::optional<absl::Duration> CpuTime(const cgroup::GroupDirectories& group) {
  if (group.cpuacct.is_open()) {
    const absl::StatusOr<std::string> text = cgroup::ReadFile(group.cpuacct, "cpuacct.usage");
    const absl::StatusOr<int64_t> usage =
        text.ok() ? cgroup::ParseCount(*text) : absl::StatusOr<int64_t>(text.status());
    return usage.ok() ? std::make_optional(absl::Nanoseconds(*usage)) : std::nullopt;
  }
  const absl::StatusOr<std::string> text = cgroup::ReadFile(group.cpu, "cpu.stat");
  const auto stat = text.ok() ? cgroup::ParseFlatKeyed(*text)
                              : absl::StatusOr<std::map<std::string, int64_t>>(text.status());
  if (!stat.ok() || !stat->contains("usage_usec")) {
    return std::nullopt;
  }
  return absl::Microseconds(stat->at("usage_usec"));
}

}  // namespace

LocalDomains::LocalDomains(const LibvirtOptions& options, const Endpoint& endpoint)
    : options_(options), endpoint_(endpoint) {
  if (!endpoint_.is_local || endpoint_.driver == Driver::kXen) {
    return;
  }
  cgroup::CgroupOptions groups;
  groups.root = options_.cgroup_root;
  groups.proc_root = options_.proc_root;
  groups.parent_group = "machine";
  groups.host_id = options_.host_id;
  absl::StatusOr<cgroup::CgroupHierarchy> hierarchy = cgroup::CgroupHierarchy::Open(groups);
  if (hierarchy.ok()) {
    hierarchy_ = *std::move(hierarchy);
  } else {
    LogLine(LogLevel::kWarning, "libvirt_control_groups_unreadable")
        .Field("effect", "no weights, no throttled time")
        .Field("error", hierarchy.status());
  }
}

void LocalDomains::Refine(Capabilities& capabilities) const {
  if (endpoint_.driver == Driver::kXen) {
    return;
  }
  const bool knows_groups = hierarchy_.has_value();
  capabilities.cpu_weight = knows_groups;
  capabilities.throttled_time = knows_groups;
  capabilities.wait_time = knows_groups && endpoint_.driver == Driver::kQemu;
  capabilities.memory_pressure = knows_groups && endpoint_.driver == Driver::kLxc &&
                                 hierarchy_->version() == cgroup::CgroupVersion::kV2;
}

std::optional<cgroup::CgroupVersion> LocalDomains::version() const {
  return hierarchy_ ? std::make_optional(hierarchy_->version()) : std::nullopt;
}

std::optional<int64_t> LocalDomains::ProcessId(const std::string& name) const {
  if (!endpoint_.is_local || endpoint_.driver == Driver::kXen || absl::StrContains(name, "/")) {
    return std::nullopt;
  }
  const char* folder = endpoint_.driver == Driver::kQemu ? "/qemu" : "/lxc";
  const std::string text =
      ReadSmallFile(absl::StrCat(options_.run_directory, folder), absl::StrCat(name, ".pid"));
  int64_t pid = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &pid) || pid <= 0) {
    return std::nullopt;
  }
  return pid;
}

std::optional<std::string> LocalDomains::ProcessStart(int64_t pid) const {
  const std::string stat = ReadSmallFile(absl::StrCat(options_.proc_root, "/", pid), "stat");
  // The name in brackets may hold anything; what follows are numbers, the start time the 20th.
  const size_t bracket = stat.rfind(')');
  if (bracket == std::string::npos) {
    return std::nullopt;
  }
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(stat).substr(bracket + 1), ' ', absl::SkipEmpty());
  if (fields.size() < 20) {
    return std::nullopt;
  }
  return std::string(fields[19]);
}

void LocalDomains::OpenGroups(int64_t pid, Known& known) const {
  if (!hierarchy_) {
    return;
  }
  const std::string text = ReadSmallFile(absl::StrCat(options_.proc_root, "/", pid), "cgroup");
  const bool is_unified = hierarchy_->version() == cgroup::CgroupVersion::kV2;
  const auto open = [&](const char* controller) -> absl::StatusOr<cgroup::Directory> {
    const std::optional<std::string> group = GroupOf(text, is_unified ? "" : controller);
    if (!group) {
      return absl::NotFoundError("no such controller");
    }
    const std::string tree = is_unified ? "" : absl::StrCat("/", controller);
    return cgroup::OpenDirectory(absl::StrCat(options_.cgroup_root, tree, DomainGroup(*group)));
  };
  absl::StatusOr<cgroup::Directory> cpu = open("cpu");
  if (!cpu.ok()) {
    return;
  }
  if (!is_unified) {
    absl::StatusOr<cgroup::Directory> cpuacct = open("cpuacct");
    absl::StatusOr<cgroup::Directory> memory = open("memory");
    if (!cpuacct.ok() || !memory.ok()) {
      return;
    }
    known.group.cpuacct = *std::move(cpuacct);
    known.group.memory = *std::move(memory);
    known.group.cpuacct.KeepFilesOpen();
    known.group.memory.KeepFilesOpen();
  }
  const auto watch = [&](absl::StatusOr<cgroup::Directory> directory) {
    if (directory.ok()) {
      directory->KeepFilesOpen();
      known.throttling.push_back(*std::move(directory));
    }
  };
  watch(open("cpu"));
  // systemd's scope around the domain's group holds the quota where there is one.
  const std::string own = DomainGroup(GroupOf(text, is_unified ? "" : "cpu").value_or(""));
  const std::string tree = absl::StrCat(options_.cgroup_root, is_unified ? "" : "/cpu");
  if (const size_t slash = own.rfind('/'); absl::EndsWith(own.substr(0, slash), ".scope")) {
    watch(cgroup::OpenDirectory(absl::StrCat(tree, own.substr(0, slash))));
  }
  if (endpoint_.driver == Driver::kQemu) {
    const auto children = cgroup::ListDirectories(*cpu, kMaxVcpuGroups);
    for (const cgroup::DirectoryEntry& child :
         children.ok() ? *children : std::vector<cgroup::DirectoryEntry>()) {
      if (absl::StartsWith(child.name, "vcpu")) {
        watch(cgroup::OpenChildDirectory(*cpu, child.name));
      }
    }
  }
  known.group.cpu = *std::move(cpu);
  known.group.cpu.KeepFilesOpen();
  known.has_group = true;
}

std::string LocalDomains::Incarnation(const std::string& uuid, const std::string& name, int id) {
  if (const auto it = known_.find(uuid);
      it != known_.end() && it->second.id == id &&
      (!it->second.has_group || !cgroup::IsRemoved(it->second.group.cpu))) {
    return it->second.incarnation;
  }
  Known known;
  known.id = id;
  known.incarnation = absl::StrCat(id);
  if (const std::optional<int64_t> pid = ProcessId(name)) {
    if (const std::optional<std::string> start = ProcessStart(*pid)) {
      absl::StrAppend(&known.incarnation, "@", *start);
      OpenGroups(*pid, known);
    }
  }
  return (known_[uuid] = std::move(known)).incarnation;
}

LocalDomains::Measured LocalDomains::Measure(const std::string& uuid) {
  Measured measured;
  const auto it = known_.find(uuid);
  if (it == known_.end() || !it->second.has_group) {
    return measured;
  }
  const Known& known = it->second;
  for (const cgroup::Directory& group : known.throttling) {
    if (const std::optional<absl::Duration> time = ThrottledTime(group)) {
      measured.throttled_time = measured.throttled_time.value_or(absl::ZeroDuration()) + *time;
    }
  }
  if (endpoint_.driver == Driver::kLxc) {
    measured.cpu_time = CpuTime(known.group);
    if (const auto allocation = hierarchy_->ReadAllocation(known.group); allocation.ok()) {
      measured.allocation = *allocation;
    }
    if (const auto memory = hierarchy_->ReadMemoryUse(known.group); memory.ok()) {
      measured.memory = *memory;
    }
    if (hierarchy_->version() == cgroup::CgroupVersion::kV2) {
      if (const auto text = cgroup::ReadFile(known.group.cpu, "memory.pressure"); text.ok()) {
        if (const auto ratio = cgroup::ParsePressureSome(*text); ratio.ok()) {
          measured.memory_pressure_some_ratio = *ratio;
        }
      }
    }
  }
  return measured;
}

void LocalDomains::KeepOnly(const std::vector<std::string>& uuids) {
  std::erase_if(known_, [&](const auto& entry) {
    return !std::binary_search(uuids.begin(), uuids.end(), entry.first);
  });
}

}  // namespace cloudscale::hypervisor::libvirt
