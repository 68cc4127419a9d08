#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "services/sla/latency_histogram.h"

namespace cloudscale::sla {

// What happened to one objective in one minute or hour.
struct ComplianceBucket {
  int64_t window_count = 0;  // judged
  int64_t good_window_count = 0;
  int64_t request_count = 0;  // failed ones included
  int64_t error_count = 0;
  LatencyHistogram latencies;

  void Merge(const ComplianceBucket& other);
};

enum class ComplianceTier { kMinute = 0, kHour = 1 };

// The history of one objective: minutes for the last two hours, hours for its whole period. Older
// buckets are dropped. Late requests go into the bucket of their own time.
// Thread safety: thread-compatible.
class ComplianceLog {
 public:
  static constexpr absl::Duration kMinuteRetention = absl::Hours(2);
  using Key = std::pair<ComplianceTier, absl::Time>;

  // `period`: how long hours are kept; 1 h to 90 days.
  explicit ComplianceLog(absl::Duration period) : period_(period) {}

  // Keeps what is still within the new period.
  void set_period(absl::Duration period) { period_ = period; }

  void AddRequests(absl::Time at, int64_t request_count, int64_t error_count,
                   const LatencyHistogram& latencies);
  void AddJudgement(absl::Time window_end, bool is_good);

  // Sum over the buckets that touch [start, end): by minutes when those reach back far enough, else
  // by hours.
  [[nodiscard]] ComplianceBucket Sum(absl::Time start, absl::Time end) const;

  // The buckets that `Sum` adds, put together to at most `max_count` (1 or more) of equal length,
  // oldest first; empty ones are left out. `length` is set to that length.
  [[nodiscard]] std::vector<std::pair<absl::Time, ComplianceBucket>> Series(
      absl::Time start, absl::Time end, int64_t max_count, absl::Duration* length) const;

  // Share of judged windows that were bad in [start, end); 0 when none was judged.
  [[nodiscard]] double BadRatio(absl::Time start, absl::Time end) const;

  // Puts a bucket back after a restart; replaces what is there.
  void Restore(Key key, ComplianceBucket bucket);

  // The buckets changed since the last call, with their new content.
  std::vector<std::pair<Key, ComplianceBucket>> TakeChanged();

 private:
  using Buckets = std::map<absl::Time, ComplianceBucket>;

  template <typename Change>
  void ForBoth(absl::Time at, Change change);
  template <typename Visit>
  void ForRange(absl::Time start, absl::Time end, Visit visit) const;
  void Trim();
  [[nodiscard]] ComplianceTier TierFor(absl::Time start) const;
  [[nodiscard]] Buckets& tier(ComplianceTier t) {
    return t == ComplianceTier::kMinute ? minutes_ : hours_;
  }

  absl::Duration period_;
  Buckets minutes_;
  Buckets hours_;
  std::set<Key> changed_;
  absl::Time newest_ = absl::InfinitePast();
};

}  // namespace cloudscale::sla
