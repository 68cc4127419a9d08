#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "services/sla/objective_window.h"

namespace cloudscale::sla {

// Turns a series of verdicts into begin and end of a violation, with hysteresis, so that a load at
// the threshold does not flutter: it opens after `open_after` bad windows in a row and closes after
// `close_after` good ones in a row. Windows with too few requests prove nothing and count for
// neither side; after `silent_after` of them in a row an open violation is closed, because nobody
// is served any more.
// Thread safety: thread-compatible.
class ViolationTracker {
 public:
  struct Config {
    int64_t open_after = 2;   // 1 or more
    int64_t close_after = 5;  // 1 or more
    int64_t silent_after = 3 * ObjectiveWindow::kSlices;
    // A window this much worse than the worst so far is reported as a change.
    double worse_factor = 1.1;
  };
  enum class Event { kNone, kOpened, kWorsened, kClosed, kClosedSilently };

  ViolationTracker() : ViolationTracker(Config{}) {}
  explicit ViolationTracker(Config config) : config_(config) {}

  Event Observe(const Judgement& judgement);

  // Goes on with a violation that was open before a restart.
  void Resume(absl::Time first_bad_start, absl::Time last_bad_end, double worst_observed);

  [[nodiscard]] bool is_open() const { return is_open_; }
  [[nodiscard]] absl::Time first_bad_start() const { return first_bad_start_; }
  [[nodiscard]] absl::Time last_bad_end() const { return last_bad_end_; }

 private:
  Event ObserveBad(const Judgement& judgement);

  Config config_;
  bool is_open_ = false;
  int64_t bad_streak_ = 0;
  int64_t good_streak_ = 0;
  int64_t silent_streak_ = 0;
  absl::Time first_bad_start_ = absl::UnixEpoch();
  absl::Time last_bad_end_ = absl::UnixEpoch();
  double reported_worst_ = 0.0;
};

}  // namespace cloudscale::sla
