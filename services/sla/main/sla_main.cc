#include <memory>
#include <utility>
#include <vector>

#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/main.h"
#include "common/status/macros.h"
#include "services/sla/main/sla_component.h"

namespace cloudscale::sla {
namespace {

absl::StatusOr<std::vector<std::unique_ptr<rpc::Component>>> Build(
    const config::v1::SlaConfig& config, const rpc::Environment& environment) {
  CS_ASSIGN_OR_RETURN(auto component, MakeSlaComponent(config, environment));
  std::vector<std::unique_ptr<rpc::Component>> components;
  components.push_back(std::move(component));
  return components;
}

int Main(int argc, char** argv) {
  config::v1::SlaConfig config;
  rpc::Process process;
  process.name = "cloudscale-sla";
  process.description = "Watches service-level objectives.";
  process.config = &config;
  process.mutable_server = [&config] { return config.mutable_server(); };
  process.client_tls = [&config]() -> const config::v1::TlsConfig* {
    return config.client().has_tls() ? &config.client().tls() : nullptr;
  };
  process.validate = [&config](Violations* violations) { ValidateSlaConfig(config, violations); };
  process.build = [&config](const rpc::Environment& environment) {
    return Build(config, environment);
  };
  return rpc::RunMain(argc, argv, std::move(process));
}

}  // namespace
}  // namespace cloudscale::sla

int main(int argc, char** argv) { return cloudscale::sla::Main(argc, argv); }
