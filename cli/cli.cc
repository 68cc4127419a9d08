#include "cli/cli.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "cli/args/completion_script.h"
#include "cli/args/parser.h"
#include "cli/commands/commands.h"
#include "cli/commands/completion.h"
#include "cli/exit_code.h"
#include "cli/rpc/session.h"
#include "common/status/violations.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

CommandList AllCommands() {
  CommandList commands;
  commands.push_back(MakeStatusCommand());
  commands.push_back(MakeTopCommand());
  commands.push_back(MakeHostsCommand());
  commands.push_back(MakeVmsCommand());
  commands.push_back(MakeHealthCommand());
  commands.push_back(MakeForecastCommand());
  commands.push_back(MakeAccuracyCommand());
  commands.push_back(MakeModelsCommand());
  commands.push_back(MakeModelCommand());
  commands.push_back(MakeRetrainCommand());
  commands.push_back(MakeBacktestCommand());
  commands.push_back(MakeWhyCommand());
  commands.push_back(MakeDecisionsCommand());
  commands.push_back(MakeActionsCommand());
  commands.push_back(MakePolicyCommand());
  commands.push_back(MakeModeCommand());
  commands.push_back(MakePauseCommand());
  commands.push_back(MakeResumeCommand());
  commands.push_back(MakeRestoreCommand());
  commands.push_back(MakeObjectivesCommand());
  commands.push_back(MakeViolationsCommand());
  commands.push_back(MakeSlaCommand());
  commands.push_back(MakeBackendsCommand());
  commands.push_back(MakeLbCommand());
  commands.push_back(MakeCallCommand());
  commands.push_back(MakeListCommand());
  commands.push_back(MakeDescribeCommand());
  commands.push_back(MakeCompletionCommand());
  commands.push_back(MakeVersionCommand());
  return commands;
}

std::string PayloadText(const absl::Status& status, absl::string_view url) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : std::string();
}

// What a person can do about it; empty when the message says it all.
std::string Advice(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return "is the server running there? start it with ./run, or name another with --address";
    case absl::StatusCode::kDeadlineExceeded:
      return "no answer in time; try a longer --timeout. Changes may have been made";
    case absl::StatusCode::kUnimplemented:
      return "that server does not have this service; name the right one with --address or "
             "--<service>-address";
    case absl::StatusCode::kAborted:
      return "someone else changed it meanwhile; look again and repeat";
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return "check --tls-cert and --tls-key";
    default:
      return "";
  }
}

void PrintErrorJson(const absl::Status& status, std::ostream& err) {
  nlohmann::ordered_json violations = nlohmann::ordered_json::array();
  for (const FieldViolation& v : Violations::FromStatus(status)) {
    violations.push_back({{"field", v.field}, {"value", v.value}, {"allowed", v.allowed}});
  }
  const nlohmann::ordered_json error = {{"error",
                                         {{"code", absl::StatusCodeToString(status.code())},
                                          {"message", std::string(status.message())},
                                          {"address", PayloadText(status, kAddressPayload)},
                                          {"method", PayloadText(status, kMethodPayload)},
                                          {"violations", std::move(violations)}}}};
  err << error.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

void PrintError(const absl::Status& status, std::ostream& err) {
  const std::string address = PayloadText(status, kAddressPayload);
  if (address.empty()) {
    err << "cloudscalectl: " << status.message() << "\n";
    return;
  }
  const std::vector<FieldViolation> violations = Violations::FromStatus(status);
  const std::string method = PayloadText(status, kMethodPayload);
  err << "cloudscalectl: " << address << (method.empty() ? "" : " ") << method << ": "
      << absl::StatusCodeToString(status.code());
  if (violations.empty()) {
    err << ": " << Printable(status.message()) << "\n";
  } else {
    err << ": refused, nothing was changed\n";
    for (const FieldViolation& v : violations) {
      err << "  " << Printable(v.field) << ": '" << Printable(v.value) << "' is not allowed; "
          << "allowed: " << Printable(v.allowed) << "\n";
    }
  }
  if (const std::string advice = Advice(status); !advice.empty()) {
    err << "  " << advice << "\n";
  }
}

}  // namespace

int RunCli(std::span<const std::string> args, Io& io, Clock& clock, Rng rng) {
  const CommandList commands = AllCommands();
  if (!args.empty() && args.front() == kCompleteCommand) {
    Complete(args.subspan(1), commands, io, clock, rng);
    return static_cast<int>(ExitCode::kOk);
  }
  const absl::StatusOr<Invocation> invocation = ParseArgs(args, commands);
  if (!invocation.ok()) {
    PrintError(invocation.status(), io.err);
    return static_cast<int>(ExitCode::kUsage);
  }
  if (invocation->command == nullptr) {
    io.out << invocation->text;
    return static_cast<int>(ExitCode::kOk);
  }
  Session session(invocation->options, io, clock, rng);
  const absl::Status status = invocation->command->Run(session);
  io.out.flush();
  if (!status.ok()) {
    if (invocation->options.is_json) {
      PrintErrorJson(status, io.err);
    } else {
      PrintError(status, io.err);
    }
  }
  return static_cast<int>(ExitCodeOf(status));
}

}  // namespace cloudscale::cli
