#include "services/lbctl/capacity_follower.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"

namespace cloudscale::lbctl {
namespace {

// A change is not one moment: some servers have their new weight before others. From 3/4 up their
// scales differ so little that nobody gets much too much in between.
constexpr int kLeastScale = kMaxWeight * 3 / 4;

bool TakesPart(const ServerInfo& server) {
  return server.state == ServerState::kReady && server.weight > 0;
}

int WeightOf(double ratio, int scale, double min_weight_ratio) {
  const int least = std::max(1, static_cast<int>(std::ceil(min_weight_ratio * scale - 1e-9)));
  return std::clamp(static_cast<int>(std::lround(ratio * scale)), least, scale);
}

// Largest relative difference between a server's share of the weights and its wanted share.
double LargestDeviation(const std::vector<int>& present, const std::vector<int>& wanted) {
  const double present_sum = std::accumulate(present.begin(), present.end(), 0.0);
  const double wanted_sum = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  double largest = 0.0;
  for (size_t i = 0; i < present.size(); ++i) {
    const double share = wanted[i] / wanted_sum;
    largest = std::max(largest, std::abs(present[i] / present_sum - share) / share);
  }
  return largest;
}

bool HasForeignWeight(const BalancerView& view, const ServerKey& key) {
  return std::any_of(view.drifts.begin(), view.drifts.end(), [&](const NoticedDrift& d) {
    return d.drift.key == key && d.drift.field == "weight" &&
           d.drift.cause == DriftCause::kForeignChange;
  });
}

// Initial weights are everybody's: the plan `balance` gives them back so.
bool IsSetByHand(const BalancerView& view, const ServerKey& key, const ServerInfo& server) {
  const auto wanted = view.desired.find(key);
  return wanted != view.desired.end() && wanted->second.weight.has_value() &&
         !wanted->second.follows_capacity && wanted->second.weight->value != server.initial_weight;
}

}  // namespace

absl::string_view NameOf(FollowOutcome outcome) {
  switch (outcome) {
    case FollowOutcome::kChanged:
      return "changed";
    case FollowOutcome::kWithinDeadBand:
      return "within_dead_band";
    case FollowOutcome::kTooSoon:
      return "too_soon";
    case FollowOutcome::kCapacityMissing:
      return "capacity_missing";
    case FollowOutcome::kForeignChange:
      return "foreign_change";
    case FollowOutcome::kSetByHand:
      return "set_by_hand";
    case FollowOutcome::kTooFewServers:
      return "too_few_servers";
    case FollowOutcome::kStaticAlgorithm:
      return "static_algorithm";
    case FollowOutcome::kBalancerFailed:
      return "balancer_failed";
  }
  return "unknown";
}

std::vector<int> ProportionalWeights(const std::vector<double>& cores, double min_weight_ratio) {
  CS_CHECK(!cores.empty());
  const double largest = *std::max_element(cores.begin(), cores.end());
  int best_scale = kMaxWeight;
  double best_error = std::numeric_limits<double>::infinity();
  for (int scale = kMaxWeight; scale >= kLeastScale; --scale) {
    double error = 0.0;
    for (const double c : cores) {
      const double exact = c / largest * scale;
      const double least = std::max(1.0, min_weight_ratio * scale);
      if (exact >= least) {  // below it, the bound decides and not the rounding
        error = std::max(error,
                         std::abs(WeightOf(c / largest, scale, min_weight_ratio) - exact) / exact);
      }
    }
    if (error < best_error - 1e-12) {
      best_error = error;
      best_scale = scale;
    }
  }
  std::vector<int> weights;
  weights.reserve(cores.size());
  for (const double c : cores) {
    weights.push_back(WeightOf(c / largest, best_scale, min_weight_ratio));
  }
  return weights;
}

CapacityFollower::Verdict CapacityFollower::Judge(const std::string& backend_name,
                                                  const BalancerView& view,
                                                  const CapacityLookup& capacity,
                                                  MonoTime now) const {
  const FollowPolicy& policy = policies_.at(backend_name);
  if (!view.status.ok()) {
    return {FollowOutcome::kBalancerFailed, std::string(view.status.message()), {}};
  }
  const BackendInfo* backend = FindBackend(view.backends, backend_name);
  if (backend == nullptr) {
    return {FollowOutcome::kBalancerFailed,
            absl::StrCat("the balancer has no backend '", backend_name, "'"),
            {}};
  }
  if (!backend->has_dynamic_weights) {
    return {FollowOutcome::kStaticAlgorithm, backend->algorithm, {}};
  }
  std::vector<const ServerInfo*> servers;
  std::vector<int> present;
  std::vector<double> cores;
  for (const ServerInfo& server : backend->servers) {
    if (!TakesPart(server)) {
      continue;
    }
    const ServerKey key{backend_name, server.name};
    if (HasForeignWeight(view, key)) {
      return {FollowOutcome::kForeignChange, server.name, {}};
    }
    if (IsSetByHand(view, key, server)) {
      return {FollowOutcome::kSetByHand, server.name, {}};
    }
    const auto vm = view.vm_uuids.find(key);
    if (vm == view.vm_uuids.end()) {
      return {FollowOutcome::kCapacityMissing,
              absl::StrCat(server.name, ": no VM is known behind it"),
              {}};
    }
    const std::optional<double> known = capacity(vm->second);
    if (!known) {
      return {FollowOutcome::kCapacityMissing,
              absl::StrCat(server.name, ": no capacity is known of VM ", vm->second),
              {}};
    }
    servers.push_back(&server);
    present.push_back(server.weight);
    cores.push_back(*known);
  }
  if (servers.size() < 2) {
    return {FollowOutcome::kTooFewServers, absl::StrCat(servers.size(), " take part"), {}};
  }
  const std::vector<int> wanted = ProportionalWeights(cores, policy.min_weight_ratio);
  const double deviation = LargestDeviation(present, wanted);
  if (deviation <= policy.dead_band_ratio || present == wanted) {
    return {FollowOutcome::kWithinDeadBand, "", {}};
  }
  const auto changed_at = changed_at_.find(backend_name);
  if (changed_at != changed_at_.end() && now - changed_at->second < policy.min_interval) {
    return {FollowOutcome::kTooSoon, "", {}};
  }
  Verdict verdict{FollowOutcome::kChanged, "", {}};
  for (size_t i = 0; i < servers.size(); ++i) {
    if (present[i] != wanted[i]) {
      verdict.changes.push_back({.key = {backend_name, servers[i]->name},
                                 .state = servers[i]->state,
                                 .before = present[i],
                                 .after = wanted[i]});
    }
  }
  return verdict;
}

}  // namespace cloudscale::lbctl
