#include <fstream>

#include "absl/strings/str_cat.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/status/macros.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using predictor::v1::PredictorService;

class ModelCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"model",
            "Forecasting",
            "choose the forecast model of a VM, or move what was learnt about it",
            {"model use cloudscale web-1 --shadow --may-promote", "model use portfolio",
             "model export web-1 --to web-1.model", "model import web-1.model"}};
  }

  void Register(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App* use = app.add_subcommand("use", "the model of a VM, or of all without an own choice");
    use->add_option("model", model_, "a name of 'models', or 'default'")->required();
    AddVm(*use, "vm", &vm_, "only this VM");
    AddChoice(*use, "--resource,-r", &resource_, {"cpu", "memory"}, "only this one");
    CLI::Option* shadow =
        use->add_flag("--shadow", is_shadow_, "only run it beside the present one, to compare");
    use->add_flag("--may-promote", may_promote_,
                  "let the shadow take over once it is better with certainty")
        ->needs(shadow);
    use->add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
    use->parse_complete_callback([this] { action_ = &ModelCommand::Use; });

    CLI::App* save = app.add_subcommand("export", "write what was learnt about VMs to a file");
    save->add_option("vms", vms_, "the VMs, at most 32")->type_name(kVmType)->required();
    save->add_option("--to", file_, "the file")->type_name("FILE")->required();
    save->parse_complete_callback([this] { action_ = &ModelCommand::Export; });

    CLI::App* load = app.add_subcommand("import", "install such a file; newer own state is kept");
    load->add_option("file", file_, "written by 'export'")->type_name("FILE")->required();
    load->add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
    load->parse_complete_callback([this] { action_ = &ModelCommand::Import; });
  }

  absl::Status Run(Session& session) override { return (this->*action_)(session); }

 private:
  absl::Status Use(Session& session) {
    predictor::v1::SelectModelRequest request;
    if (!vm_.empty()) {
      CS_ASSIGN_OR_RETURN(const VmRef vm, ResolveVm(session, vm_));
      request.set_vm_uuid(vm.uuid);
    }
    request.set_resource(ResourceOf(resource_));
    request.set_model(model_ == "default" ? "" : model_);
    request.set_is_shadow(is_shadow_);
    request.set_may_promote(may_promote_);
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    predictor::v1::SelectModelResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kPredictor, &PredictorService::Stub::SelectModel, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    const auto named = [](const std::string& model) { return model.empty() ? "none" : model; };
    session.io().out << (is_dry_run_ ? "allowed, nothing was changed; it would be: " : "")
                     << (is_shadow_ ? "shadow " : "model ") << named(response.model())
                     << " (before: " << named(response.previous_model()) << ") for "
                     << FormatCount(response.series_count(), "series", "series") << "\n";
    return absl::OkStatus();
  }

  absl::Status Export(Session& session) {
    predictor::v1::ExportStateRequest request;
    for (const std::string& vm : vms_) {
      CS_ASSIGN_OR_RETURN(const VmRef ref, ResolveVm(session, vm));
      request.add_vm_uuids(ref.uuid);
    }
    predictor::v1::ExportStateResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kPredictor, &PredictorService::Stub::ExportState, request, &response));
    std::ofstream file(file_, std::ios::binary | std::ios::trunc);
    if (!response.SerializeToOstream(&file) || !file.flush()) {
      return absl::UnavailableError(absl::StrCat("cannot write '", file_, "'"));
    }
    if (session.options().is_json) {
      session.io().out
          << nlohmann::ordered_json{{"file", file_}, {"series", response.states_size()}}.dump(2)
          << "\n";
      return absl::OkStatus();
    }
    session.io().out << "wrote " << FormatCount(response.states_size(), "series", "series")
                     << " to " << file_ << "\n";
    return absl::OkStatus();
  }

  absl::Status Import(Session& session) {
    std::ifstream file(file_, std::ios::binary);
    predictor::v1::ExportStateResponse saved;
    if (!file) {
      return absl::InvalidArgumentError(absl::StrCat("cannot read '", file_, "'"));
    }
    if (!saved.ParseFromIstream(&file) || saved.states_size() == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", file_, "' is no file that 'cloudscalectl model export' writes"));
    }
    predictor::v1::ImportStateRequest request;
    *request.mutable_states() = saved.states();
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    predictor::v1::ImportStateResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kPredictor, &PredictorService::Stub::ImportState, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    session.io().out << FormatCount(response.imported_count(), "series", "series")
                     << (is_dry_run_ ? " would be" : "") << " installed, "
                     << response.skipped_count() << " left alone (newer than the file)\n";
    return absl::OkStatus();
  }

  std::string model_;
  std::string vm_;
  std::vector<std::string> vms_;
  std::string resource_;
  std::string file_;
  bool is_shadow_ = false;
  bool may_promote_ = false;
  bool is_dry_run_ = false;
  absl::Status (ModelCommand::*action_)(Session&) = &ModelCommand::Use;
};

}  // namespace

std::unique_ptr<Command> MakeModelCommand() { return std::make_unique<ModelCommand>(); }

}  // namespace cloudscale::cli
