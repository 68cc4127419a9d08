#include "services/sla/objective_window.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "common/check/check.h"

namespace cloudscale::sla {
namespace {

// Most requests that may be slow while the nearest-rank percentile is still kept.
int64_t AllowedSlow(int64_t count, double percentile_ratio) {
  const auto rank =
      static_cast<int64_t>(std::ceil(percentile_ratio * static_cast<double>(count) - 1e-9));
  return count - std::max<int64_t>(rank, 1);
}

}  // namespace

ObjectiveWindow::ObjectiveWindow(const Objective& objective)
    : indicator_(objective.indicator),
      min_request_count_(objective.min_request_count),
      slice_(objective.window / kSlices) {
  CS_CHECK(slice_ > absl::ZeroDuration());
}

int64_t ObjectiveWindow::IndexOf(absl::Time at) const {
  absl::Duration rest;
  const int64_t index = absl::IDivDuration(at - absl::UnixEpoch(), slice_, &rest);
  return rest < absl::ZeroDuration() ? index - 1 : index;
}

absl::Time ObjectiveWindow::StartOf(int64_t index) const {
  return absl::UnixEpoch() + index * slice_;
}

void ObjectiveWindow::Add(absl::Time at, const Contribution& c) {
  // An interval that ends exactly on the grid belongs to the slice before.
  const int64_t index = IndexOf(at - absl::Nanoseconds(1));
  if (has_judged_ && index < next_index_ - kSlices) {
    return;
  }
  Slice& slice = slices_[index];
  slice.sum.request_count += c.request_count;
  slice.sum.slow_count += c.slow_count;
  slice.sum.error_count += c.error_count;
  slice.sum.notice_count += c.notice_count;
  was_notified_ = was_notified_ || c.notice_count > 0;
  slice.sum.latencies.Merge(c.latencies);
  slice.sum.source = c.source;
  const bool judges_errors = std::holds_alternative<ErrorIndicator>(indicator_);
  const bool judges_rate = std::holds_alternative<SlowRateIndicator>(indicator_);
  const int64_t bad = judges_errors ? c.error_count : judges_rate ? c.notice_count : c.slow_count;
  if (bad > 0 && !c.vm_uuid.empty() &&
      (slice.bad_by_vm.size() < kMaxVmsPerSlice || slice.bad_by_vm.contains(c.vm_uuid))) {
    slice.bad_by_vm[c.vm_uuid] += bad;
  }
}

std::vector<Judgement> ObjectiveWindow::Advance(absl::Time now) {
  std::vector<Judgement> out;
  const int64_t current = IndexOf(now);  // this slice is still open
  if (has_judged_ && current < next_index_ - 1) {
    slices_.clear();
    has_judged_ = false;
  }
  if (!has_judged_) {
    // What was reported before the first call is judged with the windows that it still touches.
    next_index_ = slices_.empty() ? current : std::min(slices_.begin()->first, current);
    has_judged_ = true;
  }
  next_index_ = std::max(next_index_, current - kMaxJudgementsPerAdvance);
  for (; next_index_ < current; ++next_index_) {
    slices_.erase(slices_.begin(), slices_.lower_bound(next_index_ - kSlices + 1));
    out.push_back(Judge(next_index_));
  }
  return out;
}

Judgement ObjectiveWindow::Judge(int64_t last_index) const {
  Judgement judgement;
  judgement.start = StartOf(last_index - kSlices + 1);
  judgement.end = StartOf(last_index + 1);
  Contribution sum;
  std::map<std::string, int64_t> bad_by_vm;
  const auto end = slices_.upper_bound(last_index);
  for (auto it = slices_.lower_bound(last_index - kSlices + 1); it != end; ++it) {
    sum.request_count += it->second.sum.request_count;
    sum.slow_count += it->second.sum.slow_count;
    sum.error_count += it->second.sum.error_count;
    sum.notice_count += it->second.sum.notice_count;
    sum.latencies.Merge(it->second.sum.latencies);
    judgement.source = it->second.sum.source;
    for (const auto& [vm, bad] : it->second.bad_by_vm) {
      bad_by_vm[vm] += bad;
    }
  }
  for (const auto& [vm, bad] : bad_by_vm) {
    judgement.bad_vm_uuids.push_back(vm);
  }
  Decide(sum, judgement);
  return judgement;
}

void ObjectiveWindow::Decide(const Contribution& sum, Judgement& judgement) const {
  judgement.request_count = sum.request_count + sum.error_count;
  if (const auto* latency = std::get_if<LatencyIndicator>(&indicator_)) {
    judgement.bad_count = sum.slow_count;
    if (sum.request_count == 0 || sum.request_count < min_request_count_) {
      return;
    }
    const double threshold = absl::ToDoubleSeconds(latency->threshold);
    const double estimate = sum.latencies.Quantile(latency->percentile_ratio).value_or(0.0);
    const bool bad = sum.slow_count > AllowedSlow(sum.request_count, latency->percentile_ratio);
    // The estimate is rounded to a bucket; it must not contradict the exact verdict.
    judgement.observed = bad ? std::max(estimate, threshold) : std::min(estimate, threshold);
    judgement.verdict = bad ? Judgement::Verdict::kBad : Judgement::Verdict::kGood;
    return;
  }
  if (const auto* errors = std::get_if<ErrorIndicator>(&indicator_)) {
    judgement.bad_count = sum.error_count;
    if (judgement.request_count == 0 || judgement.request_count < min_request_count_) {
      return;
    }
    judgement.observed =
        static_cast<double>(sum.error_count) / static_cast<double>(judgement.request_count);
    judgement.verdict = judgement.observed > errors->max_error_ratio ? Judgement::Verdict::kBad
                                                                     : Judgement::Verdict::kGood;
    return;
  }
  if (const auto* rate = std::get_if<SlowRateIndicator>(&indicator_); rate && was_notified_) {
    judgement.request_count = sum.notice_count;
    judgement.bad_count = sum.notice_count;
    judgement.observed =
        static_cast<double>(sum.notice_count) / absl::ToDoubleSeconds(slice_ * kSlices);
    judgement.verdict = judgement.observed > rate->max_per_second ? Judgement::Verdict::kBad
                                                                  : Judgement::Verdict::kGood;
  }
}

}  // namespace cloudscale::sla
