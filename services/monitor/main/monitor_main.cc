#include <memory>
#include <utility>
#include <vector>

#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/main.h"
#include "common/status/macros.h"
#include "hypervisor/factory/backend.h"
#include "services/monitor/main/monitor_component.h"
#include "services/monitor/main/monitor_config.h"

namespace cloudscale::monitor {
namespace {

absl::StatusOr<std::vector<std::unique_ptr<rpc::Component>>> Build(
    const config::v1::MonitorConfig& config, const rpc::Environment& environment) {
  CS_ASSIGN_OR_RETURN(auto backend, hypervisor::MakeBackend(config.hypervisor(), config.host_id(),
                                                            environment.clock));
  CS_ASSIGN_OR_RETURN(auto reader, backend->MakeReader());
  CS_ASSIGN_OR_RETURN(auto component, MakeMonitorComponent(config, std::move(reader), environment));
  std::vector<std::unique_ptr<rpc::Component>> components;
  components.push_back(std::move(component));
  return components;
}

int Main(int argc, char** argv) {
  config::v1::MonitorConfig config;
  rpc::Process process;
  process.name = "cloudscale-monitor";
  process.description = "Samples all VMs of one host and streams telemetry.";
  process.config = &config;
  process.mutable_server = [&config] { return config.mutable_server(); };
  process.client_tls = [&config]() -> const config::v1::TlsConfig* {
    return config.client().has_tls() ? &config.client().tls() : nullptr;
  };
  process.prepare = [&config](Violations*) {
    if (config.host_id().empty()) {
      config.set_host_id(rpc::HostName());
    }
  };
  process.validate = [&config](Violations* violations) {
    hypervisor::ValidateHypervisorConfig(config.hypervisor(), "hypervisor",
                                         /*needs_actuator_alone=*/false, violations);
    ValidateMonitorConfig(config, "", *violations);
  };
  process.build = [&config](const rpc::Environment& environment) {
    return Build(config, environment);
  };
  return rpc::RunMain(argc, argv, std::move(process));
}

}  // namespace
}  // namespace cloudscale::monitor

int main(int argc, char** argv) { return cloudscale::monitor::Main(argc, argv); }
