#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/exit_code.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

using scaler::v1::ScalerService;

class RestoreCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"restore",
            "Steering",
            "give VMs back the sizes they had before CloudScale touched them",
            {"restore", "restore web-1 db-1 --yes", "restore --dry-run"}};
  }

  void Register(CLI::App& app) override {
    app.add_option("vms", vms_, "only these (default: all that were ever changed)")
        ->type_name(kVmType);
    app.add_flag("--yes,-y", is_sure_, "do not ask");
    app.add_flag("--dry-run", is_dry_run_, "show what would be done and change nothing");
  }

  absl::Status Run(Session& session) override {
    scaler::v1::RestoreOriginalsRequest request;
    for (const std::string& vm : vms_) {
      CS_ASSIGN_OR_RETURN(const VmRef ref, ResolveVm(session, vm));
      request.add_vm_uuids(ref.uuid);
    }
    if (!is_dry_run_ && !is_sure_) {
      CS_RETURN_IF_ERROR(Ask(session, request));
      if (!is_sure_) {
        session.io().err << "cloudscalectl: nothing was changed\n";
        return absl::OkStatus();
      }
    }
    CS_ASSIGN_OR_RETURN(const auto response, Restore(session, request, is_dry_run_));
    if (session.options().is_json) {
      session.PrintJson(response);
    } else {
      Print(session, response);
      session.io().out << (is_dry_run_ ? "nothing was changed\n"
                                       : "VMs keep these sizes: their mode is OBSERVE now\n");
    }
    return is_dry_run_ ? absl::OkStatus() : CheckAllRestored(session, response);
  }

 private:
  // An answer says that it was tried; each action says whether it worked.
  static absl::Status CheckAllRestored(Session& session,
                                       const scaler::v1::RestoreOriginalsResponse& response) {
    int64_t left = 0;
    std::string first;
    for (const scaler::v1::Action& action : response.actions()) {
      if (action.state() != scaler::v1::ACTION_STATE_SUCCEEDED) {
        first = left++ == 0 ? action.error() : first;
      }
    }
    if (left == 0) {
      return absl::OkStatus();
    }
    absl::Status status = absl::FailedPreconditionError(
        absl::StrCat(left, " of ", response.actions_size(), " sizes were not restored: ", first));
    status.SetPayload(kAddressPayload, absl::Cord(session.options().AddressOf(Peer::kScaler)));
    return status;
  }

  static absl::StatusOr<scaler::v1::RestoreOriginalsResponse> Restore(
      Session& session, scaler::v1::RestoreOriginalsRequest request, bool is_dry_run) {
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run);
    scaler::v1::RestoreOriginalsResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kScaler, &ScalerService::Stub::RestoreOriginals, request, &response));
    return response;
  }

  // Shows what would be done and sets `is_sure_` when the person at the keyboard agrees.
  absl::Status Ask(Session& session, const scaler::v1::RestoreOriginalsRequest& request) {
    if (!session.io().is_in_terminal) {
      return absl::InvalidArgumentError(
          "restore asks before it changes sizes and nobody is there to answer: add --yes");
    }
    CS_ASSIGN_OR_RETURN(const auto plan, Restore(session, request, /*is_dry_run=*/true));
    if (!session.options().is_json) {
      Print(session, plan);
    }
    session.io().err << "Restore and set these VMs to OBSERVE? [y/N] " << std::flush;
    std::string answer;
    std::getline(session.io().in, answer);
    answer = absl::AsciiStrToLower(absl::StripAsciiWhitespace(answer));
    is_sure_ = answer == "y" || answer == "yes";
    return absl::OkStatus();
  }

  static void Print(Session& session, const scaler::v1::RestoreOriginalsResponse& response) {
    Table table({{.title = "VM"},
                 {.title = "KIND"},
                 {.title = "NOW", .align = Align::kRight},
                 {.title = "ORIGINAL", .align = Align::kRight},
                 {.title = "STATE"}});
    for (const auto& a : response.actions()) {
      table.AddRow({{a.vm_uuid(), Colour::kBold},
                    {EnumText(a.kind())},
                    {ActionValueText(a.before())},
                    {ActionValueText(a.target())},
                    {EnumText(a.state())}});
    }
    session.io().out << (table.empty() ? "every VM has its original size\n"
                                       : table.Render(session.style(), session.width()));
  }

  std::vector<std::string> vms_;
  bool is_sure_ = false;
  bool is_dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeRestoreCommand() { return std::make_unique<RestoreCommand>(); }

}  // namespace cloudscale::cli
