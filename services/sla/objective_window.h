#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/sla/latency_histogram.h"
#include "services/sla/objective.h"

namespace cloudscale::sla {

// What one report adds to an objective.
struct Contribution {
  int64_t request_count = 0;  // answered requests
  int64_t slow_count = 0;     // of these, over the objective's threshold
  int64_t error_count = 0;    // failed requests, not part of `request_count`
  int64_t notice_count = 0;   // slow requests told of without a time, not part of it either
  LatencyHistogram latencies;
  std::string vm_uuid;  // empty when not known
  std::string source;   // see latency_report.h
};

// The verdict on one window.
struct Judgement {
  enum class Verdict { kGood, kBad, kTooFew };
  Verdict verdict = Verdict::kTooFew;
  absl::Time start;  // of the window
  absl::Time end;
  int64_t request_count = 0;              // all requests, failed ones included
  int64_t bad_count = 0;                  // slow or failed requests, as the indicator says
  double observed = 0.0;                  // percentile in seconds, error ratio, or rate
  std::vector<std::string> bad_vm_uuids;  // VMs known to have served slow or failed requests
  std::string source;
};

// The sliding window of one objective. It is cut into kSlices slices on the wall-clock grid; at the
// end of each slice the last kSlices of them are judged together, so a window is judged every
// window/kSlices. A report counts in the slice in which its interval ends. One that comes after its
// slice ended still counts in the windows that are yet to be judged.
//
// Verdict for a percentile p over n requests: good when the nearest-rank percentile is at or below
// the threshold, that is, when at most n - ceil(p n) requests are slow. No quantile is estimated
// for that, so the verdict is exact for single values.
//
// Verdict for a slow rate: good when at most rate × window notifications came. Silence is good, but
// only after the first notification: before, nobody may be listening to.
// Thread safety: thread-compatible.
class ObjectiveWindow {
 public:
  static constexpr int64_t kSlices = 10;
  // After a pause longer than this only the newest windows are judged: nobody was told in time
  // anyway, and the work per step stays bounded.
  static constexpr int64_t kMaxJudgementsPerAdvance = 600;
  // Of VMs told apart in a slice.
  static constexpr size_t kMaxVmsPerSlice = kMaxMembers;

  explicit ObjectiveWindow(const Objective& objective);

  // Adds what ended at `at`. Too old for any window to come: ignored.
  void Add(absl::Time at, const Contribution& contribution);

  // Judges every window that ended at or before `now` since the last call, oldest first. When time
  // went back, what was collected is forgotten and judging starts anew.
  std::vector<Judgement> Advance(absl::Time now);

  // Length of a slice: time between two judgements.
  [[nodiscard]] absl::Duration slice() const { return slice_; }

 private:
  struct Slice {
    Contribution sum;
    std::map<std::string, int64_t> bad_by_vm;
  };

  [[nodiscard]] int64_t IndexOf(absl::Time at) const;
  [[nodiscard]] absl::Time StartOf(int64_t index) const;
  [[nodiscard]] Judgement Judge(int64_t last_index) const;
  void Decide(const Contribution& sum, Judgement& judgement) const;

  Indicator indicator_;
  bool was_notified_ = false;
  int64_t min_request_count_;
  absl::Duration slice_;
  std::map<int64_t, Slice> slices_;
  bool has_judged_ = false;
  int64_t next_index_ = 0;  // first slice whose window is not judged yet
};

}  // namespace cloudscale::sla
