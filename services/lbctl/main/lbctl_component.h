#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/component.h"
#include "common/status/violations.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// Adds all faults of `config`, by field path. The server's part is not looked at.
void ValidateLbctlConfig(const config::v1::LbctlConfig& config, Violations* violations);

// The lbctl service over `config`, which must be valid. Opens the wanted state: errors of
// `sqlite::Database::Open`. `environment` outlives the component.
absl::StatusOr<std::unique_ptr<rpc::Component>> MakeLbctlComponent(
    const config::v1::LbctlConfig& config, const rpc::Environment& environment);

// As above, over a balancer made elsewhere.
absl::StatusOr<std::unique_ptr<rpc::Component>> MakeLbctlComponent(
    const config::v1::LbctlConfig& config, std::unique_ptr<Balancer> balancer,
    const rpc::Environment& environment);

}  // namespace cloudscale::lbctl
