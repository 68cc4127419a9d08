#include <map>

#include "absl/strings/ascii.h"
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

Colour StateColour(scaler::v1::ActionState state) {
  switch (state) {
    case scaler::v1::ACTION_STATE_SUCCEEDED:
      return Colour::kGreen;
    case scaler::v1::ACTION_STATE_FAILED:
    case scaler::v1::ACTION_STATE_INFEASIBLE:
      return Colour::kRed;
    case scaler::v1::ACTION_STATE_PENDING:
    case scaler::v1::ACTION_STATE_DEFERRED:
    case scaler::v1::ACTION_STATE_ROLLED_BACK:
      return Colour::kYellow;
    default:
      return Colour::kNone;
  }
}

class ActionsCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"actions",
            "Understanding",
            "changes that were made at the hypervisor, newest first",
            {"actions", "actions web-1 --state failed", "actions -n 100 --json"}};
  }

  void Register(CLI::App& app) override {
    AddVm(app, "vm", &vm_, "only of this VM");
    AddChoice(app, "--state,-s", &state_,
              {"pending", "deferred", "infeasible", "running", "verifying", "succeeded", "failed",
               "rolled_back", "skipped", "superseded"},
              "only in this state");
    AddLimit(app, &limit_, "at most this many (default 20)");
  }

  absl::Status Run(Session& session) override {
    scaler::v1::ListActionsRequest request;
    if (!vm_.empty()) {
      CS_ASSIGN_OR_RETURN(const VmRef vm, ResolveVm(session, vm_));
      request.set_vm_uuid(vm.uuid);
    }
    scaler::v1::ActionState state{};
    if (scaler::v1::ActionState_Parse(absl::StrCat("ACTION_STATE_", absl::AsciiStrToUpper(state_)),
                                      &state)) {
      request.add_states(state);
    }
    scaler::v1::ListActionsResponse all;
    CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kScaler, &ScalerService::Stub::ListActions,
                                            request, &all, limit_));
    if (all.actions_size() > limit_) {
      all.mutable_actions()->DeleteSubrange(limit_, all.actions_size() - limit_);
    }
    if (session.options().is_json) {
      session.PrintJson(all);
      return absl::OkStatus();
    }
    Print(session, all);
    return absl::OkStatus();
  }

 private:
  static void Print(Session& session, const scaler::v1::ListActionsResponse& all) {
    std::map<std::string, std::string> names;  // labels only: their absence is no fault
    if (const auto vms = ListVmRefs(session); vms.ok()) {
      for (const VmRef& vm : *vms) {
        names[vm.uuid] = vm.name;
      }
    }
    Table table({{.title = "TIME"},
                 {.title = "VM", .min_width = 8},
                 {.title = "KIND"},
                 {.title = "STATE"},
                 {.title = "BEFORE", .align = Align::kRight},
                 {.title = "TARGET", .align = Align::kRight},
                 {.title = "READ BACK", .align = Align::kRight, .drop_order = 2},
                 {.title = "TRIES", .align = Align::kRight, .drop_order = 3},
                 {.title = "WHY", .drop_order = 1, .min_width = 20}});
    for (const auto& a : all.actions()) {
      const auto name = names.find(a.vm_uuid());
      table.AddRow({{ClockText(rpc::FromProto(a.created_at()))},
                    {name != names.end() && !name->second.empty() ? name->second : a.vm_uuid(),
                     Colour::kBold},
                    {EnumText(a.kind())},
                    {EnumText(a.state()), StateColour(a.state())},
                    {ActionValueText(a.before())},
                    {ActionValueText(a.target())},
                    {ActionValueText(a.observed())},
                    {absl::StrCat(a.attempt_count())},
                    {!a.error().empty()    ? a.error()
                     : a.reasons().empty() ? "-"
                                           : ReasonText(a.reasons(0))}});
    }
    session.io().out << (table.empty() ? "no actions\n"
                                       : table.Render(session.style(), session.width()));
  }

  std::string vm_;
  std::string state_;
  int limit_ = 20;
};

}  // namespace

std::unique_ptr<Command> MakeActionsCommand() { return std::make_unique<ActionsCommand>(); }

}  // namespace cloudscale::cli
