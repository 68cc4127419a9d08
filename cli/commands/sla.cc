#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using sla::v1::SlaService;

class ObjectivesCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"objectives",
            "Objectives",
            "what was promised to applications, and how well it was kept",
            {"objectives", "objectives --app shop --json"}};
  }
  void Register(CLI::App& app) override {
    app.add_option("--app", application_, "only this application")->type_name("NAME");
  }

  absl::Status Run(Session& session) override {
    sla::v1::ListObjectivesRequest request;
    request.set_application(application_);
    sla::v1::ListObjectivesResponse all;
    CS_RETURN_IF_ERROR(
        session.CallAllPages(Peer::kSla, &SlaService::Stub::ListObjectives, request, &all));
    sla::v1::GetComplianceRequest compliance_request;
    compliance_request.set_application(application_);
    sla::v1::GetComplianceResponse compliance;
    CS_RETURN_IF_ERROR(session.Call(Peer::kSla, &SlaService::Stub::GetCompliance,
                                    compliance_request, &compliance));
    if (session.options().is_json) {
      nlohmann::ordered_json json =
          nlohmann::ordered_json::parse(MessageToJson(all, true), nullptr, false);
      json["compliances"] = nlohmann::ordered_json::parse(MessageToJson(compliance, true), nullptr,
                                                          false)["compliances"];
      session.io().out << json.dump(2) << "\n";
      return absl::OkStatus();
    }
    Print(session, all, compliance);
    return absl::OkStatus();
  }

 private:
  static void Print(Session& session, const sla::v1::ListObjectivesResponse& all,
                    const sla::v1::GetComplianceResponse& compliance) {
    std::map<std::string, const sla::v1::Compliance*> kept;
    for (const auto& c : compliance.compliances()) {
      kept[c.objective_id()] = &c;
    }
    Table table({{.title = "OBJECTIVE"},
                 {.title = "APPLICATION"},
                 {.title = "PROMISE", .min_width = 24},
                 {.title = "KEPT", .align = Align::kRight},
                 {.title = "BUDGET LEFT", .align = Align::kRight},
                 {.title = "P95", .align = Align::kRight, .drop_order = 1},
                 {.title = "VIOLATIONS", .align = Align::kRight, .drop_order = 2}});
    for (const auto& objective : all.objectives()) {
      const auto found = kept.find(objective.objective_id());
      const sla::v1::Compliance none;
      const sla::v1::Compliance& c = found == kept.end() ? none : *found->second;
      const bool is_judged = c.window_count() > 0;
      const bool is_missed = is_judged && c.compliance_ratio() < c.target_ratio();
      table.AddRow({{objective.objective_id(), Colour::kBold},
                    {objective.application()},
                    {absl::StrCat(PromiseText(objective.terms()),
                                  objective.is_disabled() ? " (disabled)" : "")},
                    {is_judged ? FormatPercent(c.compliance_ratio()) : "-",
                     is_missed ? Colour::kRed : Colour::kGreen},
                    {is_judged ? FormatPercent(c.budget_remaining_ratio()) : "-"},
                    {c.has_latency_p95() ? DurationText(rpc::FromProto(c.latency_p95())) : "-"},
                    {absl::StrCat(c.violation_count())}});
    }
    session.io().out << (table.empty() ? "no objectives\n"
                                       : table.Render(session.style(), session.width()));
  }

  std::string application_;
};

class ViolationsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"violations",
            "Objectives",
            "times in which an objective was missed, newest first",
            {"violations", "violations --open", "violations --app shop -n 100 --json"}};
  }
  void Register(CLI::App& app) override {
    app.add_option("--app", application_, "only this application")->type_name("NAME");
    app.add_option("--objective", objective_, "only this objective")->type_name("ID");
    app.add_flag("--open", is_open_only_, "only those that go on");
    AddLimit(app, &limit_, "at most this many (default 20)");
  }

  absl::Status Run(Session& session) override {
    sla::v1::ListViolationsRequest request;
    request.set_application(application_);
    request.set_objective_id(objective_);
    request.set_open_only(is_open_only_);
    sla::v1::ListViolationsResponse all;
    CS_RETURN_IF_ERROR(
        session.CallAllPages(Peer::kSla, &SlaService::Stub::ListViolations, request, &all, limit_));
    if (all.violations_size() > limit_) {
      all.mutable_violations()->DeleteSubrange(limit_, all.violations_size() - limit_);
    }
    if (session.options().is_json) {
      session.PrintJson(all);
      return absl::OkStatus();
    }
    Table table({{.title = "BEGAN"},
                 {.title = "LASTED", .align = Align::kRight},
                 {.title = "APPLICATION"},
                 {.title = "OBJECTIVE"},
                 {.title = "OBSERVED", .align = Align::kRight},
                 {.title = "ALLOWED", .align = Align::kRight},
                 {.title = "BURN", .align = Align::kRight, .drop_order = 2},
                 {.title = "SOURCE", .drop_order = 3},
                 {.title = "DONE ABOUT IT", .drop_order = 1, .min_width = 16}});
    for (const auto& v : all.violations()) {
      const absl::Time start = rpc::FromProto(v.started_at());
      const bool is_open = v.state() == sla::v1::VIOLATION_STATE_OPEN;
      table.AddRow({{TimeText(start)},
                    {is_open ? "goes on" : DurationText(rpc::FromProto(v.ended_at()) - start),
                     is_open ? Colour::kRed : Colour::kNone},
                    {v.application()},
                    {v.objective_id(), Colour::kBold},
                    {absl::StrCat(v.observed())},
                    {absl::StrCat(v.threshold())},
                    {FormatCores(v.burn_rate())},
                    {v.source()},
                    {absl::StrJoin(v.effects(), "; ")}});
    }
    session.io().out << (table.empty() ? "no violations\n"
                                       : table.Render(session.style(), session.width()));
    return absl::OkStatus();
  }

 private:
  std::string application_;
  std::string objective_;
  bool is_open_only_ = false;
  int limit_ = 20;
};

}  // namespace

std::unique_ptr<Command> MakeObjectivesCommand() { return std::make_unique<ObjectivesCommand>(); }
std::unique_ptr<Command> MakeViolationsCommand() { return std::make_unique<ViolationsCommand>(); }

}  // namespace cloudscale::cli
