#pragma once

#include <span>
#include <string>

#include "cli/io.h"
#include "common/random/rng.h"
#include "common/time/clock.h"

namespace cloudscale::cli {

// Runs `cloudscalectl` with `args` (without the program's name) and returns its exit code (see
// exit_code.h). Answers go to `io.out`, errors to `io.err`.
[[nodiscard]] int RunCli(std::span<const std::string> args, Io& io, Clock& clock, Rng rng);

}  // namespace cloudscale::cli
