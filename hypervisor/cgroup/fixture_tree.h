#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/testing/temp_dir.h"
#include "hypervisor/cgroup/cgroup_options.h"

namespace cloudscale::hypervisor::cgroup {

// cgroup trees of ordinary files in a directory of their own, as captured from Linux 6.18 (v1) and
// written after the kernel's cgroup-v2 documentation (v2). Tests only.
class FixtureTree {
 public:
  explicit FixtureTree(CgroupVersion version) : version_(version) {
    dir_.Write("proc/sys/kernel/random/boot_id", "0af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11\n");
    dir_.Write("proc/meminfo",
               "MemTotal:       24684100 kB\nMemFree:        24303348 kB\n"
               "MemAvailable:   20000000 kB\n");
    if (version == CgroupVersion::kV2) {
      dir_.Write("cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
      dir_.Write("cgroup/vms/cgroup.controllers", "cpu memory\n");
      dir_.Write("cgroup/vms/cpu.max", "max 100000\n");
      dir_.Write("cgroup/vms/memory.max", "max\n");
      dir_.Write("cgroup/vms/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    } else {
      dir_.Write("cgroup/cpu/vms/cpu.cfs_quota_us", "-1\n");
      dir_.Write("cgroup/cpu/vms/cpu.cfs_period_us", "100000\n");
      dir_.Write("cgroup/cpu/vms/cpu.shares", "1024\n");
      dir_.Write("cgroup/cpu/vms/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n");
      dir_.Write("cgroup/cpuacct/vms/cpuacct.usage", "0\n");
      dir_.Write("cgroup/memory/vms/memory.limit_in_bytes", "9223372036854771712\n");
    }
  }

  // A group with everything a kernel of the version shows.
  void AddGroup(const std::string& name) const {
    if (version_ == CgroupVersion::kV2) {
      Write(name, "cpu.stat",
            "usage_usec 7500000\nuser_usec 7000000\nsystem_usec 500000\nnice_usec 0\n"
            "nr_periods 100\nnr_throttled 40\nthrottled_usec 1250000\nnr_bursts 0\nburst_usec 0\n");
      Write(name, "cpu.max", "150000 100000\n");
      Write(name, "cpu.weight", "200\n");
      Write(name, "memory.current", "209715200\n");
      Write(name, "memory.max", "536870912\n");
      Write(name, "memory.stat",
            "anon 104857600\nfile 94371840\ninactive_file 83886080\n"
            "workingset_refault_anon 3\npgmajfault 7\n");
      Write(name, "memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\n");
      Write(name, "memory.pressure",
            "some avg10=2.50 avg60=0.07 avg300=0.07 total=2743199\n"
            "full avg10=1.00 avg60=0.07 avg300=0.06 total=2550198\n");
      Write(name, "cgroup.events", "populated 1\nfrozen 0\n");
      return;
    }
    Write(
        name, "cpu.stat",
        "nr_periods 100\nnr_throttled 40\nthrottled_time 1250000000\nnr_bursts 0\nburst_time 0\n");
    Write(name, "cpu.cfs_quota_us", "150000\n");
    Write(name, "cpu.cfs_period_us", "100000\n");
    Write(name, "cpu.shares", "2048\n");
    Write(name, "cpuacct.usage", "7500000000\n");
    Write(name, "memory.usage_in_bytes", "209715200\n");
    Write(name, "memory.limit_in_bytes", "536870912\n");
    Write(name, "memory.stat",
          "cache 94371840\nrss 104857600\ninactive_file 1048576\n"
          "hierarchical_memory_limit 9223372036854771712\ntotal_cache 94371840\n"
          "total_rss 104857600\ntotal_inactive_file 83886080\n"
          "total_workingset_refault_anon 3\npgmajfault 1\ntotal_pgmajfault 7\n");
    Write(name, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  }

  // `group` may be empty: the parent's own file.
  void Write(const std::string& group, const std::string& file, absl::string_view text) const {
    dir_.Write(Relative(group, file), text);
  }
  [[nodiscard]] std::string Read(const std::string& group, const std::string& file) const {
    std::ifstream in(dir_.File(Relative(group, file)));
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  void RemoveFile(const std::string& group, const std::string& file) const {
    std::filesystem::remove(dir_.File(Relative(group, file)));
  }
  void RemoveGroup(const std::string& name) const {
    for (const char* tree : {"cpu/", "cpuacct/", "memory/", ""}) {
      std::filesystem::remove_all(dir_.File(absl::StrCat("cgroup/", tree, "vms/", name)));
    }
  }
  [[nodiscard]] std::string Path(const std::string& relative) const { return dir_.File(relative); }

  [[nodiscard]] CgroupOptions Options() const {
    CgroupOptions options;
    options.root = dir_.File("cgroup");
    options.proc_root = dir_.File("proc");
    options.parent_group = "vms";
    options.host_id = "host-1";
    options.cpu_count = 4;
    return options;
  }

 private:
  [[nodiscard]] std::string Relative(const std::string& group, const std::string& file) const {
    std::string tree;
    if (version_ == CgroupVersion::kV1) {
      tree = absl::StrCat(file.substr(0, file.find('.')), "/");
    }
    return absl::StrCat("cgroup/", tree, "vms/", group, group.empty() ? "" : "/", file);
  }

  const CgroupVersion version_;
  const testing::TempDir dir_;
};

}  // namespace cloudscale::hypervisor::cgroup
