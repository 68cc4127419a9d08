#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

using scaler::v1::ScalerService;

// Empty for the host.
absl::StatusOr<VmRef> TargetOf(Session& session, const std::string& vm) {
  return vm.empty() ? VmRef() : ResolveVm(session, vm);
}

std::string TargetText(const VmRef& vm) {
  return vm.uuid.empty() ? "host" : Printable(vm.name.empty() ? vm.uuid : vm.name);
}

class ModeCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"mode",
            "Steering",
            "how far the scaler is trusted, for the host or one VM",
            {"mode recommend", "mode auto --vm web-1", "mode observe --dry-run"}};
  }

  void Register(CLI::App& app) override {
    AddChoice(app, "mode", &mode_, {"observe", "recommend", "canary", "auto"}, "the new mode")
        ->required();
    AddVm(app, "--vm", &vm_, "only this VM; the host's mode is the upper limit");
    app.add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
  }

  absl::Status Run(Session& session) override {
    CS_ASSIGN_OR_RETURN(const VmRef vm, TargetOf(session, vm_));
    scaler::v1::SetModeRequest request;
    request.set_vm_uuid(vm.uuid);
    scaler::v1::Mode mode{};
    scaler::v1::Mode_Parse(absl::StrCat("MODE_", absl::AsciiStrToUpper(mode_)), &mode);
    request.set_mode(mode);
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    scaler::v1::SetModeResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kScaler, &ScalerService::Stub::SetMode, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    session.io().out << TargetText(vm) << ": " << EnumText(response.previous_mode()) << " -> "
                     << EnumText(response.mode());
    if (response.effective_mode() != response.mode()) {
      session.io().out << ", in force " << EnumText(response.effective_mode())
                       << " because of the host's mode";
    }
    session.io().out << (is_dry_run_ ? " (allowed, nothing was changed)\n" : "\n");
    return absl::OkStatus();
  }

 private:
  std::string mode_;
  std::string vm_;
  bool is_dry_run_ = false;
};

// `pause` and `resume`: the same call with the opposite value.
class PauseCommand : public Command {
 public:
  explicit PauseCommand(bool is_pause) : is_pause_(is_pause) {}

  CommandInfo info() const override {
    if (is_pause_) {
      return {"pause",
              "Steering",
              "stop changing sizes, for the host or one VM, in all or some directions",
              {"pause --reason 'maintenance window'", "pause --vm web-1 --shrink --for 2h"}};
    }
    return {"resume", "Steering", "take a pause back", {"resume", "resume --vm web-1 --shrink"}};
  }

  void Register(CLI::App& app) override {
    AddVm(app, "--vm", &vm_, "only this VM");
    app.add_flag("--grow", is_grow_, "only growth");
    app.add_flag("--shrink", is_shrink_, "only shrinking");
    app.add_flag("--migrate", is_migrate_, "only migration");
    if (is_pause_) {
      AddDuration(app, "--for", &duration_, "until this time is over (default: until resumed)");
      app.add_option("--reason", reason_, "shown in every decision that it stops");
    }
    app.add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
  }

  absl::Status Run(Session& session) override {
    CS_ASSIGN_OR_RETURN(const VmRef vm, TargetOf(session, vm_));
    const bool is_all = !is_grow_ && !is_shrink_ && !is_migrate_;
    scaler::v1::SetPauseRequest request;
    request.set_vm_uuid(vm.uuid);
    scaler::v1::PauseState& pause = *request.mutable_pause();
    if (is_all || is_grow_) {
      pause.set_pause_grow(is_pause_);
    }
    if (is_all || is_shrink_) {
      pause.set_pause_shrink(is_pause_);
    }
    if (is_all || is_migrate_) {
      pause.set_pause_migrate(is_pause_);
    }
    pause.set_reason(reason_);
    if (duration_ != absl::InfiniteDuration()) {
      *pause.mutable_paused_until() = rpc::ToProto(session.clock().WallNow() + duration_);
    }
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    scaler::v1::SetPauseResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kScaler, &ScalerService::Stub::SetPause, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    const std::string stored = PauseText(response.pause());
    const std::string effective = PauseText(response.effective());
    session.io().out << TargetText(vm) << ": "
                     << (stored.empty() ? "nothing paused" : Printable(stored));
    if (effective != stored && !effective.empty()) {
      session.io().out << "; together with the host's: " << Printable(effective);
    }
    session.io().out << (is_dry_run_ ? " (allowed, nothing was changed)\n" : "\n");
    return absl::OkStatus();
  }

 private:
  const bool is_pause_;
  std::string vm_;
  bool is_grow_ = false;
  bool is_shrink_ = false;
  bool is_migrate_ = false;
  absl::Duration duration_ = absl::InfiniteDuration();
  std::string reason_;
  bool is_dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> MakeModeCommand() { return std::make_unique<ModeCommand>(); }
std::unique_ptr<Command> MakePauseCommand() { return std::make_unique<PauseCommand>(true); }
std::unique_ptr<Command> MakeResumeCommand() { return std::make_unique<PauseCommand>(false); }

}  // namespace cloudscale::cli
