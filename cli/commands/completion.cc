#include "cli/commands/completion.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/args/completion_script.h"
#include "cli/args/option_types.h"
#include "cli/args/parser.h"
#include "cli/commands/commands.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "common/status/macros.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

constexpr absl::Duration kServerPatience = absl::Milliseconds(500);
constexpr char kVmPlaceholder[] = "@vm";

class CompletionCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"completion",
            "About",
            "the completion script for a shell",
            {"completion bash > /etc/bash_completion.d/cloudscalectl",
             "completion fish > ~/.config/fish/completions/cloudscalectl.fish"}};
  }
  void Register(CLI::App& app) override {
    AddChoice(app, "shell", &shell_, {"bash", "zsh", "fish"}, "which")->required();
  }
  absl::Status Run(Session& session) override {
    CS_ASSIGN_OR_RETURN(const absl::string_view script, CompletionScript(shell_));
    if (session.options().is_json) {
      const nlohmann::ordered_json json = {{"shell", shell_}, {"script", std::string(script)}};
      session.io().out << json.dump(2) << "\n";
    } else {
      session.io().out << script;
    }
    return absl::OkStatus();
  }

 private:
  std::string shell_;
};

// The addresses among `words`, so that names of VMs come from the server that is meant.
GlobalOptions OptionsOf(std::span<const std::string> words) {
  GlobalOptions options;
  options.timeout = kServerPatience;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "--address" || words[i] == "-a") {
      options.address = words[i + 1];
    }
    for (const Peer peer : kPeers) {
      if (words[i] == absl::StrCat("--", PeerName(peer), "-address")) {
        options.peer_addresses[static_cast<size_t>(peer)] = words[i + 1];
      }
    }
  }
  return options;
}

}  // namespace

void Complete(std::span<const std::string> words, const CommandList& commands, Io& io, Clock& clock,
              Rng rng) {
  const std::string typed = words.empty() ? "" : words.back();
  for (const std::string& candidate : CompleteArgs(words, commands)) {
    if (candidate != kVmPlaceholder) {
      io.out << candidate << "\n";
      continue;
    }
    Session session(OptionsOf(words), io, clock, rng);
    const absl::StatusOr<std::vector<VmRef>> vms = ListVmRefs(session);
    for (const VmRef& vm : vms.ok() ? *vms : std::vector<VmRef>()) {
      const std::string& word = vm.name.empty() ? vm.uuid : vm.name;
      if (absl::StartsWith(word, typed)) {
        io.out << Printable(word) << "\t" << vm.uuid << "\n";
      }
    }
  }
}

std::unique_ptr<Command> MakeCompletionCommand() { return std::make_unique<CompletionCommand>(); }

}  // namespace cloudscale::cli
