#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hypervisor/xen/xen_calls.h"

namespace cloudscale::hypervisor::xen {

// Where the module that links Xen's libraries is looked for: beside the program, in
// `../lib/cloudscale` beside that, then where the system looks for libraries.
[[nodiscard]] std::vector<std::string> ModulePaths();

// Opens Xen through the first of `paths` that is there; a name without '/' is looked for by the
// system. Each call opens connections of its own; the module stays loaded until the program ends.
//
// Errors: UNAVAILABLE with what was tried and which package is missing, or that this is no Dom-0;
// FAILED_PRECONDITION when the module is of another version of CloudScale.
// Thread safety: thread-safe.
[[nodiscard]] absl::StatusOr<std::unique_ptr<XenCalls>> OpenXen(
    const std::vector<std::string>& paths = ModulePaths());

}  // namespace cloudscale::hypervisor::xen
