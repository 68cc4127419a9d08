#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/time/time.h"

namespace cloudscale::cli {

// Type names in the help that completion understands as well.
inline constexpr char kVmType[] = "VM";

// Options of kinds that several commands share. `out` keeps its value as default.
CLI::Option* AddDuration(CLI::App& app, const std::string& flags, absl::Duration* out,
                         const std::string& help);
// A positional VM (name, UUID or beginning) or an option that takes one.
CLI::Option* AddVm(CLI::App& app, const std::string& flags, std::string* out,
                   const std::string& help);
// One of a fixed list of words, in lower case; other cases are accepted.
CLI::Option* AddChoice(CLI::App& app, const std::string& flags, std::string* out,
                       const std::vector<std::string>& choices, const std::string& help);
CLI::Option* AddLimit(CLI::App& app, int* out, const std::string& help);

}  // namespace cloudscale::cli
