#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// One change of a plan. States stay as they are in all plans of today.
struct WeightChange {
  ServerKey key;
  ServerState state = ServerState::kReady;
  int before = 0;
  int after = 0;
};

// The named plans: from a backend as it is to the weights that are to be set, as data; servers that
// need no change are left out. In order of server. FAILED_PRECONDITION when the backend's algorithm
// takes no weights. Pure.

// Moves most traffic away from `server`, which keeps `remaining_ratio` (0 to 1) of its initial
// weight, rounded up while above 0 so that a small share is not none. NOT_FOUND;
// FAILED_PRECONDITION when no other server that is up and ready with a weight above 0 would take
// the traffic.
[[nodiscard]] absl::StatusOr<std::vector<WeightChange>> PlanShiftAway(const BackendInfo& backend,
                                                                      const std::string& server,
                                                                      double remaining_ratio);

// Back to the initial weights.
[[nodiscard]] absl::StatusOr<std::vector<WeightChange>> PlanBalance(const BackendInfo& backend);

// Weights in proportion to granted capacity: the largest gets kMaxWeight and the others
// round(kMaxWeight * capacity / largest), at least 1; shares are then exact to half a percent.
// `capacity_cores` names every server of the backend with a value above 0: INVALID_ARGUMENT with
// all faults otherwise, since a server left out would keep a weight on another scale.
[[nodiscard]] absl::StatusOr<std::vector<WeightChange>> PlanProportional(
    const BackendInfo& backend, const std::map<std::string, double>& capacity_cores);

enum class PlanKind { kShiftAway, kBalance, kProportional };

// A plan with what it needs.
struct PlanOrder {
  PlanKind kind = PlanKind::kBalance;
  std::string backend;
  std::string server;                            // kShiftAway
  double remaining_ratio = 0.1;                  // kShiftAway
  std::map<std::string, double> capacity_cores;  // kProportional
};

// One of the above. `order.backend` is `backend`.
[[nodiscard]] absl::StatusOr<std::vector<WeightChange>> MakePlan(const BackendInfo& backend,
                                                                 const PlanOrder& order);

// Absolute weight for `percent` (0 to 100) of the initial one; above 0 never rounded to 0.
[[nodiscard]] int WeightFromPercent(int initial_weight, double percent);

}  // namespace cloudscale::lbctl
