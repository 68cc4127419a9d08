#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/cli.h"
#include "common/random/rng.h"
#include "common/time/clock.h"

namespace {

std::pair<int, int> TerminalSize() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    return {size.ws_col, size.ws_row};
  }
  return {80, 24};
}

bool IsColourWanted() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return (no_color == nullptr || *no_color == '\0') &&
         (term == nullptr || absl::string_view(term) != "dumb");
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const std::unique_ptr<cloudscale::Clock> clock = cloudscale::MakeRealClock();
  // Request ids must differ between two runs in the same moment, hence the process id.
  const auto seed = static_cast<uint64_t>(absl::ToUnixNanos(clock->WallNow())) ^
                    (static_cast<uint64_t>(getpid()) << 40);
  cloudscale::cli::Io io{.in = std::cin,
                         .out = std::cout,
                         .err = std::cerr,
                         .is_in_terminal = isatty(STDIN_FILENO) == 1,
                         .is_out_terminal = isatty(STDOUT_FILENO) == 1,
                         .is_err_terminal = isatty(STDERR_FILENO) == 1,
                         .size = TerminalSize,
                         .is_colour_wanted = IsColourWanted()};
  const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  return cloudscale::cli::RunCli(args, io, *clock, cloudscale::Rng(seed));
}
