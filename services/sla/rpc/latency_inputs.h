#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/config/v1/config.pb.h"
#include "cloudscale/sla/v1/sla.pb.h"
#include "common/rpc/component.h"
#include "common/sync/bounded_queue.h"
#include "services/sla/clients/balancer_stats_client.h"
#include "services/sla/inputs/balancer_stats.h"
#include "services/sla/inputs/haproxy_log_line.h"
#include "services/sla/inputs/member_index.h"
#include "services/sla/inputs/rate_gate.h"
#include "services/sla/inputs/report_collector.h"
#include "services/sla/rpc/datagram_listener.h"

namespace cloudscale::sla {

class SlaCore;

// Adds all faults of what the inputs are configured by.
void ValidateInputs(const config::v1::SlaConfig& config, Violations& violations);

// Latencies that nobody reports over the API: HAProxy's log lines, the balancer's statistics, and
// notifications of slow requests. Each has a thread of its own that only reads and queues; `Tick`
// turns what came into reports. A request counts at the time at which it was told of, which HAProxy
// does at its end.
// Counted: cloudscale_sla_inputs_total{source,outcome}.
// Thread safety: Start and Stop from one thread; Tick, states and links from the engine's.
class LatencyInputs {
 public:
  // Binds the sockets: errors of DatagramListener::Open. `environment` outlives this.
  static absl::StatusOr<std::unique_ptr<LatencyInputs>> Open(const config::v1::SlaConfig& config,
                                                             const rpc::Environment& environment);

  ~LatencyInputs() { Stop(); }

  void Start();
  // Idempotent.
  void Stop();

  // Reports to `core` what came since the last call, once a slice is over.
  void Tick(SlaCore& core, absl::Time now);

  // Only those that are configured.
  [[nodiscard]] std::vector<v1::InputState> states() const;
  [[nodiscard]] std::vector<common::v1::LinkState> links() const;

 private:
  struct Counts {
    std::atomic<int64_t> taken = 0;
    std::atomic<int64_t> unknown = 0;
    std::atomic<int64_t> malformed = 0;
    std::atomic<int64_t> dropped = 0;  // by us; the kernel's are the listener's
    std::optional<absl::Time> last;    // of the engine's thread
  };
  // What was counted when metrics were last told.
  struct Told {
    int64_t taken = 0;
    int64_t unknown = 0;
    int64_t malformed = 0;
    int64_t dropped = 0;
  };

  LatencyInputs(const config::v1::SlaConfig& config, const rpc::Environment& environment);

  void OnLogLine(absl::string_view datagram);
  void OnNotice(absl::string_view datagram);
  void CollectLines(absl::Time now);
  void CollectStatistics(absl::Time now);
  void CollectNotices(absl::Time now);
  void Flush(ReportCollector& collector, const char* source, SlaCore& core, absl::Time now);
  void Tell(const char* source, const Counts& counts, int64_t dropped, Told& told);
  [[nodiscard]] int64_t LogDropped() const;
  [[nodiscard]] int64_t NoticesDropped() const;

  const config::v1::SlaConfig config_;
  const rpc::Environment& environment_;
  const absl::Duration slice_;

  std::unique_ptr<DatagramListener> log_listener_;  // none when off; so below
  BoundedQueue<HaproxyRequest> lines_;
  Counts log_counts_;
  Told log_told_;
  ReportCollector log_reports_;

  std::unique_ptr<BalancerStatsClient> stats_client_;
  BalancerStats stats_;
  Counts stats_counts_;
  Told stats_told_;
  ReportCollector stats_reports_;

  std::unique_ptr<DatagramListener> notice_listener_;
  RateGate notice_gate_;  // of the listener's thread
  std::atomic<int64_t> notices_ = 0;
  Counts notice_counts_;
  Told notice_told_;
  ReportCollector notice_reports_;

  MemberIndex members_;
  int64_t members_version_ = -1;
  absl::Time slice_start_;
  MonoTime slice_end_;
};

}  // namespace cloudscale::sla
