#pragma once

#include <sys/types.h>

#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/cgroup/cgroup_hierarchy.h"
#include "hypervisor/cgroup/cgroup_options.h"

namespace cloudscale::hypervisor::cgroup {

// Makes a parent group with groups in it and puts processes there: the set-up side of the backend,
// for demos and tests. Removes what it made when it goes out of scope. Needs root (or a delegated
// tree). Thread safety: confined to one thread at a time.
class CgroupTree {
 public:
  // Makes the parent group, in all trees, unless it is there already (then it is left at the end,
  // as are the groups above it).
  // v2: turns on cpu and memory for the children, as far as the tree has them. `clock` times the
  // wait in `Remove`; not owned. PERMISSION_DENIED when the trees are not writable; otherwise as
  // `CgroupHierarchy::Open`.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<CgroupTree>> Create(Clock& clock,
                                                                          CgroupOptions options);
  ~CgroupTree();
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;

  // ALREADY_EXISTS when there is such a group. INVALID_ARGUMENT for a name with "/" and the like.
  [[nodiscard]] absl::StatusOr<Group> CreateGroup(const std::string& name);
  // Moves the process with all its threads. NOT_FOUND: no such group or process.
  [[nodiscard]] absl::Status Attach(const std::string& name, pid_t pid);
  // Removes a group; processes still in it are killed first. OK when there is none. Waits up to 2 s
  // for the kernel to let go of them, then FAILED_PRECONDITION.
  [[nodiscard]] absl::Status RemoveGroup(const std::string& name);
  // Removes all groups that this object made, and the parent if it made it. Also done at the end of
  // its life, where errors are only logged.
  [[nodiscard]] absl::Status Remove();

  [[nodiscard]] const CgroupHierarchy& hierarchy() const { return hierarchy_; }

 private:
  CgroupTree(Clock& clock, CgroupHierarchy hierarchy)
      : clock_(clock), hierarchy_(std::move(hierarchy)) {}
  [[nodiscard]] absl::Status CreateParent();
  [[nodiscard]] std::string GroupPath(const std::string& tree, const std::string& name) const;
  [[nodiscard]] absl::Status KillAll(const std::string& path) const;
  [[nodiscard]] absl::Status RemoveDirectory(const std::string& path);

  Clock& clock_;
  const CgroupHierarchy hierarchy_;
  bool made_parent_ = false;
  std::set<std::string> made_groups_;
};

}  // namespace cloudscale::hypervisor::cgroup
