#pragma once

#include <string>

#include "cloudscale/lbctl/v1/balancer.pb.h"
#include "services/lbctl/balancer_control.h"
#include "services/lbctl/capacity_follower.h"
#include "services/lbctl/plans.h"

namespace cloudscale::lbctl {

// Between the domain's structs and the wire.
[[nodiscard]] v1::ServerState ToWire(ServerState state);
[[nodiscard]] v1::Server ToWire(const BalancerView& view, const std::string& backend,
                                const ServerInfo& server);
[[nodiscard]] v1::Backend ToWire(const BalancerView& view, const BackendInfo& backend);
[[nodiscard]] v1::Drift ToWire(const NoticedDrift& drift);
[[nodiscard]] v1::CapacityFollow ToWire(const std::string& backend, const FollowState& state);
[[nodiscard]] v1::ServerChange ToWire(const WeightChange& change);
[[nodiscard]] v1::ServerChange ToWire(const ServerChange& change);

// False for what is no state.
[[nodiscard]] bool FromWire(v1::ServerState in, ServerState* out);

}  // namespace cloudscale::lbctl
