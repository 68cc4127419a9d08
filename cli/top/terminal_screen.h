#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/io.h"

namespace cloudscale::cli {

// What ended a wait.
enum class Wake { kTimeout, kResized, kQuit };

// Turns SIGINT, SIGTERM and SIGWINCH, and the key `q`, into answers of `Wait`. Must be made before
// the first channel, so that the library's threads leave these signals alone. The old state of
// signals and keyboard comes back with the destructor. At most one at a time, main thread only.
class TerminalInput {
 public:
  // Keys are read only when `is_keyboard_wanted`, from standard input.
  explicit TerminalInput(bool is_keyboard_wanted);
  ~TerminalInput();
  TerminalInput(const TerminalInput&) = delete;
  TerminalInput& operator=(const TerminalInput&) = delete;

  // Waits at most `timeout` of real time.
  [[nodiscard]] Wake Wait(absl::Duration timeout);

 private:
  struct State;
  State* const state_;  // owned; keeps the system's headers out of here
};

// Draws whole frames in place on the alternate screen; the destructor brings the old one back.
class TerminalScreen {
 public:
  explicit TerminalScreen(Io& io);
  ~TerminalScreen();
  TerminalScreen(const TerminalScreen&) = delete;
  TerminalScreen& operator=(const TerminalScreen&) = delete;

  // Lines longer than the terminal are cut off by it; more lines than it has must not be given.
  void Draw(const std::vector<std::string>& lines);

 private:
  Io& io_;
};

}  // namespace cloudscale::cli
