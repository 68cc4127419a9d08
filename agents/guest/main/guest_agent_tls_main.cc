// The agent with the whole gRPC library, for hosts that are reached over a network.

#include <memory>
#include <string>
#include <vector>

#include "agents/guest/main/run_agent.h"
#include "agents/guest/transport/grpc_transport.h"
#include "cloudscale/config/v1/common.pb.h"
#include "common/rpc/channel.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

absl::StatusOr<std::unique_ptr<ReportTransport>> Connect(const AgentConfig& config,
                                                         const std::string& vm_uuid) {
  config::v1::TlsConfig tls;
  tls.set_cert_file(config.tls.cert_file);
  tls.set_key_file(config.tls.key_file);
  tls.set_ca_file(config.tls.ca_file);
  CS_ASSIGN_OR_RETURN(auto channel, rpc::MakeChannel(config.monitor_address, &tls));
  return std::make_unique<GrpcTransport>(std::move(channel), vm_uuid);
}

}  // namespace
}  // namespace cloudscale::guest

int main(int argc, char** argv) {
  return RunAgent(cloudscale::guest::AgentProgram{.name = "cloudscale-guest-agent-tls",
                                                  .has_tls = true,
                                                  .notes = "",
                                                  .connect = cloudscale::guest::Connect},
                  std::vector<std::string>(argv + 1, argv + argc));
}
