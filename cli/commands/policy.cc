#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/args/option_types.h"
#include "cli/commands/commands.h"
#include "cli/render/table.h"
#include "cli/rpc/policy_edit.h"
#include "cli/rpc/proto_text.h"
#include "cli/rpc/session.h"
#include "cli/rpc/vm_resolver.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/status/macros.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using scaler::v1::ScalerService;

constexpr char kHostWord[] = "host";

void PrintPolicy(Session& session, const scaler::v1::Policy& policy) {
  Table table({{.title = "KEY"}, {.title = "VALUE"}, {.title = "FROM"}});
  for (const PolicyValue& value : ListPolicyValues(policy)) {
    table.AddRow({{value.key, Colour::kBold}, {value.value}, {value.source}});
  }
  session.io().out << (table.empty() ? "nothing is set: everything is inherited\n"
                                     : table.Render(session.style(), session.width()));
}

class PolicyCommand : public Command {
 public:
  CommandInfo info() const override {
    return {"policy",
            "Steering",
            "limits and wishes of a VM, or of the host (the default of its VMs)",
            {"policy get web-1", "policy set web-1 cpu.max_cores=2 mode=auto --dry-run",
             "policy set host memory.min=512MiB weight=", "policy keys", "policy list"}};
  }

  void Register(CLI::App& app) override {
    app.require_subcommand(1);
    CLI::App* get = app.add_subcommand("get", "what is in force, and where each value is from");
    AddVm(*get, "vm", &vm_, "a VM, or 'host'")->required();
    get->add_flag("--stored", is_stored_, "only what is stored for it");
    get->parse_complete_callback([this] { action_ = &PolicyCommand::Get; });

    CLI::App* set = app.add_subcommand("set", "change values; KEY= removes one");
    AddVm(*set, "vm", &vm_, "a VM, or 'host'")->required();
    set->add_option("pairs", pairs_, "KEY=VALUE …, see 'policy keys'")
        ->type_name("KEY=VALUE")
        ->required();
    set->add_flag("--dry-run", is_dry_run_, "let the server check it and change nothing");
    set->add_option("--etag", etag_, "refuse when the policy is not this version any more");
    set->parse_complete_callback([this] { action_ = &PolicyCommand::Set; });

    app.add_subcommand("list", "all stored policies")->parse_complete_callback([this] {
      action_ = &PolicyCommand::List;
    });
    app.add_subcommand("keys", "keys that can be set")->parse_complete_callback([this] {
      action_ = &PolicyCommand::Keys;
    });
  }

  absl::Status Run(Session& session) override { return (this->*action_)(session); }

 private:
  // Empty UUID for the host.
  absl::StatusOr<VmRef> Target(Session& session) const {
    return vm_ == kHostWord ? VmRef() : ResolveVm(session, vm_);
  }

