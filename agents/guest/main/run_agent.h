#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agents/guest/main/agent_config.h"
#include "agents/guest/transport/report_transport.h"

namespace cloudscale::guest {

// What tells one build of the agent from another.
struct AgentProgram {
  std::string name;
  bool has_tls = false;
  std::string notes;  // at the end of the help
  // The way to `monitor_address`; `config` is valid.
  std::function<absl::StatusOr<std::unique_ptr<ReportTransport>>(const AgentConfig& config,
                                                                 const std::string& vm_uuid)>
      connect;
};

// The agent from its arguments to SIGTERM or SIGINT. Not `rpc::RunMain`: that opens a server, and a
// guest should open no port for its agent. Returns the exit code: 2 for bad input.
int RunAgent(const AgentProgram& program, const std::vector<std::string>& given);

}  // namespace cloudscale::guest
