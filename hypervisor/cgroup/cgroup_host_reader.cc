#include "hypervisor/cgroup/cgroup_host_reader.h"

#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

// Groups whose directories and files may stay open.
size_t MaxKeptGroups(size_t directories_each) {
  constexpr rlim_t kWanted = 65536;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return 0;
  }
  if (limit.rlim_cur < kWanted) {
    limit.rlim_cur = std::min(kWanted, limit.rlim_max);
    static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
    static_cast<void>(getrlimit(RLIMIT_NOFILE, &limit));
  }
  const auto files = std::min<rlim_t>(limit.rlim_cur, kWanted);
  return static_cast<size_t>(files) / 4 / (directories_each + Directory::kMaxKept);
}

std::optional<absl::Duration> Find(const std::map<std::string, int64_t>& stat, const char* key,
                                   absl::Duration unit) {
  const auto it = stat.find(key);
  if (it == stat.end()) {
    return std::nullopt;
  }
  return it->second * unit;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CgroupHostReader>> CgroupHostReader::Create(Clock& clock,
                                                                           CgroupOptions options) {
  CS_ASSIGN_OR_RETURN(CgroupHierarchy hierarchy, CgroupHierarchy::Open(std::move(options)));
  return std::unique_ptr<CgroupHostReader>(new CgroupHostReader(clock, std::move(hierarchy)));
}

CgroupHostReader::CgroupHostReader(Clock& clock, CgroupHierarchy hierarchy)
    : clock_(clock),
      hierarchy_(std::move(hierarchy)),
      max_kept_(MaxKeptGroups(hierarchy_.trees().size())) {}

absl::StatusOr<HostReading> CgroupHostReader::Read() {
  CS_ASSIGN_OR_RETURN(const GroupDirectories parent, hierarchy_.OpenParent());
  CS_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries,
                      ListDirectories(parent.cpu, CgroupHierarchy::kMaxGroups));
  HostReading reading;
  reading.host_id = hierarchy_.options().host_id;
  reading.boot_id = hierarchy_.boot_id();
  CS_ASSIGN_OR_RETURN(reading.cpu_capacity_cores, hierarchy_.CpuCapacity(parent));
  CS_ASSIGN_OR_RETURN(reading.memory_capacity_bytes, hierarchy_.MemoryCapacity(parent));
  CS_ASSIGN_OR_RETURN(reading.memory_free_bytes, hierarchy_.AvailableMemory());

  const absl::Time wall_start = clock_.WallNow();
  const MonoTime start = clock_.MonoNow();
  std::vector<Sampled> samples;
  samples.reserve(entries.size());
  for (const DirectoryEntry& entry : entries) {
    absl::StatusOr<Sampled> sample = Sample(parent, entry);
    if (sample.ok()) {
      samples.push_back(*std::move(sample));
    } else {
      NoteFailure(parent, entry.name, DefaultUuid(entry.name), sample.status(), reading);
    }
  }
  const absl::Duration half = (clock_.MonoNow() - start) / 2;
  reading.sample_time = wall_start + half;
  reading.monotonic_time = start + half;

  std::set<std::string> uuids;
  for (Sampled& sample : samples) {
    absl::Status status = ReadGauges(sample.known.group.directories, sample.vm);
    const std::string& uuid = sample.vm.uuid;
    if (status.ok() && !uuids.insert(uuid).second) {
      NoteFailure(
          parent, sample.vm.name, DefaultUuid(sample.vm.name),
          absl::AlreadyExistsError(absl::StrCat("another group has the same attribute ",
                                                CgroupHierarchy::kUuidAttribute, " ", uuid)),
          reading);
    } else if (status.ok()) {
      reading.vms.push_back(std::move(sample.vm));
    } else {
      NoteFailure(parent, sample.vm.name, uuid, status, reading);
    }
  }
  std::sort(reading.vms.begin(), reading.vms.end(),
            [](const VmReading& a, const VmReading& b) { return a.uuid < b.uuid; });
  Keep(std::move(samples));
  return reading;
}

absl::StatusOr<CgroupHostReader::Sampled> CgroupHostReader::Sample(const GroupDirectories& parent,
                                                                   const DirectoryEntry& entry) {
  Sampled sample;
  const auto sample_from = [&](KnownGroup known) {
    sample.vm.uuid = known.group.uuid;
    sample.vm.name = known.group.name;
    sample.vm.incarnation = known.group.incarnation;
    sample.known = std::move(known);
    return ReadCounters(sample.known.group.directories, sample.vm);
  };
  if (auto node = known_.extract(entry.name); !node.empty() && node.mapped().inode == entry.inode &&
                                              !IsRemoved(node.mapped().group.directories.cpu)) {
    const absl::Status status = sample_from(std::move(node.mapped()));
    if (!IsMissing(status)) {
      CS_RETURN_IF_ERROR(status);
      return sample;
    }
    // One of its directories was made again; look anew.
  }
  CS_ASSIGN_OR_RETURN(Group group, hierarchy_.OpenGroup(parent, entry.name));
  sample.vm = VmReading();
  CS_RETURN_IF_ERROR(sample_from(KnownGroup{entry.inode, std::move(group)}));
  return sample;
}

