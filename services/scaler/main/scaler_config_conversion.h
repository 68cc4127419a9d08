#pragma once

#include "cloudscale/config/v1/config.pb.h"
#include "common/status/violations.h"
#include "services/scaler/clients/capacity_client.h"
#include "services/scaler/rpc/scaler_core.h"

namespace cloudscale::scaler {

// The core's settings with defaults filled in; adds all faults. `server` and `hypervisor` are not
// looked at.
[[nodiscard]] ScalerCore::Config ConfigFromProto(const config::v1::ScalerConfig& config,
                                                 Violations& violations);

// How lbctl is told of capacity; of a valid configuration.
[[nodiscard]] CapacityClient::Options CapacityOptionsOf(const config::v1::ScalerConfig& in);

}  // namespace cloudscale::scaler
