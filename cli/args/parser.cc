#include "cli/args/parser.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/args/option_types.h"
#include "cli/render/text.h"

namespace cloudscale::cli {
namespace {

constexpr char kProgram[] = "cloudscalectl";
constexpr char kGeneralGroup[] = "General options";
constexpr int kMaxSuggestionDistance = 2;

constexpr char kFooter[] =
    "\nVMs may be given by name, by UUID, or by the beginning of either.\n"
    "\nExit codes:\n"
    "  0  done\n"
    "  1  the server answered with an error or with bad news\n"
    "  2  the command line or its input is wrong; nothing was changed\n"
    "  3  no answer, or none in time; it is not known whether anything was changed\n"
    "\nWith --json answers are JSON with the field names of the contracts (proto/cloudscale);\n"
    "errors are a JSON object on standard error. NO_COLOR=1 is the same as --no-color.\n";

void AddGlobalOptions(CLI::App& app, GlobalOptions* options) {
  app.add_option("--address,-a", options->address, "server, all services in one")
      ->type_name("HOST:PORT")
      ->capture_default_str()
      ->group(kGeneralGroup);
  for (const Peer peer : kPeers) {
    app.add_option(absl::StrCat("--", PeerName(peer), "-address"),
                   options->peer_addresses[static_cast<size_t>(peer)],
                   absl::StrCat("the ", PeerName(peer), ", where it is a server of its own"))
        ->type_name("HOST:PORT")
        ->group(kGeneralGroup);
  }
  app.add_flag("--json", options->is_json, "answer in JSON")->group(kGeneralGroup);
  app.add_flag("--no-color", options->is_colour_off, "no colours")->group(kGeneralGroup);
  AddDuration(app, "--timeout", &options->timeout, "for each call (default 10s)")
      ->group(kGeneralGroup);
  app.add_option("--tls-ca", options->tls_ca, "certificates to trust (PEM)")
      ->type_name("")
      ->check(CLI::ExistingFile)
      ->group(kGeneralGroup);
  app.add_option("--tls-cert", options->tls_cert, "own certificate (PEM)")
      ->type_name("")
      ->check(CLI::ExistingFile)
      ->group(kGeneralGroup);
  app.add_option("--tls-key", options->tls_key, "own private key (PEM)")
      ->type_name("")
      ->check(CLI::ExistingFile)
      ->group(kGeneralGroup);
}

std::string Examples(const CommandInfo& info) {
  if (info.examples.empty()) {
    return "";
  }
  std::string text = "\nExamples:\n";
  for (const std::string& example : info.examples) {
    absl::StrAppend(&text, "  ", kProgram, " ", example, "\n");
  }
  absl::StrAppend(&text, "\nGeneral options, exit codes: ", kProgram, " --help\n");
  return text;
}

// The parser with all commands; `options` and the commands outlive it.
std::unique_ptr<CLI::App> BuildApp(GlobalOptions* options, const CommandList& commands) {
  auto app = std::make_unique<CLI::App>("Watches and steers CloudScale.", kProgram);
  app->fallthrough();
  app->get_formatter()->column_width(34);
  app->set_help_flag("--help,-h", "this text, or that of a command")->group(kGeneralGroup);
  AddGlobalOptions(*app, options);
  app->footer(kFooter);
  app->require_subcommand(1);
  for (const auto& command : commands) {
    const CommandInfo info = command->info();
    CLI::App* sub = app->add_subcommand(info.name, info.summary)->group(info.group);
    sub->footer(Examples(info));
    command->Register(*sub);
  }
  return app;
}

// The words that name a command: `policy set` for `policy set vm-1 x=y`.
std::string ChosenName(const CLI::App& app) {
  std::string name;
  const CLI::App* current = &app;
  while (!current->get_subcommands().empty()) {
    current = current->get_subcommands().front();
    absl::StrAppend(&name, name.empty() ? "" : " ", current->get_name());
  }
  return name;
}

// `no command 'polcy'; did you mean 'policy'?` for the first of `args` that is no option; empty
// when there is none, or when it is a command.
std::string UnknownCommand(std::span<const std::string> args, const CommandList& commands) {
  const auto word = std::find_if(
      args.begin(), args.end(), [](const std::string& arg) { return !absl::StartsWith(arg, "-"); });
  if (word == args.end()) {
    return "";
  }
  std::string best;
  int best_distance = kMaxSuggestionDistance + 1;
  for (const auto& command : commands) {
    const std::string name = command->info().name;
    const int distance = EditDistance(*word, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  if (best_distance == 0) {
    return "";
  }
  return absl::StrCat("no command '", Printable(*word), "'",
                      best.empty() ? "" : absl::StrCat("; did you mean '", best, "'?"));
}

absl::Status UsageError(const CLI::App& app, absl::string_view message,
                        std::span<const std::string> args, const CommandList& commands) {
  const std::string chosen = ChosenName(app);
  const absl::string_view first_line = *absl::StrSplit(message, '\n').begin();
  const std::string unknown = chosen.empty() ? UnknownCommand(args, commands) : "";
  return absl::InvalidArgumentError(absl::StrCat(unknown.empty() ? first_line : unknown,
                                                 "\nHelp: ", kProgram, " ", chosen,
                                                 chosen.empty() ? "" : " ", "--help"));
}

absl::Status CheckTls(const GlobalOptions& options) {
  const int given = (options.tls_ca.empty() ? 0 : 1) + (options.tls_cert.empty() ? 0 : 1) +
                    (options.tls_key.empty() ? 0 : 1);
  return given == 0 || given == 3
             ? absl::OkStatus()
             : absl::InvalidArgumentError(
                   "--tls-ca, --tls-cert and --tls-key go together: give all three or none");
}

}  // namespace

absl::StatusOr<Invocation> ParseArgs(std::span<const std::string> args,
                                     const CommandList& commands) {
  Invocation invocation;
  const std::unique_ptr<CLI::App> app = BuildApp(&invocation.options, commands);
  // The library wants its arguments last first, and tells everything by exceptions.
  std::vector<std::string> reversed(args.rbegin(), args.rend());
  try {
    app->parse(std::move(reversed));
  } catch (const CLI::CallForHelp&) {
    invocation.text = app->help();
    return invocation;
  } catch (const CLI::ParseError& error) {
    return UsageError(*app, args.empty() ? "a command is required" : error.what(), args, commands);
  }
  if (absl::Status status = CheckTls(invocation.options); !status.ok()) {
    return status;
  }
  const std::string chosen = app->get_subcommands().front()->get_name();
  for (const auto& command : commands) {
    if (command->info().name == chosen) {
      invocation.command = command.get();
    }
  }
  return invocation;
}

namespace {

void AddCandidate(const std::string& candidate, const std::string& description,
                  absl::string_view typed, std::vector<std::string>* out) {
  if (absl::StartsWith(candidate, typed)) {
    out->push_back(description.empty() ? candidate : absl::StrCat(candidate, "\t", description));
  }
}

// Values of an option or positional, from its type name: `@vm` or the words of a choice.
void AddValues(const CLI::Option& option, absl::string_view typed, std::vector<std::string>* out) {
  const std::string type = option.get_type_name();
  if (type == kVmType) {
    out->push_back("@vm");
  } else if (absl::StrContains(type, '|')) {
    for (const absl::string_view word : absl::StrSplit(type, '|')) {
      AddCandidate(std::string(word), "", typed, out);
    }
  }
}

const CLI::Option* FindOption(const CLI::App* app, const std::string& word) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(word)) {
      return option;
    }
  }
  return nullptr;
}

void AddOptions(const CLI::App* app, absl::string_view typed, std::vector<std::string>* out) {
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) {
        AddCandidate("--" + name, option->get_description(), typed, out);
      }
    }
  }
}

}  // namespace

