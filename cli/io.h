#pragma once

#include <functional>
#include <istream>
#include <ostream>
#include <utility>

namespace cloudscale::cli {

// What a command sees of the terminal. Streams outlive the command.
struct Io {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool is_in_terminal = false;
  bool is_out_terminal = false;
  bool is_err_terminal = false;  // progress is shown there
  // Size of the terminal now, in cells; 0 where it is none.
  std::function<std::pair<int, int>()> size = [] { return std::pair<int, int>(0, 0); };
  bool is_colour_wanted = true;  // false with NO_COLOR or TERM=dumb in the environment
};

}  // namespace cloudscale::cli
