#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/time/clock.h"
#include "hypervisor/cgroup/cgroup_hierarchy.h"
#include "hypervisor/cgroup/cgroup_options.h"
#include "hypervisor/host_reader.h"

namespace cloudscale::hypervisor::cgroup {

// Reads groups of real processes as VMs: each child of the parent group is one.
//
// What the numbers are:
//   cpu_time            cpuacct.usage (v1, ns) or usage_usec of cpu.stat (v2).
//   cpu_throttled_time  throttled_time (v1, ns) or throttled_usec (v2) of cpu.stat. The kernel adds
//                       up, CPU by CPU, the time for which the group's run queue of that CPU was
//                       held back, however many threads waited in it. Two threads held back on one
//                       CPU for 1 s count 1 s, on two CPUs 2 s. A CPU without a runnable thread of
//                       the group counts nothing. Time still running is added when it ends.
//   cpu_wait_time       wait_sum of cpu.stat, v1 kernels with scheduler statistics only; else
//                       absent. Being throttled is no part of it.
//   memory_used_bytes   current use without the file cache that was not touched lately.
//   memory_swap_in_bytes, memory_major_fault_count, memory_oom_kill_count
//                       workingset_refault_anon (in pages) and pgmajfault of memory.stat; oom_kill
//                       of memory.events (v2) or, for the group alone, memory.oom_control (v1).
//                       Absent where the kernel does not count them.
//   allocation          quota / period as cores; shares or weight on our scale; memory limit.
// State is kPaused for a frozen group (v2 only), else kRunning: a group without processes is an
// idle VM. `vcpu_count` is the number of the machine's CPUs, network and disk are absent.
//
// The counters of all VMs are read in one pass, before everything else; `sample_time` is its
// middle. `incarnation` changes when a group is made again under the same name.
//
// Errors: UNAVAILABLE when the parent group is not there. A group that goes away meanwhile is left
// out; one that is there but has broken or missing files is in `unreadable` with file name and
// text. At most `CgroupHierarchy::kMaxGroups` groups, else RESOURCE_EXHAUSTED. Directories and
// files stay open between readings, up to a quarter of the process's limit of open files, which
// `Create` raises to 65536 or as far as is allowed.
// Thread safety: confined to one thread at a time.
class CgroupHostReader final : public HostReader {
 public:
  // `clock` is not owned. Errors as `CgroupHierarchy::Open`. The parent group may come later.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CgroupHostReader>> Create(
      Clock& clock, CgroupOptions options);

  [[nodiscard]] Capabilities capabilities() const override { return hierarchy_.capabilities(); }
  absl::StatusOr<HostReading> Read() override;

 private:
  struct KnownGroup {
    uint64_t inode = 0;
    Group group;
  };
  struct Sampled {
    KnownGroup known;
    VmReading vm;
  };
  CgroupHostReader(Clock& clock, CgroupHierarchy hierarchy);

  [[nodiscard]] absl::Status ReadCounters(const GroupDirectories& group, VmReading& vm) const;
  [[nodiscard]] absl::Status ReadGauges(const GroupDirectories& group, VmReading& vm) const;
  [[nodiscard]] absl::StatusOr<Sampled> Sample(const GroupDirectories& parent,
                                               const DirectoryEntry& entry);
  void NoteFailure(const GroupDirectories& parent, const std::string& name, const std::string& uuid,
                   const absl::Status& status, HostReading& reading) const;
  void Keep(std::vector<Sampled> samples);
  [[nodiscard]] std::string DefaultUuid(const std::string& name) const;

  Clock& clock_;
  const CgroupHierarchy hierarchy_;
  const size_t max_kept_;
  std::map<std::string, KnownGroup> known_;  // by name
};

}  // namespace cloudscale::hypervisor::cgroup
