#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/lbctl/balancer.h"
#include "services/lbctl/plans.h"
#include "services/lbctl/reconcile.h"

namespace cloudscale::lbctl {

struct NoticedDrift {
  Drift drift;
  absl::Time noticed_at;
};

// All that readers may know, as of one poll. Immutable.
struct BalancerView {
  absl::Status status = absl::UnavailableError("balancer not asked yet");  // of the last poll
  absl::Time polled_at = absl::InfinitePast();                             // last success
  BalancerInfo info;
  std::vector<BackendInfo> backends;
  DesiredState desired;
  std::vector<NoticedDrift> drifts;
  std::map<ServerKey, std::string> vm_uuids;
  bool is_reset = false;  // counters started again since the poll before
};

// Who wants a weight.
enum class WeightOwner { kOperator, kCapacity };

struct ServerChange {
  ServerKey key;
  ServerInfo before;
  ServerInfo after;
};

// Keeps a balancer as it is wanted. Every change is verified against the newest state, applied,
// read back, and only then remembered as wanted; a change that did not take effect is INTERNAL and
// not remembered. With `validate_only` only the verification is done. Common errors: those of
// `Balancer`; NOT_FOUND names the servers that exist. Bounds: as many servers as the balancer has;
// wanted state of at most kMaxDesired servers. Thread safety: confined to the service's engine
// thread; views may be read anywhere.
class BalancerControl {
 public:
  static constexpr size_t kMaxDesired = 10000;

  // `balancer` outlives this.
  BalancerControl(Balancer& balancer, std::map<ServerKey, std::string> vm_uuids);

  // Puts back what was wanted before a restart.
  void Restore(DesiredState desired) { desired_ = std::move(desired); }

  // Reads the balancer, applies what is pending or was lost by a reload, and notes drift. A failed
  // poll keeps the last view and says so in its status.
  absl::Status Poll(absl::Time now);

  absl::StatusOr<ServerChange> SetWeight(const ServerKey& key, int weight,
                                         const std::string& reason, absl::Time now,
                                         bool validate_only);
  // As SetWeight, in per cent (0 to 100) of the initial weight.
  absl::StatusOr<ServerChange> SetWeightPercent(const ServerKey& key, double percent,
                                                const std::string& reason, absl::Time now,
                                                bool validate_only);
  absl::StatusOr<ServerChange> SetState(const ServerKey& key, ServerState state,
                                        const std::string& reason, absl::Time now,
                                        bool validate_only);
  absl::StatusOr<ServerChange> SetAddress(const ServerKey& key, const Endpoint& endpoint,
                                          const std::string& reason, absl::Time now,
                                          bool validate_only);
  absl::StatusOr<ServerInfo> AddServer(const NewServer& server, const std::string& vm_uuid,
                                       absl::Time now, bool validate_only);
  // FAILED_PRECONDITION also for a server that was not added at run time.
  absl::Status RemoveServer(const ServerKey& key, absl::Time now, bool validate_only);
  absl::Status EndSessions(const ServerKey& key);

  // Sets the weights of a plan, all or none: when one is refused the others are set back and the
  // error is returned.
  absl::Status ApplyWeights(const std::vector<WeightChange>& changes, const std::string& reason,
                            absl::Time now, WeightOwner owner = WeightOwner::kOperator);

  // Makes a plan from the balancer as it is now and sets its weights. NOT_FOUND names what exists.
  absl::StatusOr<std::vector<WeightChange>> ApplyPlan(const PlanOrder& order,
                                                      const std::string& reason, absl::Time now,
                                                      bool validate_only);

  // Applies what is wanted again, also over foreign changes. Returns the commands given.
  absl::StatusOr<std::vector<ServerChange>> ApplyDesired(const Scope& scope, absl::Time now,
                                                         bool validate_only);
  // Gives up what is wanted where it differs. The view is as it would be when `validate_only`.
  absl::StatusOr<std::shared_ptr<const BalancerView>> AcceptActual(const Scope& scope,
                                                                   absl::Time now,
                                                                   bool validate_only);

  [[nodiscard]] std::shared_ptr<const BalancerView> view() const { return view_; }

  // Wanted state changed since the last call; an empty entry means that it is to be forgotten.
  std::map<ServerKey, DesiredServer> TakeChanged() { return std::exchange(changed_, {}); }

 private:
  // Reads the balancer anew.
  absl::Status Read();
  absl::StatusOr<ServerChange> SetWeightFor(WeightOwner owner, const ServerKey& key, int weight,
                                            const std::string& reason, absl::Time now,
                                            bool validate_only);
  absl::StatusOr<const ServerInfo*> Find(const ServerKey& key) const;
  absl::Status CheckRoom(const ServerKey& key) const;
  absl::Status Execute(const Command& command);
  DesiredServer& Want(const ServerKey& key, const std::string& reason, absl::Time now);
  void SetDesired(DesiredState next);
  void Publish(absl::Time now, absl::Status status);

  Balancer& balancer_;
  const std::map<ServerKey, std::string> vm_uuids_;
  DesiredState desired_;
  BalancerInfo info_;
  std::vector<BackendInfo> backends_;
  std::vector<Drift> drifts_;
  std::map<std::pair<ServerKey, std::string>, absl::Time> noticed_at_;
  std::map<ServerKey, DesiredServer> changed_;
  std::shared_ptr<const BalancerView> view_ = std::make_shared<BalancerView>();
};

}  // namespace cloudscale::lbctl
