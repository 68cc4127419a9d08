#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "cloudscale/common/v1/types.pb.h"
#include "common/backoff/backoff.h"
#include "common/rpc/component.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "services/sla/inputs/balancer_stats.h"

namespace cloudscale::sla {

// Keeps one WatchStats stream to the balancer's control open, with growing pauses between tries,
// and keeps what comes until it is taken; the oldest sample makes room.
// Thread safety: thread-safe; Start and Stop from one thread.
class BalancerStatsClient {
 public:
  // `environment` outlives this.
  BalancerStatsClient(std::string address, Backoff::Config backoff,
                      const rpc::Environment& environment);
  ~BalancerStatsClient() { Stop(); }

  void Start();
  void Stop();

  [[nodiscard]] std::optional<BalancerSample> Take() { return queue_.TryPop(); }
  [[nodiscard]] int64_t dropped_count() const { return queue_.dropped_count(); }
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] common::v1::LinkState link() const;

 private:
  void Run(const std::stop_token& stop);
  absl::Status ReadStream(const std::stop_token& stop);
  void Note(common::v1::LinkHealth health, const std::string& detail);

  const std::string address_;
  const rpc::Environment& environment_;
  Backoff backoff_;  // of the thread
  BoundedQueue<BalancerSample> queue_;
  mutable Mutex mutex_;
  common::v1::LinkState link_ ABSL_GUARDED_BY(mutex_);
  std::optional<MonoTime> last_answer_ ABSL_GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace cloudscale::sla
