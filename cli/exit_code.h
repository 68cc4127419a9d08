#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cloudscale::cli {

// What the process answers to its caller; part of the tool's contract.
enum class ExitCode : int {
  kOk = 0,
  kServerError = 1,  // the server answered, with an error or with bad news
  kUsage = 2,        // the command line or its input is wrong; nothing was changed
  kUnreachable = 3,  // no answer, or none in time: what happened is not known
};

// Marks a status that a server (or the way to it) caused, with the address that was called.
// Statuses without the mark are the caller's own mistakes.
inline constexpr absl::string_view kAddressPayload = "cloudscale.cli/address";
// Name of the method that failed.
inline constexpr absl::string_view kMethodPayload = "cloudscale.cli/method";

// UNAVAILABLE and DEADLINE_EXCEEDED are kUnreachable, other marked ones kServerError, the rest
// kUsage.
[[nodiscard]] ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace cloudscale::cli
