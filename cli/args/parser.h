#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/command.h"

namespace cloudscale::cli {

// What the command line asks for.
struct Invocation {
  GlobalOptions options;
  Command* command = nullptr;  // null: only `text` is to be shown
  std::string text;            // help
};

// Parses `args` (without the program's name). INVALID_ARGUMENT says what is wrong, which command's
// help to read, and what a mistyped command may have meant. `commands` get their values.
[[nodiscard]] absl::StatusOr<Invocation> ParseArgs(std::span<const std::string> args,
                                                   const CommandList& commands);

// What could come next after `words`, the last of which is being typed: commands, options, and
// fixed values. `@vm` stands for the names of VMs. Each with a description after a tab, if any.
[[nodiscard]] std::vector<std::string> CompleteArgs(std::span<const std::string> words,
                                                    const CommandList& commands);

}  // namespace cloudscale::cli
