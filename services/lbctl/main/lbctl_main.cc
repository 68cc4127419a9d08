#include <memory>
#include <utility>
#include <vector>

#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/main.h"
#include "common/status/macros.h"
#include "services/lbctl/main/lbctl_component.h"

namespace cloudscale::lbctl {
namespace {

absl::StatusOr<std::vector<std::unique_ptr<rpc::Component>>> Build(
    const config::v1::LbctlConfig& config, const rpc::Environment& environment) {
  CS_ASSIGN_OR_RETURN(auto component, MakeLbctlComponent(config, environment));
  std::vector<std::unique_ptr<rpc::Component>> components;
  components.push_back(std::move(component));
  return components;
}

int Main(int argc, char** argv) {
  config::v1::LbctlConfig config;
  rpc::Process process;
  process.name = "cloudscale-lbctl";
  process.description = "Steers load balancers.";
  process.config = &config;
  process.mutable_server = [&config] { return config.mutable_server(); };
  process.validate = [&config](Violations* violations) { ValidateLbctlConfig(config, violations); };
  process.build = [&config](const rpc::Environment& environment) {
    return Build(config, environment);
  };
  return rpc::RunMain(argc, argv, std::move(process));
}

}  // namespace
}  // namespace cloudscale::lbctl

int main(int argc, char** argv) { return cloudscale::lbctl::Main(argc, argv); }
