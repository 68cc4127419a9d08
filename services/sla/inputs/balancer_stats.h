#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::sla {

// What a balancer counts for one server.
struct ServerCounters {
  std::string backend;
  std::string server;
  int64_t total_sessions = 0;  // since the balancer started
  int64_t error_count = 0;     // likewise; failed connections and 5xx
  absl::Duration queue_time;   // means over the last 1024 requests, these and below
  absl::Duration connect_time;
  absl::Duration response_time;
  absl::Duration total_time;
  bool is_reset = false;  // the counters started again
};

// All servers at one time.
struct BalancerSample {
  absl::Time time;
  std::vector<ServerCounters> servers;
};

// What happened at one server between two samples.
struct ServerInterval {
  std::string backend;
  std::string server;
  int64_t served_count = 0;
  int64_t failed_count = 0;
  double mean_seconds = 0.0;
};

// Turns cumulative counters into what happened in between. The time of a request is a mean over the
// last 1024, so it says nothing about the slowest ones and follows a change only after many
// requests: percentiles from it are coarse. The first sample of a server, and one after a gap
// longer than kMaxGap (its requests belong to no time in particular), only begin anew. Counters
// that fell or are marked as reset count from zero.
// Bounded: servers beyond kMaxServers are not followed; those that a sample lacks are forgotten.
// Thread safety: thread-compatible.
class BalancerStats {
 public:
  static constexpr absl::Duration kMaxGap = absl::Seconds(30);
  static constexpr size_t kMaxServers = 10000;

  explicit BalancerStats(bool includes_transfer) : includes_transfer_(includes_transfer) {}

  // Empty for a sample that is not newer than the one before.
  std::vector<ServerInterval> Add(const BalancerSample& sample);

  // Samples after which counting began anew.
  [[nodiscard]] int64_t gap_count() const { return gaps_; }

 private:
  using Key = std::pair<std::string, std::string>;
  struct Counted {
    int64_t sessions = 0;
    int64_t errors = 0;
  };

  bool includes_transfer_;
  absl::Time last_time_ = absl::InfinitePast();
  std::map<Key, Counted> last_;
  int64_t gaps_ = 0;
};

}  // namespace cloudscale::sla
