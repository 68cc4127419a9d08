#pragma once

#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "cloudscale/config/v1/config.pb.h"
#include "services/lbctl/rpc/lbctl_core.h"
#include "services/lbctl/transport/agent_listener.h"
#include "services/lbctl/transport/message_listener.h"

namespace cloudscale::lbctl {

// The parts of a valid configuration, with defaults filled in.
[[nodiscard]] absl::Duration PollPeriodOf(const config::v1::LbctlConfig& config);
[[nodiscard]] LbctlCore::Options OptionsOf(const config::v1::LbctlConfig& config);
[[nodiscard]] std::vector<AgentListener::Port> AgentPortsOf(const config::v1::LbctlConfig& config);
// Absent: off.
[[nodiscard]] std::optional<MessageListener::Options> MessagesOf(
    const config::v1::LbctlConfig& config);

}  // namespace cloudscale::lbctl
