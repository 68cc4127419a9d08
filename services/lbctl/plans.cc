#include "services/lbctl/plans.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/status/violations.h"

namespace cloudscale::lbctl {
namespace {

absl::Status CheckWeights(const BackendInfo& backend) {
  if (!backend.has_dynamic_weights) {
    return absl::FailedPreconditionError(absl::StrCat("backend '", backend.name, "' balances by '",
                                                      backend.algorithm,
                                                      "', which takes no weights at run time"));
  }
  return absl::OkStatus();
}

void AddChange(const BackendInfo& backend, const ServerInfo& server, int weight,
               std::vector<WeightChange>& changes) {
  if (server.weight != weight) {
    changes.push_back({.key = {backend.name, server.name},
                       .state = server.state,
                       .before = server.weight,
                       .after = weight});
  }
}

bool TakesTraffic(const ServerInfo& server) {
  return server.is_up && server.state == ServerState::kReady && server.weight > 0;
}

}  // namespace

int WeightFromPercent(int initial_weight, double percent) {
  const double exact = initial_weight * percent / 100.0;
  const int rounded = static_cast<int>(std::lround(exact));
  return std::clamp(exact > 0.0 ? std::max(rounded, 1) : 0, 0, kMaxWeight);
}

absl::StatusOr<std::vector<WeightChange>> PlanShiftAway(const BackendInfo& backend,
                                                        const std::string& server,
                                                        double remaining_ratio) {
  CS_RETURN_IF_ERROR(CheckWeights(backend));
  const ServerInfo* from = nullptr;
  bool has_other = false;
  for (const ServerInfo& candidate : backend.servers) {
    if (candidate.name == server) {
      from = &candidate;
    } else {
      has_other = has_other || TakesTraffic(candidate);
    }
  }
  if (from == nullptr) {
    std::vector<std::string> known;
    for (const ServerInfo& other : backend.servers) {
      known.push_back(other.name);
    }
    return absl::NotFoundError(absl::StrCat("no server '", server, "' in backend '", backend.name,
                                            "'; there are: ", absl::StrJoin(known, ", ")));
  }
  if (!has_other) {
    return absl::FailedPreconditionError(absl::StrCat("no other server of backend '", backend.name,
                                                      "' is up, ready and of weight above 0"));
  }
  std::vector<WeightChange> changes;
  AddChange(backend, *from, WeightFromPercent(from->initial_weight, remaining_ratio * 100.0),
            changes);
  return changes;
}

absl::StatusOr<std::vector<WeightChange>> PlanBalance(const BackendInfo& backend) {
  CS_RETURN_IF_ERROR(CheckWeights(backend));
  std::vector<WeightChange> changes;
  for (const ServerInfo& server : backend.servers) {
    AddChange(backend, server, server.initial_weight, changes);
  }
  return changes;
}

absl::StatusOr<std::vector<WeightChange>> PlanProportional(
    const BackendInfo& backend, const std::map<std::string, double>& capacity_cores) {
  CS_RETURN_IF_ERROR(CheckWeights(backend));
  Violations violations;
  double largest = 0.0;
  for (const auto& [name, cores] : capacity_cores) {
    const std::string field = absl::StrCat("capacity_cores[", name, "]");
    if (!(cores > 0.0) || !std::isfinite(cores)) {
      violations.Add(field, absl::StrCat(cores), "above 0");
    }
    largest = std::max(largest, cores);
    if (std::none_of(backend.servers.begin(), backend.servers.end(),
                     [&](const ServerInfo& s) { return s.name == name; })) {
      violations.Add(field, name, absl::StrCat("a server of backend '", backend.name, "'"));
    }
  }
  for (const ServerInfo& server : backend.servers) {
    if (!capacity_cores.contains(server.name)) {
      violations.Add(absl::StrCat("capacity_cores[", server.name, "]"), "",
                     "every server of the backend, above 0");
    }
  }
  CS_RETURN_IF_ERROR(violations.ToStatus());
  std::vector<WeightChange> changes;
  for (const ServerInfo& server : backend.servers) {
    const double share = capacity_cores.at(server.name) / largest;
    AddChange(backend, server, std::max(1, static_cast<int>(std::lround(share * kMaxWeight))),
              changes);
  }
  return changes;
}

absl::StatusOr<std::vector<WeightChange>> MakePlan(const BackendInfo& backend,
                                                   const PlanOrder& order) {
  switch (order.kind) {
    case PlanKind::kShiftAway:
      return PlanShiftAway(backend, order.server, order.remaining_ratio);
    case PlanKind::kBalance:
      return PlanBalance(backend);
    case PlanKind::kProportional:
      return PlanProportional(backend, order.capacity_cores);
  }
  return absl::InvalidArgumentError("unknown plan");
}

}  // namespace cloudscale::lbctl
