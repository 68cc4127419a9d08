#include "hypervisor/cgroup/cgroup_tree.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/logging/log.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

// True when made, false when it was there.
absl::StatusOr<bool> MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == 0) {
    return true;
  }
  if (errno == EEXIST) {
    return false;
  }
  return StatusFromErrno(errno, absl::StrCat("make group ", path));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CgroupTree>> CgroupTree::Create(Clock& clock,
                                                               CgroupOptions options) {
  CS_ASSIGN_OR_RETURN(CgroupHierarchy hierarchy, CgroupHierarchy::Open(std::move(options)));
  std::unique_ptr<CgroupTree> result(new CgroupTree(clock, std::move(hierarchy)));
  CS_RETURN_IF_ERROR(result->CreateParent());
  return result;
}

CgroupTree::~CgroupTree() {
  const absl::Status status = Remove();
  if (!status.ok()) {
    LogLine(LogLevel::kWarning, "cgroup_not_removed").Field("reason", status);
  }
}

std::string CgroupTree::GroupPath(const std::string& tree, const std::string& name) const {
  return absl::StrCat(tree, "/", hierarchy_.options().parent_group, name.empty() ? "" : "/", name);
}

absl::Status CgroupTree::CreateParent() {
  for (const std::string& tree : hierarchy_.trees()) {
    std::string path = tree;
    // v2 passes a controller down one level at a time; each level above the VMs must turn it on.
    const auto turn_on = [&] {
      for (const char* controller : {"+cpu", "+memory"}) {
        const absl::StatusOr<Directory> directory = OpenDirectory(path);
        if (directory.ok()) {
          // Refused where the tree does not have it: capabilities say so.
          WriteFile(*directory, "cgroup.subtree_control", controller).IgnoreError();
        }
      }
    };
    for (absl::string_view part : absl::StrSplit(hierarchy_.options().parent_group, '/')) {
      if (hierarchy_.version() == CgroupVersion::kV2) {
        turn_on();
      }
      absl::StrAppend(&path, "/", part);
      CS_ASSIGN_OR_RETURN(const bool made, MakeDirectory(path));
      made_parent_ = made_parent_ || made;
    }
    if (hierarchy_.version() == CgroupVersion::kV2) {
      turn_on();
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Group> CgroupTree::CreateGroup(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || absl::StrContains(name, '/') ||
      absl::StrContains(name, '\n')) {
    return absl::InvalidArgumentError(absl::StrCat("group name \"", name, "\""));
  }
  // The first tree decides on a group's existence, so it comes last.
  const std::vector<std::string>& trees = hierarchy_.trees();
  if (access(GroupPath(trees[0], name).c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(absl::StrCat("group ", name));
  }
  for (size_t i = trees.size(); i-- > 0;) {
    CS_RETURN_IF_ERROR(MakeDirectory(GroupPath(trees[i], name)).status());
    made_groups_.insert(name);
  }
  CS_ASSIGN_OR_RETURN(const GroupDirectories parent, hierarchy_.OpenParent());
  return hierarchy_.OpenGroup(parent, name);
}

absl::Status CgroupTree::Attach(const std::string& name, pid_t pid) {
  for (const std::string& tree : hierarchy_.trees()) {
    CS_ASSIGN_OR_RETURN(const Directory directory, OpenDirectory(GroupPath(tree, name)));
    CS_RETURN_IF_ERROR(WriteFile(directory, "cgroup.procs", absl::StrCat(pid)));
  }
  return absl::OkStatus();
}

absl::Status CgroupTree::KillAll(const std::string& path) const {
  CS_ASSIGN_OR_RETURN(const Directory directory, OpenDirectory(path));
  CS_ASSIGN_OR_RETURN(const std::string text, ReadFile(directory, "cgroup.procs"));
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    pid_t pid = 0;
    if (absl::SimpleAtoi(line, &pid) && pid > 1 && kill(pid, SIGKILL) != 0 && errno != ESRCH) {
      return StatusFromErrno(errno, absl::StrCat("kill process ", pid));
    }
  }
  return absl::OkStatus();
}

absl::Status CgroupTree::RemoveDirectory(const std::string& path) {
  constexpr absl::Duration kPatience = absl::Seconds(2);
  constexpr absl::Duration kPause = absl::Milliseconds(5);
  const MonoTime deadline = clock_.MonoNow() + kPatience;
  while (rmdir(path.c_str()) != 0) {
    if (errno == ENOENT) {
      return absl::OkStatus();
    }
    // EBUSY until the kernel has buried the last process.
    if (errno != EBUSY || clock_.MonoNow() >= deadline) {
      return StatusFromErrno(errno, absl::StrCat("remove group ", path));
    }
    if (const absl::Status status = KillAll(path); !status.ok() && !IsMissing(status)) {
      return status;
    }
    clock_.SleepUntil(clock_.MonoNow() + kPause, std::stop_token());
  }
  return absl::OkStatus();
}

absl::Status CgroupTree::RemoveGroup(const std::string& name) {
  for (const std::string& tree : hierarchy_.trees()) {
    const absl::Status status = KillAll(GroupPath(tree, name));
    if (!status.ok() && !IsMissing(status)) {
      return status;
    }
    CS_RETURN_IF_ERROR(RemoveDirectory(GroupPath(tree, name)));
  }
  made_groups_.erase(name);
  return absl::OkStatus();
}

absl::Status CgroupTree::Remove() {
  absl::Status first;
  while (!made_groups_.empty()) {
    const std::string name = *made_groups_.begin();
    first.Update(RemoveGroup(name));
    made_groups_.erase(name);
  }
  if (std::exchange(made_parent_, false)) {
    for (const std::string& tree : hierarchy_.trees()) {
      first.Update(RemoveDirectory(GroupPath(tree, "")));
    }
  }
  return first;
}

}  // namespace cloudscale::hypervisor::cgroup
