#pragma once

#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cloudscale::monitor {

// Where the sockets of the guests' channels are. `{uuid}` and `{name}` in the template stand for
// the VM's own, `{id}` for digits, which are looked for in the file system, the highest first:
// libvirt puts the number of the VM's start into the folder's name. Digits only, for a pattern that
// took more would find the socket of a VM with a longer name. Thread safety: thread-safe.
class ChannelPaths {
 public:
  // `path_template` may be empty; `own` has paths by VM, which win.
  ChannelPaths(std::string path_template, std::map<std::string, std::string> own)
      : path_template_(std::move(path_template)), own_(std::move(own)) {}

  // nullopt when there is none. Names that cannot be part of a path have none.
  [[nodiscard]] std::optional<std::string> Find(const std::string& uuid,
                                                const std::string& name) const;
  [[nodiscard]] bool empty() const { return path_template_.empty() && own_.empty(); }

 private:
  std::string path_template_;
  std::map<std::string, std::string> own_;
};

// OK for an absolute path that says which VM it is for, with `{id}` at most once.
[[nodiscard]] absl::Status CheckPathTemplate(absl::string_view path_template);

}  // namespace cloudscale::monitor
