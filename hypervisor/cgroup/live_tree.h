#pragma once

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "common/time/clock.h"
#include "hypervisor/cgroup/cgroup_tree.h"

namespace cloudscale::hypervisor::cgroup {

// Options for the machine's own cgroups under a parent that no other test run has.
[[nodiscard]] inline CgroupOptions LiveOptions() {
  static int count = 0;
  CgroupOptions options;
  options.parent_group = absl::StrCat("cloudscale-test-", getpid(), "-", ++count);
  options.host_id = "test-host";
  return options;
}

// A tree that tests can cap processes in; UNAVAILABLE with the reason where the machine cannot, so
// that the test is skipped and says why.
[[nodiscard]] inline absl::StatusOr<std::unique_ptr<CgroupTree>> MakeLiveTree(Clock& clock) {
  absl::StatusOr<std::unique_ptr<CgroupTree>> tree = CgroupTree::Create(clock, LiveOptions());
  if (!tree.ok()) {
    return absl::UnavailableError(
        absl::StrCat("no writable cgroup tree: ", tree.status().message()));
  }
  const CgroupHierarchy& hierarchy = (*tree)->hierarchy();
  if (!hierarchy.capabilities().cpu_cap) {
    return absl::UnavailableError("the cgroup tree has no CPU controller with quota");
  }
  // Other work on the machine must not disturb what is measured: the highest weight there is.
  CS_ASSIGN_OR_RETURN(const GroupDirectories parent, hierarchy.OpenParent());
  const bool is_v2 = hierarchy.version() == CgroupVersion::kV2;
  CS_RETURN_IF_ERROR(
      WriteFile(parent.cpu, is_v2 ? "cpu.weight" : "cpu.shares", is_v2 ? "10000" : "262144"));
  return tree;
}

}  // namespace cloudscale::hypervisor::cgroup
