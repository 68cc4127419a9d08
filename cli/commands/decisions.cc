#include "absl/strings/str_cat.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

using scaler::v1::ScalerService;

std::string NameOf(const scaler::v1::Decision& d) {
  return d.vm_name().empty() ? d.vm_uuid() : d.vm_name();
}

std::string TopReason(const scaler::v1::Decision& d) {
  return d.reasons().empty() ? "-" : ReasonText(d.reasons(0));
}

Colour OutcomeColour(scaler::v1::DecisionOutcome outcome) {
  switch (outcome) {
    case scaler::v1::DECISION_OUTCOME_APPLIED:
      return Colour::kGreen;
    case scaler::v1::DECISION_OUTCOME_REFUSED:
    case scaler::v1::DECISION_OUTCOME_FAILED:
      return Colour::kRed;
    case scaler::v1::DECISION_OUTCOME_DEFERRED:
    case scaler::v1::DECISION_OUTCOME_AWAITING_APPROVAL:
      return Colour::kYellow;
    default:
      return Colour::kNone;
  }
}

class DecisionsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"decisions",
            "Understanding",
            "what was decided, newest first, or as it happens",
            {"decisions", "decisions web-1 --changes -n 50", "decisions --watch --json"}};
  }

  void Register(CLI::App& app) override {
    AddVm(app, "vm", &vm_, "only of this VM");
    app.add_flag("--watch,-w", is_watching_, "go on as decisions are made");
    app.add_flag("--changes,-c", is_changes_only_, "only those that change something");
    AddLimit(app, &limit_, "at most this many (default 20); with --watch: end after them");
  }

  absl::Status Run(Session& session) override {
    std::string uuid;
    if (!vm_.empty()) {
      CS_ASSIGN_OR_RETURN(const VmRef vm, ResolveVm(session, vm_));
      uuid = vm.uuid;
    }
    return is_watching_ ? Watch(session, uuid) : List(session, uuid);
  }

 private:
  absl::Status List(Session& session, const std::string& uuid) const {
    scaler::v1::ListDecisionsRequest request;
    request.set_vm_uuid(uuid);
    request.set_changes_only(is_changes_only_);
    const int limit = limit_ > 0 ? limit_ : 20;
    scaler::v1::ListDecisionsResponse all;
    CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kScaler, &ScalerService::Stub::ListDecisions,
                                            request, &all, limit));
    if (all.decisions_size() > limit) {
      all.mutable_decisions()->DeleteSubrange(limit, all.decisions_size() - limit);
    }
    if (session.options().is_json) {
      session.PrintJson(all);
      return absl::OkStatus();
    }
    Table table({{.title = "TIME"},
                 {.title = "VM", .min_width = 8},
                 {.title = "RESOURCE", .drop_order = 3},
                 {.title = "OUTCOME"},
                 {.title = "DEMAND", .align = Align::kRight, .drop_order = 2},
                 {.title = "FORECAST", .align = Align::kRight, .drop_order = 4},
                 {.title = "PADDING", .align = Align::kRight, .drop_order = 5},
                 {.title = "BEFORE", .align = Align::kRight, .drop_order = 1},
                 {.title = "TARGET", .align = Align::kRight},
                 {.title = "REASON", .min_width = 20}});
    for (const auto& d : all.decisions()) {
      const Unit unit = UnitOf(d.resource());
      table.AddRow({{ClockText(rpc::FromProto(d.decided_at()))},
                    {NameOf(d), Colour::kBold},
                    {EnumText(d.resource())},
                    {EnumText(d.outcome()), OutcomeColour(d.outcome())},
                    {FormatValue(unit, CLOUDSCALE_CLI_OPTIONAL(d, demand))},
                    {FormatValue(unit, CLOUDSCALE_CLI_OPTIONAL(d, forecast))},
                    {FormatValue(unit, d.padding().total())},
                    {FormatValue(unit, CLOUDSCALE_CLI_OPTIONAL(d, previous))},
                    {FormatValue(unit, d.target())},
                    {TopReason(d)}});
    }
    session.io().out << (table.empty() ? "no decisions\n"
                                       : table.Render(session.style(), session.width()));
    return absl::OkStatus();
  }

  absl::Status Watch(Session& session, const std::string& uuid) const {
    scaler::v1::WatchDecisionsRequest request;
    request.set_vm_uuid(uuid);
    request.set_changes_only(is_changes_only_);
    int left = limit_;
    const std::function<bool(const scaler::v1::WatchDecisionsResponse&)> print =
        [&](const scaler::v1::WatchDecisionsResponse& message) {
          if (message.dropped_count() > 0) {
            session.io().err << "cloudscalectl: " << message.dropped_count()
                             << " decisions were lost, reading too slowly\n";
          }
          if (message.is_heartbeat() || !message.has_decision()) {
            return true;
          }
          if (session.options().is_json) {
            session.PrintJson(message.decision(), /*is_one_line=*/true);
          } else {
            session.io().out << Line(message.decision(), session.style()) << "\n" << std::flush;
          }
          return limit_ == 0 || --left > 0;
        };
    return session.Stream(Peer::kScaler, &ScalerService::Stub::WatchDecisions, request, print);
  }

  static std::string Line(const scaler::v1::Decision& d, const Style& style) {
    const Unit unit = UnitOf(d.resource());
    return absl::StrCat(
        ClockText(rpc::FromProto(d.decided_at())), " ",
        style.Paint(Colour::kBold, Printable(NameOf(d))), " ", EnumText(d.resource()), " ",
        style.Paint(OutcomeColour(d.outcome()), EnumText(d.outcome())), " ",
        FormatValue(unit, CLOUDSCALE_CLI_OPTIONAL(d, previous)), " -> ",
        FormatValue(unit, d.target()), " (demand ",
        FormatValue(unit, CLOUDSCALE_CLI_OPTIONAL(d, demand)), ") ", Printable(TopReason(d)));
  }

  std::string vm_;
  bool is_watching_ = false;
  bool is_changes_only_ = false;
  int limit_ = 0;
};

}  // namespace

std::unique_ptr<Command> MakeDecisionsCommand() { return std::make_unique<DecisionsCommand>(); }

}  // namespace cloudscale::cli
