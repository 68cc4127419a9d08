#include "services/sla/compliance_log.h"

#include <algorithm>

namespace cloudscale::sla {
namespace {

absl::Duration LengthOf(ComplianceTier tier) {
  return tier == ComplianceTier::kMinute ? absl::Minutes(1) : absl::Hours(1);
}

absl::Time FloorTo(absl::Time at, absl::Duration unit) {
  return absl::UnixEpoch() + absl::Floor(at - absl::UnixEpoch(), unit);
}

}  // namespace

void ComplianceBucket::Merge(const ComplianceBucket& other) {
  window_count += other.window_count;
  good_window_count += other.good_window_count;
  request_count += other.request_count;
  error_count += other.error_count;
  latencies.Merge(other.latencies);
}

template <typename Change>
void ComplianceLog::ForBoth(absl::Time at, Change change) {
  newest_ = std::max(newest_, at);
  for (const ComplianceTier t : {ComplianceTier::kMinute, ComplianceTier::kHour}) {
    const absl::Time start = FloorTo(at, LengthOf(t));
    change(tier(t)[start]);
    changed_.insert({t, start});
  }
  Trim();
}

void ComplianceLog::AddRequests(absl::Time at, int64_t request_count, int64_t error_count,
                                const LatencyHistogram& latencies) {
  ForBoth(at, [&](ComplianceBucket& bucket) {
    bucket.request_count += request_count;
    bucket.error_count += error_count;
    bucket.latencies.Merge(latencies);
  });
}

void ComplianceLog::AddJudgement(absl::Time window_end, bool is_good) {
  // A window that ends exactly on the grid belongs to the bucket before.
  ForBoth(window_end - absl::Nanoseconds(1), [&](ComplianceBucket& bucket) {
    ++bucket.window_count;
    bucket.good_window_count += is_good ? 1 : 0;
  });
}

ComplianceTier ComplianceLog::TierFor(absl::Time start) const {
  return start >= newest_ - kMinuteRetention ? ComplianceTier::kMinute : ComplianceTier::kHour;
}

template <typename Visit>
void ComplianceLog::ForRange(absl::Time start, absl::Time end, Visit visit) const {
  const ComplianceTier tier = TierFor(start);
  const Buckets& buckets = tier == ComplianceTier::kMinute ? minutes_ : hours_;
  for (auto it = buckets.lower_bound(FloorTo(start, LengthOf(tier)));
       it != buckets.end() && it->first < end; ++it) {
    visit(it->first, it->second);
  }
}

std::vector<std::pair<absl::Time, ComplianceBucket>> ComplianceLog::Series(
    absl::Time start, absl::Time end, int64_t max_count, absl::Duration* length) const {
  const absl::Duration unit = LengthOf(TierFor(start));
  const absl::Time first = FloorTo(start, unit);
  absl::Duration rest;
  // On the grid from `first`, one more than fits may be touched.
  const int64_t units = absl::IDivDuration(end - first, unit, &rest) + 1;
  *length = unit * ((units + max_count - 1) / max_count);
  std::vector<std::pair<absl::Time, ComplianceBucket>> out;
  ForRange(start, end, [&](absl::Time at, const ComplianceBucket& bucket) {
    const absl::Time group = first + absl::Floor(at - first, *length);
    if (out.empty() || out.back().first != group) {
      out.emplace_back(group, ComplianceBucket());
    }
    out.back().second.Merge(bucket);
  });
  return out;
}

ComplianceBucket ComplianceLog::Sum(absl::Time start, absl::Time end) const {
  ComplianceBucket sum;
  ForRange(start, end, [&](absl::Time, const ComplianceBucket& bucket) { sum.Merge(bucket); });
  return sum;
}

double ComplianceLog::BadRatio(absl::Time start, absl::Time end) const {
  int64_t judged = 0;
  int64_t good = 0;
  ForRange(start, end, [&](absl::Time, const ComplianceBucket& bucket) {
    judged += bucket.window_count;
    good += bucket.good_window_count;
  });
  return judged == 0 ? 0.0 : static_cast<double>(judged - good) / static_cast<double>(judged);
}

void ComplianceLog::Restore(Key key, ComplianceBucket bucket) {
  newest_ = std::max(newest_, key.second);
  tier(key.first)[key.second] = std::move(bucket);
}

std::vector<std::pair<ComplianceLog::Key, ComplianceBucket>> ComplianceLog::TakeChanged() {
  std::vector<std::pair<Key, ComplianceBucket>> out;
  for (const Key& key : changed_) {
    const Buckets& buckets = tier(key.first);
    const auto it = buckets.find(key.second);
    if (it != buckets.end()) {
      out.emplace_back(key, it->second);
    }
  }
  changed_.clear();
  return out;
}

void ComplianceLog::Trim() {
  minutes_.erase(minutes_.begin(),
                 minutes_.lower_bound(newest_ - kMinuteRetention - absl::Minutes(1)));
  hours_.erase(hours_.begin(), hours_.lower_bound(newest_ - period_ - absl::Hours(1)));
  changed_.erase(changed_.begin(),
                 changed_.lower_bound(
                     {ComplianceTier::kMinute, newest_ - kMinuteRetention - absl::Minutes(1)}));
}

}  // namespace cloudscale::sla
