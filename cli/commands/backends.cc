#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

class BackendsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"backends",
            "Load balancer",
            "the load balancer's backends, servers and weights",
            {"backends", "backends --backend shop --json"}};
  }
  void Register(CLI::App& app) override {
    app.add_option("--backend", backend_, "only this one")->type_name("NAME");
  }

  absl::Status Run(Session& session) override {
    lbctl::v1::GetStatsRequest request;
    request.set_backend(backend_);
    lbctl::v1::GetStatsResponse response;
    CS_RETURN_IF_ERROR(session.Call(Peer::kLbctl, &lbctl::v1::BalancerService::Stub::GetStats,
                                    request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    Table table({{.title = "BACKEND"},
                 {.title = "SERVER"},
                 {.title = "ADDRESS", .drop_order = 1},
                 {.title = "STATE"},
                 {.title = "WEIGHT", .align = Align::kRight},
                 {.title = "SESSIONS", .align = Align::kRight},
                 {.title = "QUEUED", .align = Align::kRight, .drop_order = 4},
                 {.title = "RATE", .align = Align::kRight},
                 {.title = "RESPONSE", .align = Align::kRight, .drop_order = 2},
                 {.title = "ERRORS", .align = Align::kRight, .drop_order = 3}});
    for (const auto& backend : response.backends()) {
      for (const auto& server : backend.servers()) {
        const auto& stats = server.stats();
        const bool is_wanted =
            !server.desired().has_weight() || server.desired().weight() == server.weight();
        table.AddRow(
            {{backend.name()},
             {server.name(), Colour::kBold},
             {absl::StrCat(server.address(), ":", server.port())},
             {absl::StrCat(EnumText(server.state()), server.is_up() ? " up" : " down"),
              server.is_up() ? Colour::kGreen : Colour::kRed},
             {is_wanted ? absl::StrCat(server.weight(), "/", server.initial_weight())
                        : absl::StrCat(server.weight(), "/", server.initial_weight(), " wanted ",
                                       server.desired().weight()),
              is_wanted ? Colour::kNone : Colour::kYellow},
             {absl::StrCat(stats.current_sessions())},
             {absl::StrCat(stats.queued_requests())},
             {absl::StrFormat("%.1f/s", stats.request_rate())},
             {stats.has_response_time() ? DurationText(rpc::FromProto(stats.response_time()))
                                        : "-"},
             {absl::StrCat(stats.error_count())}});
      }
    }
    session.io().out << (table.empty() ? "no servers\n"
                                       : table.Render(session.style(), session.width()));
    return absl::OkStatus();
  }

 private:
  std::string backend_;
};

}  // namespace

std::unique_ptr<Command> MakeBackendsCommand() { return std::make_unique<BackendsCommand>(); }

}  // namespace cloudscale::cli
