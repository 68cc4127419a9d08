#include <fstream>
#include <sstream>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/service_address.h"
#include "cli/rpc/dynamic_call.h"
#include "cli/rpc/reflection.h"
#include "cli/rpc/session.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

// Requests from a stream: one object a line when the method takes many, else all of it.
NextRequest FromStream(std::istream& in, bool is_one_a_line) {
  return [&in, is_one_a_line,
          is_read = false]() mutable -> absl::StatusOr<std::optional<std::string>> {
    std::string text;
    if (is_one_a_line) {
      while (std::getline(in, text)) {
        if (!absl::StripAsciiWhitespace(text).empty()) {
          return text;
        }
      }
      return std::nullopt;
    }
    if (std::exchange(is_read, true)) {
      return std::nullopt;
    }
    std::ostringstream all;
    all << in.rdbuf();
    text = all.str();
    return absl::StripAsciiWhitespace(text).empty() ? "{}" : text;
  };
}

class CallCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"call",
            "Any service",
            "call any method of any service; the server describes itself",
            {"call scaler/GetStatus",
             "call cloudscale.monitor.v1.MonitorService/GetVm '{\"vm_uuid\": \"…\"}'",
             "call scaler/WatchDecisions", "call sla/ReportLatencies @reports.jsonl",
             "call predictor/GetForecast - < request.json"}};
  }

  void Register(CLI::App& app) override {
    app.add_option("method", method_, "SERVICE/METHOD, see 'list'")
        ->type_name("SERVICE/METHOD")
        ->required();
    app.add_option("request", request_,
                   "JSON, @FILE, or - for standard input (default {}); methods that take a stream "
                   "read one object a line")
        ->type_name("JSON|@FILE|-");
  }

  absl::Status Run(Session& session) override {
    const std::string address = AddressForService(session.options(), method_);
    ReflectedServer server(session, address);
    CS_ASSIGN_OR_RETURN(const google::protobuf::MethodDescriptor* method,
                        server.FindMethod(method_));
    std::ifstream file;
    CS_ASSIGN_OR_RETURN(const NextRequest next,
                        Requests(session, method->client_streaming(), &file));
    return CallDynamic(session, address, *method, next, [&](const std::string& json) {
      session.io().out << json << "\n" << std::flush;
    });
  }

 private:
  absl::StatusOr<NextRequest> Requests(Session& session, bool is_stream,
                                       std::ifstream* file) const {
    if (request_ == "-") {
      return FromStream(session.io().in, is_stream);
    }
    if (!request_.empty() && request_.front() == '@') {
      file->open(request_.substr(1));
      if (!file->is_open()) {
        return absl::InvalidArgumentError(
            absl::StrCat("file '", request_.substr(1), "' cannot be read"));
      }
      return FromStream(*file, is_stream);
    }
    // Given on the command line: one request.
    return [text = std::optional<std::string>(
                request_.empty() && is_stream
                    ? std::nullopt
                    : std::optional(request_.empty() ? "{}" : request_))]() mutable
               -> absl::StatusOr<std::optional<std::string>> {
      return std::exchange(text, std::nullopt);
    };
  }

  std::string method_;
  std::string request_;
};

}  // namespace

std::unique_ptr<Command> MakeCallCommand() { return std::make_unique<CallCommand>(); }

}  // namespace cloudscale::cli
