// The agent as most VMs run it: static and tiny.

#include <memory>
#include <string>
#include <vector>

#include "agents/guest/main/run_agent.h"
#include "agents/guest/transport/h2_transport.h"

int main(int argc, char** argv) {
  using cloudscale::guest::AgentConfig;
  using cloudscale::guest::H2Transport;
  using cloudscale::guest::ReportTransport;
  const cloudscale::guest::AgentProgram program{
      .name = "cloudscale-guest-agent",
      .has_tls = false,
      .notes =
          "Names of hosts are looked for in /etc/hosts only. Speaks no TLS, so monitor_address "
          "must be on\nloopback; cloudscale-guest-agent-tls is for others.\n",
      .connect = [](const AgentConfig& config, const std::string& vm_uuid)
          -> absl::StatusOr<std::unique_ptr<ReportTransport>> {
        return std::make_unique<H2Transport>(
            H2Transport::Config{.address = config.monitor_address, .vm_uuid = vm_uuid});
      }};
  return RunAgent(program, std::vector<std::string>(argv + 1, argv + argc));
}
