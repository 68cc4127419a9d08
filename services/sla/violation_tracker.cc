#include "services/sla/violation_tracker.h"

#include <algorithm>

namespace cloudscale::sla {

ViolationTracker::Event ViolationTracker::Observe(const Judgement& judgement) {
  switch (judgement.verdict) {
    case Judgement::Verdict::kBad:
      return ObserveBad(judgement);
    case Judgement::Verdict::kGood:
      silent_streak_ = 0;
      bad_streak_ = 0;
      if (!is_open_ || ++good_streak_ < config_.close_after) {
        return Event::kNone;
      }
      is_open_ = false;
      good_streak_ = 0;
      return Event::kClosed;
    case Judgement::Verdict::kTooFew:
      if (++silent_streak_ < config_.silent_after) {
        return Event::kNone;
      }
      bad_streak_ = 0;
      good_streak_ = 0;
      if (!is_open_) {
        return Event::kNone;
      }
      is_open_ = false;
      return Event::kClosedSilently;
  }
  return Event::kNone;
}

ViolationTracker::Event ViolationTracker::ObserveBad(const Judgement& judgement) {
  silent_streak_ = 0;
  good_streak_ = 0;
  if (bad_streak_ == 0 && !is_open_) {
    first_bad_start_ = judgement.start;
    reported_worst_ = 0.0;
  }
  ++bad_streak_;
  last_bad_end_ = judgement.end;
  if (!is_open_) {
    if (bad_streak_ < config_.open_after) {
      return Event::kNone;
    }
    is_open_ = true;
    reported_worst_ = judgement.observed;
    return Event::kOpened;
  }
  if (judgement.observed > reported_worst_ * config_.worse_factor) {
    reported_worst_ = judgement.observed;
    return Event::kWorsened;
  }
  return Event::kNone;
}

void ViolationTracker::Resume(absl::Time first_bad_start, absl::Time last_bad_end,
                              double worst_observed) {
  is_open_ = true;
  first_bad_start_ = first_bad_start;
  last_bad_end_ = last_bad_end;
  reported_worst_ = worst_observed;
}

}  // namespace cloudscale::sla
