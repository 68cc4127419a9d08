#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/rpc/receipt.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/status/macros.h"

namespace cloudscale::cli {
namespace {

class WhyCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"why",
            "Understanding",
            "why a VM has the size it has: the whole receipt",
            {"why web-1", "why web-1 --resource memory", "why web-1 --decision ID --json"}};
  }

  void Register(CLI::App& app) override {
    AddVm(app, "vm", &vm_, "the VM")->required();
    AddChoice(app, "--resource,-r", &resource_, {"cpu", "memory"}, "only this one");
    app.add_option("--decision,-d", decision_id_, "an older decision instead of the newest")
        ->type_name("ID");
  }

  absl::Status Run(Session& session) override {
    CS_ASSIGN_OR_RETURN(const VmRef vm, ResolveVm(session, vm_));
    scaler::v1::ExplainVmRequest request;
    request.set_vm_uuid(vm.uuid);
    request.set_decision_id(decision_id_);
    if (!resource_.empty()) {
      request.set_resource(resource_ == "memory" ? common::v1::RESOURCE_MEMORY
                                                 : common::v1::RESOURCE_CPU);
    }
    scaler::v1::ExplainVmResponse response;
    CS_RETURN_IF_ERROR(session.Call(Peer::kScaler, &scaler::v1::ScalerService::Stub::ExplainVm,
                                    request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
    } else {
      session.io().out << RenderReceipt(response, session.style(), session.width());
    }
    return absl::OkStatus();
  }

 private:
  std::string vm_;
  std::string resource_;
  std::string decision_id_;
};

}  // namespace

std::unique_ptr<Command> MakeWhyCommand() { return std::make_unique<WhyCommand>(); }

}  // namespace cloudscale::cli