std::vector<std::string> CompleteArgs(std::span<const std::string> words,
                                      const CommandList& commands) {
  GlobalOptions options;
  const std::unique_ptr<CLI::App> app = BuildApp(&options, commands);
  const std::string typed = words.empty() ? "" : words.back();
  const CLI::App* current = app.get();
  const CLI::Option* awaiting = nullptr;  // option whose value comes next
  size_t positionals_seen = 0;
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (awaiting != nullptr) {
      awaiting = nullptr;
    } else if (absl::StartsWith(word, "-")) {
      const CLI::Option* option = FindOption(current, word);
      awaiting = option != nullptr && option->get_items_expected_max() > 0 ? option : nullptr;
    } else if (const auto subs = current->get_subcommands(
                   [&](const CLI::App* sub) { return sub->get_name() == word; });
               !subs.empty()) {
      current = subs.front();
      positionals_seen = 0;
    } else {
      ++positionals_seen;
    }
  }
  std::vector<std::string> result;
  if (awaiting != nullptr) {
    AddValues(*awaiting, typed, &result);
    return result;
  }
  if (absl::StartsWith(typed, "-")) {
    AddOptions(current, typed, &result);
    return result;
  }
  for (const CLI::App* sub : current->get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) {
      AddCandidate(sub->get_name(), sub->get_description(), typed, &result);
    }
  }
  size_t index = 0;
  for (const CLI::Option* option : current->get_options()) {
    if (option->get_positional() && (index++ == positionals_seen)) {
      AddValues(*option, typed, &result);
    }
  }
  return result;
}

}  // namespace cloudscale::cli
