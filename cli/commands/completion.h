#pragma once

#include <span>
#include <string>

#include "cli/command.h"
#include "cli/io.h"
#include "common/random/rng.h"
#include "common/time/clock.h"

namespace cloudscale::cli {

// Answers the shell: candidates for the last of `words`, one a line. Names of VMs come from the
// server if it answers within a moment; every failure is silence, for it shows amid typing.
void Complete(std::span<const std::string> words, const CommandList& commands, Io& io, Clock& clock,
              Rng rng);

}  // namespace cloudscale::cli
