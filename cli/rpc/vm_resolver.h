#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cloudscale::cli {

class Session;

struct VmRef {
  std::string uuid;
  std::string name;
  friend bool operator==(const VmRef&, const VmRef&) = default;
};

// Picks the VM that `text` means: its UUID, its name, or the beginning of either. Exact matches
// win over beginnings. NOT_FOUND names some that exist; INVALID_ARGUMENT names those that fit when
// there are several.
[[nodiscard]] absl::StatusOr<VmRef> PickVm(const std::vector<VmRef>& vms, absl::string_view text);

// VMs that the monitor knows, or the scaler where no monitor answers; in order of UUID.
[[nodiscard]] absl::StatusOr<std::vector<VmRef>> ListVmRefs(Session& session);

// `PickVm` over `ListVmRefs`; a whole UUID is passed on without asking anyone. NOT_FOUND then
// carries the address that was asked.
[[nodiscard]] absl::StatusOr<VmRef> ResolveVm(Session& session, absl::string_view text);

}  // namespace cloudscale::cli
