#include "services/sla/inputs/balancer_stats.h"

#include <algorithm>

namespace cloudscale::sla {
namespace {

constexpr absl::Duration kMaxTime = absl::Hours(1);

}  // namespace

std::vector<ServerInterval> BalancerStats::Add(const BalancerSample& sample) {
  std::vector<ServerInterval> out;
  if (sample.time <= last_time_) {
    return out;
  }
  const bool is_gap = sample.time - last_time_ > kMaxGap;
  if (is_gap && last_time_ != absl::InfinitePast()) {
    ++gaps_;
  }
  last_time_ = sample.time;
  std::map<Key, Counted> counted;
  for (const ServerCounters& now : sample.servers) {
    if (counted.size() >= kMaxServers) {
      break;
    }
    const Key key(now.backend, now.server);
    counted[key] = {.sessions = now.total_sessions, .errors = now.error_count};
    const auto before = last_.find(key);
    if (is_gap || before == last_.end()) {
      continue;
    }
    const bool is_reset = now.is_reset || now.total_sessions < before->second.sessions ||
                          now.error_count < before->second.errors;
    const Counted base = is_reset ? Counted() : before->second;
    const int64_t sessions = std::max<int64_t>(now.total_sessions - base.sessions, 0);
    const int64_t failed = std::max<int64_t>(now.error_count - base.errors, 0);
    if (sessions == 0 && failed == 0) {
      continue;
    }
    const absl::Duration mean =
        includes_transfer_ ? now.total_time : now.queue_time + now.connect_time + now.response_time;
    // A failed connection is an error without a session.
    out.push_back(
        {.backend = now.backend,
         .server = now.server,
         .served_count = std::max<int64_t>(sessions - failed, 0),
         .failed_count = failed,
         .mean_seconds = absl::ToDoubleSeconds(std::clamp(mean, absl::ZeroDuration(), kMaxTime))});
  }
  last_ = std::move(counted);
  return out;
}

}  // namespace cloudscale::sla
