#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/sync/mutex.h"
#include "common/time/clock.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// A simulated balancer: no traffic, but sessions that follow the weights and take their time to
// leave a server that is drained. Deterministic: the same calls at the same times give the same
// answers.
//
// Each backend is offered `offered_sessions` sessions at a time, which are spread over its ready
// servers by weight; each session lasts `session_length`. Those on a server that takes no new ones
// end evenly over that time.
// Thread safety: thread-safe, so that a test can play the foreign hand on the balancer.
class FakeBalancer final : public Balancer {
 public:
  struct BackendSpec {
    std::string name;
    std::vector<std::string> servers;
    std::string algorithm = "roundrobin";
    int64_t offered_sessions = 20;
    absl::Duration session_length = absl::Seconds(10);
  };

  // `clock` outlives this.
  FakeBalancer(Clock& clock, std::vector<BackendSpec> backends);

  absl::StatusOr<BalancerState> Read() override;
  absl::Status SetWeight(const ServerKey& key, int weight) override;
  absl::Status SetState(const ServerKey& key, ServerState state) override;
  absl::Status SetAddress(const ServerKey& key, const Endpoint& endpoint) override;
  absl::Status AddServer(const NewServer& server) override;
  absl::Status RemoveServer(const ServerKey& key) override;
  absl::Status EndSessions(const ServerKey& key) override;

  // Starts anew: all that was set at run time is lost and counters are zero.
  void Restart();
  // The next `count` changing calls are refused with `status`.
  void Refuse(absl::Status status, int count);
  // While false every call is UNAVAILABLE.
  void SetReachable(bool is_reachable);
  // Changing calls that succeeded, those of tests included.
  [[nodiscard]] int64_t change_count() const;

 private:
  struct Server {
    ServerInfo info;
    int64_t leaving_sessions = 0;  // when it stopped taking new ones
    MonoTime leaving_since;
    bool is_leaving = false;
    double served = 0.0;  // sessions since the start, with the fraction
  };
  struct Backend {
    BackendSpec spec;
    std::map<std::string, Server> servers;
  };

  void Reset() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Brings sessions and counters up to now.
  void Elapse() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ElapseBackend(Backend& backend, MonoTime now, absl::Duration passed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Admit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Server*> Find(const ServerKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static BackendInfo Describe(const Backend& backend);

  Clock& clock_;
  const std::vector<BackendSpec> specs_;
  mutable Mutex mutex_;
  std::map<std::string, Backend> backends_ ABSL_GUARDED_BY(mutex_);
  int64_t starts_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time started_at_ ABSL_GUARDED_BY(mutex_);
  MonoTime elapsed_until_ ABSL_GUARDED_BY(mutex_);
  bool is_reachable_ ABSL_GUARDED_BY(mutex_) = true;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  int refusals_left_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t changes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace cloudscale::lbctl
