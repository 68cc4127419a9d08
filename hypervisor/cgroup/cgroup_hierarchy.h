#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "hypervisor/cgroup/cgroup_files.h"
#include "hypervisor/cgroup/cgroup_options.h"
#include "hypervisor/cgroup/cgroup_parse.h"
#include "hypervisor/types.h"

namespace cloudscale::hypervisor::cgroup {

// Open directories of one group in each tree. In v2 only `cpu` is open and stands for all.
struct GroupDirectories {
  Directory cpu;
  Directory cpuacct;
  Directory memory;
};

// One VM.
struct Group {
  std::string name;
  std::string uuid;
  std::string incarnation;
  GroupDirectories directories;
};

// A group's memory now.
struct MemoryUse {
  int64_t current_bytes = 0;
  // Without file cache that has not been touched lately, which the kernel drops first.
  int64_t used_bytes = 0;
  // Since the group was made; absent where the kernel does not count them.
  std::optional<int64_t> swap_in_bytes;
  std::optional<int64_t> major_fault_count;
  std::optional<int64_t> oom_kill_count;
};

// Where the files of a group are and what they mean, for both versions. An empty optional means
// that this kernel or tree has no such file; NOT_FOUND that the group is gone; INVALID_ARGUMENT,
// naming file and text, that the content makes no sense. Thread safety: thread-compatible; const
// methods keep no state.
class CgroupHierarchy {
 public:
  // More VMs on a host are refused.
  static constexpr size_t kMaxGroups = 4096;
  // Extended attribute of a group's (cpu) directory that holds its UUID. Without it, or with
  // something else in it, the UUID is made from host id and group path.
  static constexpr const char* kUuidAttribute = "user.cloudscale.uuid";

  // INVALID_ARGUMENT with all faults of the options at once; UNAVAILABLE when there is no tree of
  // the wanted version.
  [[nodiscard]] static absl::StatusOr<CgroupHierarchy> Open(CgroupOptions options);

  [[nodiscard]] CgroupVersion version() const { return options_.version; }
  [[nodiscard]] const CgroupOptions& options() const { return options_; }
  [[nodiscard]] const Capabilities& capabilities() const { return capabilities_; }
  [[nodiscard]] const std::string& boot_id() const { return boot_id_; }
  [[nodiscard]] int64_t cpu_count() const { return cpu_count_; }

  // UNAVAILABLE when the parent group does not exist.
  [[nodiscard]] absl::StatusOr<GroupDirectories> OpenParent() const;
  [[nodiscard]] absl::StatusOr<Group> OpenGroup(const GroupDirectories& parent,
                                                const std::string& name) const;

  [[nodiscard]] absl::StatusOr<std::optional<CpuQuota>> ReadQuota(
      const GroupDirectories& group) const;
  [[nodiscard]] absl::StatusOr<std::optional<int64_t>> ReadWeight(
      const GroupDirectories& group) const;
  // The outer optional: no such file; the inner: no limit.
  [[nodiscard]] absl::StatusOr<std::optional<std::optional<int64_t>>> ReadMemoryLimit(
      const GroupDirectories& group) const;
  [[nodiscard]] absl::StatusOr<std::optional<MemoryUse>> ReadMemoryUse(
      const GroupDirectories& group) const;
  [[nodiscard]] absl::StatusOr<Allocation> ReadAllocation(const GroupDirectories& group) const;

  // What VMs may share, the parent group's own limits included.
  [[nodiscard]] absl::StatusOr<double> CpuCapacity(const GroupDirectories& parent) const;
  [[nodiscard]] absl::StatusOr<int64_t> MemoryCapacity(const GroupDirectories& parent) const;
  // The most a VM can be given: all that VMs may share, the parent's own limit aside.
  [[nodiscard]] int64_t MemoryMaximum() const;
  // Memory of the machine that is free or can be freed without swapping.
  [[nodiscard]] absl::StatusOr<int64_t> AvailableMemory() const;

  // The directory of memory files; nullptr without a memory tree.
  [[nodiscard]] const Directory* MemoryDirectory(const GroupDirectories& group) const;
  [[nodiscard]] const Directory& UsageDirectory(const GroupDirectories& group) const;
  // The trees a group is in, the one that decides on its existence first: v1 cpu, cpuacct and, when
  // there, memory.
  [[nodiscard]] const std::vector<std::string>& trees() const { return trees_; }

 private:
  explicit CgroupHierarchy(CgroupOptions options) : options_(std::move(options)) {}
  [[nodiscard]] absl::Status FindTrees();
  [[nodiscard]] absl::Status ReadMachine();
  [[nodiscard]] absl::Status ProbeCapabilities();
  [[nodiscard]] absl::StatusOr<std::optional<int64_t>> ReadOomKills(
      const Directory& directory) const;

  CgroupOptions options_;  // version is never kAuto
  std::vector<std::string> trees_;
  Capabilities capabilities_;
  std::string boot_id_;
  int64_t cpu_count_ = 0;
  int64_t machine_memory_bytes_ = 0;
  int64_t page_size_ = 4096;
};

// Adds the file's name in front of an error about its content.
[[nodiscard]] absl::Status InFile(absl::string_view file, const absl::Status& status);

// True when the error says that a file or directory is not there.
[[nodiscard]] bool IsMissing(const absl::Status& status);

}  // namespace cloudscale::hypervisor::cgroup
