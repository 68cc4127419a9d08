#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cloudscale::cli {

// First word of the hidden command that the scripts call with the words typed so far; it prints
// one candidate a line, a description after a tab.
inline constexpr char kCompleteCommand[] = "__complete";

// The script for `shell`: bash, zsh or fish. INVALID_ARGUMENT for another one.
[[nodiscard]] absl::StatusOr<absl::string_view> CompletionScript(absl::string_view shell);

}  // namespace cloudscale::cli