  absl::Status Get(Session& session) {
    CS_ASSIGN_OR_RETURN(const VmRef vm, Target(session));
    scaler::v1::GetPolicyRequest request;
    request.set_vm_uuid(vm.uuid);
    request.set_is_effective(!is_stored_);
    scaler::v1::GetPolicyResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kScaler, &ScalerService::Stub::GetPolicy, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
    } else {
      PrintPolicy(session, response.policy());
    }
    return absl::OkStatus();
  }

  // The stored policy, for its etag and labels; empty when there is none.
  absl::StatusOr<scaler::v1::Policy> Stored(Session& session, const VmRef& vm) const {
    scaler::v1::GetPolicyRequest request;
    request.set_vm_uuid(vm.uuid);
    scaler::v1::GetPolicyResponse response;
    const absl::Status status =
        session.Call(Peer::kScaler, &ScalerService::Stub::GetPolicy, request, &response);
    if (!status.ok() && !absl::IsNotFound(status)) {
      return status;
    }
    return response.policy();
  }

  absl::Status Set(Session& session) {
    // Mistakes in the pairs are told before anyone is asked.
    CS_RETURN_IF_ERROR(ParsePolicyEdit(pairs_, scaler::v1::Policy()).status());
    CS_ASSIGN_OR_RETURN(const VmRef vm, Target(session));
    CS_ASSIGN_OR_RETURN(const scaler::v1::Policy stored, Stored(session, vm));
    CS_ASSIGN_OR_RETURN(PolicyEdit edit, ParsePolicyEdit(pairs_, stored));
    scaler::v1::UpdatePolicyRequest request;
    *request.mutable_policy() = std::move(edit.policy);
    if (vm.uuid.empty()) {
      CS_ASSIGN_OR_RETURN(const std::string host_id, HostId(session, stored));
      request.mutable_policy()->set_host_id(host_id);
    } else {
      request.mutable_policy()->set_vm_uuid(vm.uuid);
    }
    request.mutable_policy()->set_etag(etag_.empty() ? stored.etag() : etag_);
    for (const std::string& field : edit.fields) {
      request.mutable_update_mask()->add_paths(field);
    }
    request.set_request_id(session.NewRequestId());
    request.set_validate_only(is_dry_run_);
    scaler::v1::UpdatePolicyResponse response;
    CS_RETURN_IF_ERROR(
        session.Call(Peer::kScaler, &ScalerService::Stub::UpdatePolicy, request, &response));
    if (session.options().is_json) {
      session.PrintJson(response);
      return absl::OkStatus();
    }
    session.io().out << (is_dry_run_ ? "allowed, nothing was changed; it would be:\n"
                                     : "changed; now in force:\n");
    PrintPolicy(session, response.has_effective() ? response.effective() : response.policy());
    return absl::OkStatus();
  }

  static absl::StatusOr<std::string> HostId(Session& session, const scaler::v1::Policy& stored) {
    if (!stored.host_id().empty()) {
      return stored.host_id();
    }
    scaler::v1::GetStatusResponse status;
    CS_RETURN_IF_ERROR(session.Call(Peer::kScaler, &ScalerService::Stub::GetStatus,
                                    scaler::v1::GetStatusRequest(), &status));
    return status.host_id();
  }

  absl::Status List(Session& session) {
    scaler::v1::ListPoliciesResponse all;
    CS_RETURN_IF_ERROR(session.CallAllPages(Peer::kScaler, &ScalerService::Stub::ListPolicies,
                                            scaler::v1::ListPoliciesRequest(), &all));
    if (session.options().is_json) {
      session.PrintJson(all);
      return absl::OkStatus();
    }
    Table table({{.title = "FOR"}, {.title = "VALUES", .min_width = 30}});
    for (const auto& policy : all.policies()) {
      std::vector<std::string> values;
      for (const PolicyValue& value : ListPolicyValues(policy)) {
        values.push_back(absl::StrCat(value.key, "=", value.value));
      }
      table.AddRow(
          {{policy.has_host_id() ? absl::StrCat("host ", policy.host_id()) : policy.vm_uuid(),
            Colour::kBold},
           {absl::StrJoin(values, " ")}});
    }
    session.io().out << (table.empty() ? "no policies are stored\n"
                                       : table.Render(session.style(), session.width()));
    return absl::OkStatus();
  }

  absl::Status Keys(Session& session) {
    if (session.options().is_json) {
      nlohmann::ordered_json json = {{"keys", nlohmann::ordered_json::array()}};
      for (const PolicyKey& key : ListPolicyKeys()) {
        json["keys"].push_back({{"key", key.key}, {"takes", key.takes}});
      }
      session.io().out << json.dump(2) << "\n";
      return absl::OkStatus();
    }
    Table table({{.title = "KEY"}, {.title = "TAKES"}});
    for (const PolicyKey& key : ListPolicyKeys()) {
      table.AddRow({{key.key, Colour::kBold}, {key.takes}});
    }
    session.io().out << table.Render(session.style(), session.width());
    return absl::OkStatus();
  }

  std::string vm_;
  std::vector<std::string> pairs_;
  std::string etag_;
  bool is_stored_ = false;
  bool is_dry_run_ = false;
  absl::Status (PolicyCommand::*action_)(Session&) = &PolicyCommand::List;
};

}  // namespace

std::unique_ptr<Command> MakePolicyCommand() { return std::make_unique<PolicyCommand>(); }

}  // namespace cloudscale::cli