absl::Status CgroupHostReader::ReadCounters(const GroupDirectories& group, VmReading& vm) const {
  CS_ASSIGN_OR_RETURN(const std::string stat_text, ReadFile(group.cpu, "cpu.stat"));
  const absl::StatusOr<std::map<std::string, int64_t>> stat = ParseFlatKeyed(stat_text);
  if (!stat.ok()) {
    return InFile("cpu.stat", stat.status());
  }
  if (hierarchy_.version() == CgroupVersion::kV2) {
    vm.cpu_time = Find(*stat, "usage_usec", absl::Microseconds(1));
    vm.cpu_throttled_time = Find(*stat, "throttled_usec", absl::Microseconds(1));
    if (!vm.cpu_time.has_value()) {
      return absl::InvalidArgumentError("cpu.stat: no usage_usec");
    }
    return absl::OkStatus();
  }
  CS_ASSIGN_OR_RETURN(const std::string usage_text, ReadFile(group.cpuacct, "cpuacct.usage"));
  const absl::StatusOr<int64_t> usage = ParseCount(usage_text);
  if (!usage.ok()) {
    return InFile("cpuacct.usage", usage.status());
  }
  vm.cpu_time = absl::Nanoseconds(*usage);
  vm.cpu_throttled_time = Find(*stat, "throttled_time", absl::Nanoseconds(1));
  vm.cpu_wait_time = Find(*stat, "wait_sum", absl::Nanoseconds(1));
  return absl::OkStatus();
}

absl::Status CgroupHostReader::ReadGauges(const GroupDirectories& group, VmReading& vm) const {
  vm.state = VmState::kRunning;
  vm.vcpu_count = hierarchy_.cpu_count();
  CS_ASSIGN_OR_RETURN(vm.allocation, hierarchy_.ReadAllocation(group));
  CS_ASSIGN_OR_RETURN(const std::optional<MemoryUse> memory, hierarchy_.ReadMemoryUse(group));
  if (memory.has_value()) {
    vm.memory_current_bytes = memory->current_bytes;
    vm.memory_used_bytes = memory->used_bytes;
    vm.memory_swap_in_bytes = memory->swap_in_bytes;
    vm.memory_major_fault_count = memory->major_fault_count;
    vm.memory_oom_kill_count = memory->oom_kill_count;
    vm.memory_maximum_bytes = hierarchy_.MemoryMaximum();
  }
  if (hierarchy_.version() != CgroupVersion::kV2) {
    return absl::OkStatus();
  }
  const absl::StatusOr<std::string> pressure = ReadFile(group.cpu, "memory.pressure");
  if (pressure.ok()) {
    const absl::StatusOr<double> ratio = ParsePressureSome(*pressure);
    if (!ratio.ok()) {
      return InFile("memory.pressure", ratio.status());
    }
    vm.memory_pressure_some_ratio = *ratio;
  } else if (!IsMissing(pressure.status()) && !absl::IsUnimplemented(pressure.status())) {
    return pressure.status();  // EOPNOTSUPP: built in but switched off
  }
  CS_ASSIGN_OR_RETURN(const std::string events_text, ReadFile(group.cpu, "cgroup.events"));
  const absl::StatusOr<std::map<std::string, int64_t>> events = ParseFlatKeyed(events_text);
  if (!events.ok()) {
    return InFile("cgroup.events", events.status());
  }
  if (const auto frozen = events->find("frozen"); frozen != events->end() && frozen->second != 0) {
    vm.state = VmState::kPaused;
  }
  return absl::OkStatus();
}

void CgroupHostReader::NoteFailure(const GroupDirectories& parent, const std::string& name,
                                   const std::string& uuid, const absl::Status& status,
                                   HostReading& reading) const {
  if (IsMissing(status) && IsMissing(OpenChildDirectory(parent.cpu, name).status())) {
    return;  // it went away meanwhile
  }
  reading.unreadable[uuid] = absl::StrCat("group ", name, ": ", status.message());
}

void CgroupHostReader::Keep(std::vector<Sampled> samples) {
  known_.clear();
  for (Sampled& sample : samples) {
    if (known_.size() == max_kept_) {
      break;
    }
    std::string name = sample.known.group.name;
    GroupDirectories& directories = sample.known.group.directories;
    for (Directory* directory : {&directories.cpu, &directories.cpuacct, &directories.memory}) {
      directory->KeepFilesOpen();
    }
    known_.emplace(std::move(name), std::move(sample.known));
  }
}

std::string CgroupHostReader::DefaultUuid(const std::string& name) const {
  return UuidFromName(hierarchy_.options().host_id,
                      absl::StrCat(hierarchy_.options().parent_group, "/", name));
}

}  // namespace cloudscale::hypervisor::cgroup
