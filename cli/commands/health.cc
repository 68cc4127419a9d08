#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/commands/service_address.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/reflection.h"
#include "cli/rpc/session.h"
#include "cli/wire/standard_services.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "nlohmann/json.hpp"

#ifndef CLOUDSCALE_VERSION
#error "the build must define CLOUDSCALE_VERSION"
#endif

namespace cloudscale::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kCheckMethod[] = "/grpc.health.v1.Health/Check";
constexpr int kServing = 1;

std::string HealthText(int status) {
  switch (status) {
    case kServing:
      return "SERVING";
    case 2:
      return "NOT_SERVING";
    case 3:
      return "SERVICE_UNKNOWN";
    default:
      return "UNKNOWN";
  }
}

absl::StatusOr<int> Check(Session& session, const std::string& address,
                          const std::string& service) {
  CS_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, session.ChannelTo(address));
  grpc::TemplatedGenericStub<wire::HealthCheckRequest, wire::HealthCheckResponse> stub(channel);
  grpc::ClientContext context;
  session.Prepare(context);
  grpc::CompletionQueue queue;
  wire::HealthCheckRequest request;
  request.set_service(service);
  wire::HealthCheckResponse response;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(&context, kCheckMethod, request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool is_ok = false;
  queue.Next(&tag, &is_ok);
  CS_RETURN_IF_ERROR(Session::Finish(status, address, "health"));
  return response.status();
}

class HealthCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"health",
            "Watching",
            "whether each service does its work; exit code 1 when one does not",
            {"health", "health --json"}};
  }
  void Register(CLI::App&) override {}

  absl::Status Run(Session& session) override {
    Json json = {{"services", Json::array()}};
    Table table({{.title = "SERVICE"}, {.title = "ADDRESS"}, {.title = "HEALTH"}});
    std::string bad;
    std::string bad_address;
    for (const std::string& address : AllAddresses(session.options())) {
      CS_ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(session, address));
      for (const std::string& name : names) {
        const absl::StatusOr<int> health = Check(session, address, name);
        if (absl::IsNotFound(health.status())) {
          continue;  // a service of which the server tells no health of its own
        }
        CS_RETURN_IF_ERROR(health.status());
        const std::string text = HealthText(*health);
        const bool is_good = *health == kServing;
        table.AddRow({{name.empty() ? "(server)" : name, Colour::kBold},
                      {address},
                      {text, is_good ? Colour::kGreen : Colour::kRed}});
        json["services"].push_back({{"name", name}, {"address", address}, {"health", text}});
        if (!is_good) {
          absl::StrAppend(&bad, bad.empty() ? "" : ", ", name.empty() ? "server" : name);
          bad_address = address;
        }
      }
    }
    session.io().out << (session.options().is_json
                             ? json.dump(2) + "\n"
                             : table.Render(session.style(), session.width()));
    if (bad.empty()) {
      return absl::OkStatus();
    }
    return Session::Finish(grpc::Status(grpc::FAILED_PRECONDITION, "not serving: " + bad),
                           bad_address, "health");
  }

 private:
  // The whole server, then each of its own services, when it describes itself.
  static absl::StatusOr<std::vector<std::string>> Names(Session& session,
                                                        const std::string& address) {
    std::vector<std::string> names = {""};
    ReflectionDatabase database(session, address);
    const absl::StatusOr<std::vector<std::string>> services = database.ListServices();
    if (!services.ok() && !absl::IsUnimplemented(services.status())) {
      return services.status();
    }
    for (const std::string& service : services.ok() ? *services : std::vector<std::string>()) {
      if (!absl::StartsWith(service, "grpc.")) {
        names.push_back(service);
      }
    }
    return names;
  }
};

class VersionCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"version",
            "About",
            "versions of this tool and of the server",
            {"version", "version --client"}};
  }
  void Register(CLI::App& app) override {
    app.add_flag("--client", is_client_only_, "do not ask the server");
  }

  absl::Status Run(Session& session) override {
    Json json = {{"client", {{"version", CLOUDSCALE_VERSION}}}};
    std::string text = absl::StrCat("cloudscalectl ", CLOUDSCALE_VERSION, "\n");
    if (!is_client_only_) {
      scaler::v1::GetStatusResponse status;
      const absl::Status asked =
          session.Call(Peer::kScaler, &scaler::v1::ScalerService::Stub::GetStatus,
                       scaler::v1::GetStatusRequest(), &status);
      if (asked.ok()) {
        json["server"] = Json::parse(MessageToJson(status.build(), true), nullptr, false);
        absl::StrAppend(&text, Printable(status.build().service()), " ",
                        Printable(status.build().version()), " ",
                        Printable(status.build().revision()), " since ",
                        TimeText(rpc::FromProto(status.build().started_at())), "\n");
      } else {
        // The tool's own version is the answer; the server's is a bonus.
        json["server"] = nullptr;
        absl::StrAppend(&text, "server ", session.options().AddressOf(Peer::kScaler),
                        ": no answer\n");
      }
    }
    session.io().out << (session.options().is_json ? json.dump(2) + "\n" : text);
    return absl::OkStatus();
  }

 private:
  bool is_client_only_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeHealthCommand() { return std::make_unique<HealthCommand>(); }
std::unique_ptr<Command> MakeVersionCommand() { return std::make_unique<VersionCommand>(); }

}  // namespace cloudscale::cli
