#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/args/option_types.h"
#include "cli/args/values.h"
#include "cli/commands/commands.h"
#include "cli/exit_code.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

namespace lb = cloudscale::lbctl::v1;
using Stub = lb::BalancerService::Stub;

// The answer came and is bad news: exit code 1.
absl::Status BadNews(Session& session, const std::string& text) {
  absl::Status status = absl::FailedPreconditionError(text);
  status.SetPayload(kAddressPayload, absl::Cord(session.options().AddressOf(Peer::kLbctl)));
  return status;
}

// `50` or `50%`.
absl::Status ParseWeight(const std::string& text, lb::SetWeightRequest* request) {
  const bool is_percent = absl::EndsWith(text, "%");
  CS_ASSIGN_OR_RETURN(const double number,
                      ParseNumber(is_percent ? text.substr(0, text.size() - 1) : text));
  if (is_percent) {
    request->set_initial_percent(number);
  } else if (number != static_cast<double>(static_cast<int>(number))) {
    return absl::InvalidArgumentError(absl::StrCat("weight ", text, " is no whole number"));
  } else {
    request->set_absolute(static_cast<int>(number));
  }
  return absl::OkStatus();
}

// `lb`: all that changes the balancer, and what differs from what is wanted.
class LbCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"lb",
            "Load balancer",
            "weights, drain, addresses, servers and plans of the load balancer",
            {"lb weight web/web-1 50%", "lb drain web/web-1 --for 2m --force",
             "lb plan shift-away web/web-1 --keep 0.1 --dry-run", "lb plan balance web",
             "lb add web/web-3 192.0.2.7:8080 --weight 50", "lb drift",
             "lb reconcile accept web/web-1", "lb stats --json"}};
  }

  void Register(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App* weight = AddChange(app, "weight", "set a weight", &LbCommand::Weight);
    AddServer(*weight);
    weight->add_option("weight", weight_, "0 to 256, or per cent of the initial one")
        ->type_name("N|N%")
        ->required();
    RegisterStates(app);
    RegisterMembers(app);
    RegisterPlans(app);
    RegisterReads(app);
  }

  absl::Status Run(Session& session) override { return (this->*action_)(session); }

 private:
  using Action = absl::Status (LbCommand::*)(Session&);

  CLI::App* AddRead(CLI::App& app, const char* name, const char* help, Action action) {
    CLI::App* command = app.add_subcommand(name, help);
    command->parse_complete_callback([this, action] { action_ = action; });
    return command;
  }
  CLI::App* AddChange(CLI::App& app, const char* name, const char* help, Action action) {
    CLI::App* command = AddRead(app, name, help, action);
    command->add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
    return command;
  }
  void AddServer(CLI::App& command) {
    command
        .add_option_function<std::string>(
            "server",
            [this](const std::string& text) {
              const std::pair<std::string, std::string> parts =
                  absl::StrSplit(text, absl::MaxSplits('/', 1));
              backend_ = parts.first;
              server_ = parts.second;
            },
            "which one")
        ->type_name("BACKEND/SERVER")
        ->check(CLI::Validator(
            [](std::string& text) {
              const size_t slash = text.find('/');
              return slash != std::string::npos && slash > 0 && slash + 1 < text.size()
                         ? std::string()
                         : std::string("must be BACKEND/SERVER");
            },
            ""))
        ->required();
  }
  void AddReason(CLI::App& command) {
    command.add_option("--reason", reason_, "kept with what is wanted");
  }
  // `BACKEND` or `BACKEND/SERVER`, or nothing for all.
  void AddScope(CLI::App& command) {
    command
        .add_option_function<std::string>(
            "scope",
            [this](const std::string& text) {
              const std::pair<std::string, std::string> parts =
                  absl::StrSplit(text, absl::MaxSplits('/', 1));
              backend_ = parts.first;
              server_ = parts.second;
            },
            "only these (default: all)")
        ->type_name("BACKEND[/SERVER]");
  }

  void RegisterStates(CLI::App& app) {
    CLI::App* drain = AddChange(app, "drain", "take no new sessions and wait for the last one",
                                &LbCommand::Drain);
    AddServer(*drain);
    AddDuration(*drain, "--for", &drain_timeout_, "how long to wait (default 60s)");
    drain->add_flag("--force", is_forced_, "end the sessions that are left then");
    AddReason(*drain);
    CLI::App* ready = AddChange(app, "ready", "take traffic", &LbCommand::Ready);
    AddServer(*ready);
    AddReason(*ready);
    CLI::App* maint = AddChange(app, "maint", "take nothing", &LbCommand::Maint);
    AddServer(*maint);
    AddReason(*maint);
  }

  void RegisterMembers(CLI::App& app) {
    CLI::App* address = AddChange(app, "address", "point a server elsewhere", &LbCommand::Address);
    AddServer(*address);
    address->add_option("address", address_, "IP address, with a port to change it as well")
        ->type_name("IP[:PORT]")
        ->required();
    AddReason(*address);
    CLI::App* add = AddChange(app, "add", "add a server at run time", &LbCommand::Add);
    AddServer(*add);
    add->add_option("address", address_, "where it listens")->type_name("IP:PORT")->required();
    add->add_option("--weight", new_weight_, "1 to 256 (default 100)");
    add->add_option("--vm", vm_, "UUID of the VM behind it");
    add->add_flag("--checked", is_checked_, "switch the balancer's health check on");
    CLI::App* remove =
        AddChange(app, "remove", "remove a server that was added", &LbCommand::Remove);
    AddServer(*remove);
  }

  void RegisterPlans(CLI::App& app) {
    CLI::App* plan = app.add_subcommand("plan", "several weights at once, all or none");
    plan->require_subcommand(1);
    CLI::App* shift = AddChange(*plan, "shift-away", "move most traffic away from a server",
                                &LbCommand::ShiftAway);
    AddServer(*shift);
    shift->add_option("--keep", keep_, "share of its initial weight that it keeps (default 0.1)")
        ->check(CLI::Range(0.0, 1.0));
    AddReason(*shift);
    CLI::App* balance =
        AddChange(*plan, "balance", "back to the initial weights", &LbCommand::Balance);
    balance->add_option("backend", backend_, "which one")->type_name("BACKEND")->required();
    AddReason(*balance);
    CLI::App* proportional = AddChange(*plan, "proportional", "weights in proportion to cores",
                                       &LbCommand::Proportional);
    proportional->add_option("backend", backend_, "which one")->type_name("BACKEND")->required();
    proportional->add_option("cores", cores_, "for every server of the backend")
        ->type_name("SERVER=CORES")
        ->required();
    AddReason(*proportional);
  }

  void RegisterReads(CLI::App& app) {
    AddRead(app, "drift", "what differs from what is wanted; exit code 1 when something does",
            &LbCommand::Drift);
    AddRead(app, "follow", "backends whose weights follow capacity", &LbCommand::Follow);
    CLI::App* stats = AddRead(app, "stats", "statistics until interrupted", &LbCommand::Stats);
    stats->add_option("--backend", backend_, "only this one")->type_name("NAME");
    AddDuration(*stats, "--period", &period_, "between two lines (default 1s)");
    stats->add_option("--count", count_, "end after so many (default: never)");
    CLI::App* reconcile = app.add_subcommand("reconcile", "settle what differs");
    reconcile->require_subcommand(1);
    AddScope(*AddChange(*reconcile, "apply", "what is wanted wins", &LbCommand::ReconcileApply));
    AddScope(*AddChange(*reconcile, "accept", "what the balancer has wins",
                        &LbCommand::ReconcileAccept));
  }

  // A changing call about one server.
  template <typename Request>
  Request Make(Session& session) const {
    Request request;
    request.set_backend(backend_);
    request.set_server(server_);
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    return request;
  }
  // Calls, and prints the answer as JSON or `text` of it.
  template <typename Request, typename Response, typename Text>
  absl::Status CallAndPrint(Session& session,
                            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                         Response*),
                            const Request& request, Response* response, const Text& text) {
    CS_RETURN_IF_ERROR(session.Call(Peer::kLbctl, method, request, response));
    if (session.options().is_json) {
      session.PrintJson(*response);
    } else {
      session.io().out << text() << (is_dry_run_ ? " (allowed, nothing was changed)\n" : "\n");
    }
    return absl::OkStatus();
  }
  [[nodiscard]] std::string Name() const { return Printable(absl::StrCat(backend_, "/", server_)); }

  absl::Status Weight(Session& session) {
    auto request = Make<lb::SetWeightRequest>(session);
    CS_RETURN_IF_ERROR(ParseWeight(weight_, &request));
    lb::SetWeightResponse response;
    return CallAndPrint(session, &Stub::SetWeight, request, &response, [&] {
      return absl::StrCat(Name(), ": weight ", response.previous_weight(), " -> ",
                          response.server().weight());
    });
  }

  absl::Status SetState(Session& session, lb::ServerState state) {
    auto request = Make<lb::SetServerStateRequest>(session);
    request.set_state(state);
    request.set_reason(reason_);
    lb::SetServerStateResponse response;
    return CallAndPrint(session, &Stub::SetServerState, request, &response, [&] {
      return absl::StrCat(Name(), ": ", EnumText(response.previous_state()), " -> ",
                          EnumText(response.server().state()));
    });
  }
  absl::Status Ready(Session& session) { return SetState(session, lb::SERVER_STATE_READY); }
  absl::Status Maint(Session& session) { return SetState(session, lb::SERVER_STATE_MAINT); }

  absl::Status Drain(Session& session) {
    auto request = Make<lb::DrainServerRequest>(session);
    *request.mutable_timeout() = rpc::ToProto(drain_timeout_);
    request.set_force(is_forced_);
    request.set_reason(reason_);
    lb::DrainServerResponse response;
    session.ExtendTimeout(drain_timeout_);  // the answer comes when it is over
    CS_RETURN_IF_ERROR(CallAndPrint(session, &Stub::DrainServer, request, &response, [&] {
      return absl::StrCat(Name(), ": ", EnumText(response.server().state()), ", ",
                          response.remaining_sessions(), " sessions left");
    }));
    if (!is_dry_run_ && !response.is_drained()) {
      return BadNews(session, absl::StrCat(response.remaining_sessions(), " sessions are left on ",
                                           Name(), "; it takes no new ones"));
    }
    return absl::OkStatus();
  }

  // Port 0 where there is none.
  absl::StatusOr<std::pair<std::string, int>> Endpoint() const {
    const size_t bracket = address_.find(']');
    const bool is_v6 = absl::StartsWith(address_, "[") && bracket != std::string::npos;
    const size_t from = is_v6 ? bracket : 0;
    const size_t colon = address_.find(':', from);
    const bool is_bare_v6 =
        !is_v6 && colon != std::string::npos && address_.find(':', colon + 1) != std::string::npos;
    if (is_bare_v6 || colon == std::string::npos) {
      return std::pair(is_v6 ? address_.substr(1, bracket - 1) : address_, 0);
    }
    CS_ASSIGN_OR_RETURN(const double port, ParseNumber(address_.substr(colon + 1)));
    if (port < 1 || port > 65535 || port != static_cast<double>(static_cast<int>(port))) {
      return absl::InvalidArgumentError(
          absl::StrCat("port ", address_.substr(colon + 1), " is not within 1 and 65535"));
    }
    return std::pair(is_v6 ? address_.substr(1, bracket - 1) : address_.substr(0, colon),
                     static_cast<int>(port));
  }

  absl::Status Address(Session& session) {
    CS_ASSIGN_OR_RETURN(const auto endpoint, Endpoint());
    auto request = Make<lb::SetServerAddressRequest>(session);
    request.set_address(endpoint.first);
    request.set_port(endpoint.second);
    request.set_reason(reason_);
    lb::SetServerAddressResponse response;
    return CallAndPrint(session, &Stub::SetServerAddress, request, &response, [&] {
      return absl::StrCat(Name(), ": ", response.previous_address(), " port ",
                          response.previous_port(), " -> ", response.server().address(), " port ",
                          response.server().port());
    });
  }

  absl::Status Add(Session& session) {
    CS_ASSIGN_OR_RETURN(const auto endpoint, Endpoint());
    auto request = Make<lb::AddServerRequest>(session);
    request.set_address(endpoint.first);
    request.set_port(endpoint.second);
    request.set_weight(new_weight_);
    request.set_vm_uuid(vm_);
    request.set_is_checked(is_checked_);
    lb::AddServerResponse response;
    return CallAndPrint(session, &Stub::AddServer, request, &response, [&] {
      return absl::StrCat(Name(), ": added with weight ", response.server().weight());
    });
  }

  absl::Status Remove(Session& session) {
    lb::RemoveServerResponse response;
    return CallAndPrint(session, &Stub::RemoveServer, Make<lb::RemoveServerRequest>(session),
                        &response, [&] { return absl::StrCat(Name(), ": removed"); });
  }

  template <typename Changes>
  static std::string ChangesText(const Session& session, const Changes& changes) {
    Table table(
        {{.title = "SERVER"}, {.title = "WEIGHT", .align = Align::kRight}, {.title = "STATE"}});
    for (const lb::ServerChange& c : changes) {
      table.AddRow(
          {{absl::StrCat(c.backend(), "/", c.server()), Colour::kBold},
           {absl::StrCat(c.weight_before(), " -> ", c.weight_after())},
           {c.state_before() == c.state_after()
                ? EnumText(c.state_after())
                : absl::StrCat(EnumText(c.state_before()), " -> ", EnumText(c.state_after()))}});
    }
    return table.empty() ? "nothing to change\n" : table.Render(session.style(), session.width());
  }

  absl::Status ApplyPlan(Session& session, lb::ApplyPlanRequest request) {
    request.set_reason(reason_);
    lb::ApplyPlanResponse response;
    return CallAndPrint(session, &Stub::ApplyPlan, request, &response, [&] {
      return absl::StrCat(ChangesText(session, response.changes()), is_dry_run_ ? "plan" : "done");
    });
  }
  absl::Status ShiftAway(Session& session) {
    auto request = Make<lb::ApplyPlanRequest>(session);
    request.set_plan(lb::PLAN_SHIFT_AWAY);
    request.set_remaining_ratio(keep_);
    return ApplyPlan(session, std::move(request));
  }
  absl::Status Balance(Session& session) {
    auto request = Make<lb::ApplyPlanRequest>(session);
    request.set_plan(lb::PLAN_BALANCE);
    return ApplyPlan(session, std::move(request));
  }
  absl::Status Proportional(Session& session) {
    auto request = Make<lb::ApplyPlanRequest>(session);
    request.set_plan(lb::PLAN_PROPORTIONAL);
    for (const std::string& pair : cores_) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(pair, absl::MaxSplits('=', 1));
      const absl::StatusOr<double> cores = ParseNumber(parts.second);
      if (!cores.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("'", pair, "' is not SERVER=CORES"));
      }
      (*request.mutable_capacity_cores())[parts.first] = *cores;
    }
    return ApplyPlan(session, std::move(request));
  }

  template <typename Drifts>
  static std::string DriftText(const Session& session, const Drifts& drifts) {
    Table table({{.title = "SERVER"},
                 {.title = "FIELD"},
                 {.title = "WANTED"},
                 {.title = "IS"},
                 {.title = "CAUSE"},
                 {.title = "SINCE", .drop_order = 1}});
    for (const lb::Drift& d : drifts) {
      table.AddRow(
          {{absl::StrCat(d.backend(), "/", d.server()), Colour::kBold},
           {d.field()},
           {d.desired()},
           {d.actual(), Colour::kYellow},
           {EnumText(d.cause())},
           {absl::FormatTime("%H:%M:%S", rpc::FromProto(d.noticed_at()), absl::LocalTimeZone())}});
    }
    return table.empty() ? "all is as wanted\n" : table.Render(session.style(), session.width());
  }

  absl::Status Drift(Session& session) {
    lb::ListDriftResponse response;
    CS_RETURN_IF_ERROR(
        session.CallAllPages(Peer::kLbctl, &Stub::ListDrift, lb::ListDriftRequest(), &response));
    if (session.options().is_json) {
      session.PrintJson(response);
    } else {
      session.io().out << DriftText(session, response.drifts());
    }
    return response.drifts().empty()
               ? absl::OkStatus()
               : BadNews(session, absl::StrCat(response.drifts_size(), " settings differ"));
  }

  absl::Status Reconcile(Session& session, lb::ReconcileChoice choice) {
    auto request = Make<lb::ReconcileRequest>(session);
    request.set_choice(choice);
    lb::ReconcileResponse response;
    CS_RETURN_IF_ERROR(CallAndPrint(session, &Stub::Reconcile, request, &response, [&] {
      return absl::StrCat(ChangesText(session, response.changes()),
                          "left: ", DriftText(session, response.remaining()),
                          is_dry_run_ ? "plan" : "done");
    }));
    const auto is_in_scope = [this](const lb::Drift& d) {
      return (backend_.empty() || d.backend() == backend_) &&
             (server_.empty() || d.server() == server_);
    };
    const auto left =
        std::count_if(response.remaining().begin(), response.remaining().end(), is_in_scope);
    return left == 0 ? absl::OkStatus()
                     : BadNews(session, absl::StrCat(left, " settings still differ"));
  }
  absl::Status ReconcileApply(Session& session) {
    return Reconcile(session, lb::RECONCILE_CHOICE_APPLY_DESIRED);
  }
  absl::Status ReconcileAccept(Session& session) {
    return Reconcile(session, lb::RECONCILE_CHOICE_ACCEPT_ACTUAL);
  }

  absl::Status Follow(Session& session) {
    lb::GetStatusResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kLbctl, &Stub::GetStatus, lb::GetStatusRequest(), &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    Table table({{.title = "BACKEND"}, {.title = "LAST LOOK"}, {.title = "DETAIL"}});
    for (const lb::CapacityFollow& f : response.capacity_follows()) {
      table.AddRow({{f.backend(), Colour::kBold}, {EnumText(f.outcome())}, {f.detail()}});
    }
    session.io().out << (table.empty() ? "no backend follows capacity\n"
                                       : table.Render(session.style(), session.width()));
    return absl::OkStatus();
  }

  absl::Status Stats(Session& session) {
    lb::WatchStatsRequest request;
    request.set_backend(backend_);
    *request.mutable_period() = rpc::ToProto(period_);
    int seen = 0;
    return session.Stream<Stub, lb::WatchStatsRequest, lb::WatchStatsResponse>(
        Peer::kLbctl, &Stub::WatchStats, request, [&](const lb::WatchStatsResponse& message) {
          if (message.is_heartbeat()) {
            return true;
          }
          PrintStats(session, message);
          ++seen;
          return count_ == 0 || seen < count_;
        });
  }

  static void PrintStats(Session& session, const lb::WatchStatsResponse& message) {
    if (session.options().is_json) {
      session.PrintJson(message, /*is_one_line=*/true);
      session.io().out << std::flush;
      return;
    }
    const std::string time =
        absl::FormatTime("%H:%M:%S", rpc::FromProto(message.sample_time()), absl::LocalTimeZone());
    for (const lb::Backend& backend : message.backends()) {
      for (const lb::Server& server : backend.servers()) {
        session.io().out << absl::StrFormat(
            "%s %s/%s %s weight %d sessions %d queued %d rate %.1f/s errors %d\n", time,
            Printable(backend.name()), Printable(server.name()), EnumText(server.state()),
            server.weight(), server.stats().current_sessions(), server.stats().queued_requests(),
            server.stats().request_rate(), server.stats().error_count());
      }
    }
    session.io().out << std::flush;
  }

  Action action_ = nullptr;
  std::string backend_;
  std::string server_;
  std::string weight_;
  std::string address_;
  std::string vm_;
  std::string reason_;
  std::vector<std::string> cores_;
  absl::Duration drain_timeout_ = absl::Seconds(60);
  absl::Duration period_ = absl::Seconds(1);
  double keep_ = 0.1;
  int new_weight_ = 0;
  int count_ = 0;
  bool is_forced_ = false;
  bool is_checked_ = false;
  bool is_dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeLbCommand() { return std::make_unique<LbCommand>(); }

}  // namespace cloudscale::cli
