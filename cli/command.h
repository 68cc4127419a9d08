#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace CLI {
class App;
}  // namespace CLI

namespace cloudscale::cli {

class Session;

// How the help presents a command.
struct CommandInfo {
  std::string name;
  std::string group;                  // heading in the list of commands
  std::string summary;                // one line
  std::vector<std::string> examples;  // without the program's name
};

// One command of the tool. `Register` is called once, before parsing; `Run` at most once, when
// the command was chosen and parsed.
class Command {
 public:
  virtual ~Command() = default;

  [[nodiscard]] virtual CommandInfo info() const = 0;

  // Declares options and positionals, bound to members.
  virtual void Register(CLI::App& app) = 0;

  // Errors: see exit_code.h.
  virtual absl::Status Run(Session& session) = 0;
};

using CommandList = std::vector<std::unique_ptr<Command>>;

}  // namespace cloudscale::cli
