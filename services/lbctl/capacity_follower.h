#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "services/lbctl/balancer_control.h"
#include "services/lbctl/plans.h"

namespace cloudscale::lbctl {

// How the weights of one backend follow capacity.
struct FollowPolicy {
  double dead_band_ratio = 0.1;  // 0 to 1
  absl::Duration min_interval = absl::Seconds(10);
  double min_weight_ratio = 0.05;  // 0 to 1, of the largest weight
};

// Why weights were changed or left. The numbers are those of the contract.
enum class FollowOutcome {
  kChanged = 1,
  kWithinDeadBand = 2,
  kTooSoon = 3,
  kCapacityMissing = 4,
  kForeignChange = 5,
  kSetByHand = 6,
  kTooFewServers = 7,
  kStaticAlgorithm = 8,
  kBalancerFailed = 9,
};

// `changed`, `within_dead_band`, …
[[nodiscard]] absl::string_view NameOf(FollowOutcome outcome);

// Cores that the VM may use; absent when not known.
using CapacityLookup = std::function<std::optional<double>(const std::string& vm_uuid)>;

// Weights in proportion to `cores` (each above 0; not empty), 1 to kMaxWeight. The largest weight
// is the number from 3/4 of kMaxWeight up with which rounding keeps the proportions best; so shares
// are exact where they can be (3:1 gives 255:85) and never wrong by more than one part in 192 of
// the largest. No weight is below `min_weight_ratio` of the largest.
[[nodiscard]] std::vector<int> ProportionalWeights(const std::vector<double>& cores,
                                                   double min_weight_ratio);

// How it last went with one backend.
struct FollowState {
  FollowOutcome outcome = FollowOutcome::kCapacityMissing;
  std::string detail;
  std::optional<absl::Time> changed_at;  // since the service started
};

// Lets weights follow granted capacity, per backend.
//
// Servers that are READY with a weight above 0 take part; others keep what they have. Nothing is
// changed while
//  - the capacity of one that takes part is missing or too old (missing data never changes
//    anything),
//  - somebody else changed a weight (drift is reported, not fought) or an operator set one,
//  - each one's share of the weights is within `dead_band_ratio` of its share of the capacity,
//  - the last change is younger than `min_interval`.
// A change goes all the way to the proportions, so that the whole dead band lies between two of
// them: capacity that swings within it moves nothing.
// It does no I/O and reads no clock. Thread safety: thread-compatible.
class CapacityFollower {
 public:
  // `policies`: by backend.
  explicit CapacityFollower(std::map<std::string, FollowPolicy> policies)
      : policies_(std::move(policies)) {}

  struct Verdict {
    FollowOutcome outcome = FollowOutcome::kWithinDeadBand;
    std::string detail;                 // which server, for people
    std::vector<WeightChange> changes;  // with kChanged only; not empty then
  };

  // What to do about `backend`, which is one of `backends()`.
  [[nodiscard]] Verdict Judge(const std::string& backend, const BalancerView& view,
                              const CapacityLookup& capacity, MonoTime now) const;

  // Changes were tried, with or without success.
  void OnTried(const std::string& backend, MonoTime now) { changed_at_[backend] = now; }

  [[nodiscard]] const std::map<std::string, FollowPolicy>& backends() const { return policies_; }

 private:
  const std::map<std::string, FollowPolicy> policies_;
  std::map<std::string, MonoTime> changed_at_;
};

}  // namespace cloudscale::lbctl
