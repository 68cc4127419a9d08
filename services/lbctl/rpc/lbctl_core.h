#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/component.h"
#include "common/rpc/serving/request_log.h"
#include "common/sync/mutex.h"
#include "services/lbctl/balancer_control.h"
#include "services/lbctl/capacity_book.h"
#include "services/lbctl/capacity_follower.h"
#include "services/lbctl/rpc/desired_store.h"

namespace cloudscale::lbctl {

// A drain that is being waited for.
struct Drain {
  ServerKey key;
  MonoTime started;
  MonoTime deadline;
  bool force = false;
  // True when nobody waits any more.
  std::function<bool()> is_cancelled;
  // Called once, on the engine thread: sessions left, time taken.
  std::function<void(const absl::Status& status, int64_t sessions, absl::Duration elapsed)> done;
};

// The control with its store and the drains under way: what the engine thread works on.
// Thread safety: `snapshot` and `follows` from any thread; the rest confined to the engine thread
// after `Open`.
class LbctlCore {
 public:
  struct Options {
    std::string state_path;
    absl::Duration poll_period = absl::Seconds(1);
    std::map<ServerKey, std::string> vm_uuids;
    std::map<std::string, FollowPolicy> follows;  // by backend
  };
  using Follows = std::map<std::string, FollowState>;

  // What a report of capacity led to.
  struct CapacityAnswer {
    std::vector<std::string> followed_vm_uuids;  // of the report, in order
    std::vector<WeightChange> changes;
    std::vector<std::string> backends;  // followed ones with a VM of the report, in order
  };
  using OnPolled = std::function<void(const BalancerView&)>;

  static absl::StatusOr<std::unique_ptr<LbctlCore>> Open(Options options,
                                                         std::unique_ptr<Balancer> balancer,
                                                         const rpc::Environment& environment);

  void set_on_polled(OnPolled on_polled) { on_polled_ = std::move(on_polled); }

  // Polls when it is time, or when a drain is waited for.
  void Tick();
  // How long until the next tick.
  [[nodiscard]] absl::Duration TickPeriod() const;

  // Runs a change, then saves and publishes what it changed.
  absl::Status Do(const std::function<absl::Status(BalancerControl&)>& change);

  // Takes a report in and lets weights follow it. Trouble with the balancer is in the state of the
  // backend and no error: the report is kept and tried again. Errors: those of `CapacityBook`.
  absl::StatusOr<CapacityAnswer> ReportCapacity(const std::string& host_id,
                                                const std::vector<VmCapacity>& vms,
                                                absl::Duration time_to_live);

  // The server must be draining already.
  void WaitForDrain(Drain drain) { drains_.push_back(std::move(drain)); }
  // Answers all drains with UNAVAILABLE.
  void EndDrains();

  [[nodiscard]] std::shared_ptr<const BalancerView> snapshot() const;
  [[nodiscard]] std::shared_ptr<const Follows> follows() const;
  [[nodiscard]] MetricSink& metrics() const { return environment_.metrics; }
  [[nodiscard]] absl::Time Now() const { return environment_.clock.WallNow(); }
  [[nodiscard]] Clock& clock() const { return environment_.clock; }
  [[nodiscard]] rpc::RequestLog& requests() { return *requests_; }

 private:
  LbctlCore(Options options, std::unique_ptr<Balancer> balancer,
            const rpc::Environment& environment);
  absl::Status Publish();
  void Follow(const std::set<std::string>& backends, std::vector<WeightChange>* changes);
  void FollowOne(const std::string& backend, FollowState& state,
                 std::vector<WeightChange>* changes);
  void CheckDrains();
  bool CheckDrain(Drain& drain);

  const Options options_;
  const rpc::Environment& environment_;
  const std::unique_ptr<Balancer> balancer_;
  BalancerControl control_;
  std::unique_ptr<DesiredStore> store_;
  std::optional<rpc::RequestLog> requests_;
  OnPolled on_polled_;
  std::list<Drain> drains_;
  CapacityBook capacity_;
  CapacityFollower follower_;
  MonoTime next_poll_;
  mutable Mutex mutex_;
  std::shared_ptr<const BalancerView> snapshot_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const Follows> follows_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cloudscale::lbctl
