#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/status/violations.h"
#include "hypervisor/types.h"
#include "services/monitor/clients/predictor_link.h"
#include "services/monitor/rpc/guest_channels.h"
#include "services/monitor/rpc/monitor_state.h"
#include "services/monitor/sampling_config.h"

namespace cloudscale::monitor {

// Adds all faults of `config`, by field path below `prefix` ("" at the root). Neither `server` nor
// `hypervisor` are looked at: their owners validate them.
void ValidateMonitorConfig(const config::v1::MonitorConfig& config, absl::string_view prefix,
                           Violations& faults);

// What the parts of the monitor get, with defaults filled in. `config` must be valid.
[[nodiscard]] SamplingConfig MakeSamplingConfig(const config::v1::MonitorConfig& config,
                                                const hypervisor::Capabilities& capabilities);
[[nodiscard]] MonitorState::Config MakeStateConfig(const config::v1::MonitorConfig& config,
                                                   const hypervisor::Capabilities& capabilities);
[[nodiscard]] GuestChannels::Config MakeChannelsConfig(const config::v1::MonitorConfig& config);
[[nodiscard]] PredictorLink::Config MakeLinkConfig(const config::v1::MonitorConfig& config);

}  // namespace cloudscale::monitor
