#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/time/clock.h"
#include "common/timeseries/ring_buffer.h"
#include "services/scaler/decide.h"
#include "services/scaler/observation.h"
#include "services/scaler/scaler_config.h"

namespace cloudscale::scaler {

// A wish for more from outside, for a time.
struct BoostState {
  double factor = 1;
  MonoTime until;
  std::string objective_id;
  std::string violation_id;
};

// What the engine remembers of one resource of one VM between samples. A value type: copying the
// engine copies it. Thread safety: thread-compatible.
class SeriesState {
 public:
  SeriesState(Resource resource, const ScalerConfig& config)
      : resource_(resource),
        correction_(resource == Resource::kCpu ? config.cpu_correction : config.memory_correction),
        peaks_(static_cast<size_t>(config.peak_window_steps)) {}

  // What one sample told.
  struct SampleResult {
    bool is_under_estimate = false;
    bool wants_retrain = false;
    bool is_foreign_change = false;
    bool is_outdated = false;  // taken before our own last change showed
  };

  // Takes one sample in. `elapsed` is the time since the sample before, zero at the first;
  // `has_gap` when samples between are missing. O(1).
  SampleResult OnSample(const VmObservation& vm, MonoTime now, absl::Duration elapsed, bool has_gap,
                        const ScalerConfig& config);

  // A sample came without this VM.
  void OnAbsent() { fresh_streak_ = 0; }

  // Ends a full step: closes its peak and judges it.
  void OnStepEnd();

  // Counts the steps in a row in which a shrink was wanted and allowed.
  void CountQuiet(bool wants_shrink) { quiet_steps_ = wants_shrink ? quiet_steps_ + 1 : 0; }

  // An action set the allocation to `value` (read back); nullopt = no limit.
  void OnSet(std::optional<double> before, std::optional<double> value, MonoTime now);
  // An action failed; returns true when the series is now held.
  bool OnFailure(MonoTime now, const ScalerConfig& config);
  // Somebody else's value was found: it becomes the base and nothing shrinks for a while.
  void Yield(std::optional<double> value, MonoTime now, const ScalerConfig& config);
  // What was last set before a restart, so that a change made meanwhile is noticed.
  void RestoreLastSet(std::optional<double> value) { last_set_ = LastSet{value, true, 0}; }
  void SetBoost(BoostState boost) { boost_ = std::move(boost); }

  // Fills in the parts of a decision's inputs that this state knows.
  void Fill(DecisionInputs& in, const SampleResult& sample, MonoTime now,
            int64_t fresh_streak_needed) const;

  [[nodiscard]] std::optional<double> recent_peak() const { return RecentLevel(0); }
  // Of the highest demands of the last steps, the one under way among them, the smallest that at
  // most this share of them exceeds; `share` in [0, 1).
  [[nodiscard]] std::optional<double> RecentLevel(double share) const;
  [[nodiscard]] std::optional<double> last_allocation() const { return last_allocation_; }
  [[nodiscard]] int64_t fresh_samples() const { return fresh_samples_; }
  [[nodiscard]] std::optional<BoostState> ActiveBoost(MonoTime now) const;

  // Accounting since the start.
  struct Account {
    double peak_demand = 0;       // largest demand seen
    double granted_seconds = 0;   // allocation over time
    double observed_seconds = 0;  // time with a known allocation
    int64_t under_estimate_count = 0;
    int64_t step_count = 0;
    // Sizing for the largest demand seen, minus what was granted, both over time.
    [[nodiscard]] double saved_seconds() const {
      return peak_demand * observed_seconds - granted_seconds;
    }
  };
  [[nodiscard]] const Account& account() const { return account_; }

 private:
  struct LastSet {
    std::optional<double> value;
    bool is_confirmed = false;  // a sample has shown it
    int64_t unconfirmed_samples = 0;
  };

  enum class Sight { kAsSet, kOutdated, kForeign };
  Sight Compare(const VmObservation& vm, MonoTime now, const ScalerConfig& config);
  SampleResult Correct(const VmObservation& vm);

  // Of memory only.
  void WatchSwap(const VmObservation& vm, MonoTime now, absl::Duration elapsed,
                 const ScalerConfig& config);
  void WatchBalloon(const VmObservation& vm, MonoTime now, const ScalerConfig& config);

  // What a guest swaps in, from its counter. The counter of one report may be seen twice, so a rate
  // is over the time since it last changed, at most two samples.
  struct Swap {
    std::optional<int64_t> bytes;
    MonoTime changed_at;
    // Judged once a step, so that what was given can show: growing is due while the rate is not
    // below that of the step before.
    std::optional<MonoTime> judged_at;
    double judged_rate = 0;  // bytes per second, the highest since
  };
  // How near a balloon has come to its target.
  struct Balloon {
    double target = 0;
    double best_distance = 0;
    MonoTime progress_at;
  };

  Resource resource_;
  CorrectionConfig correction_;
  Swap swap_;
  std::optional<double> swap_in_rate_;
  std::optional<Balloon> balloon_;  // while it is away from its target
  std::optional<absl::Duration> balloon_refused_for_;
  int64_t fresh_samples_ = 0;
  int64_t fresh_streak_ = 0;
  RingBuffer<double> peaks_;  // one per full step
  std::optional<double> step_peak_;
  int64_t quiet_steps_ = 0;
  double alpha_ = 1;
  int64_t streak_ = 0;
  int64_t retrain_streak_ = 0;
  std::optional<double> last_allocation_;
  std::optional<LastSet> last_set_;
  std::optional<MonoTime> last_change_;
  std::optional<double> before_shrink_;  // while the last shrink is on probation
  std::optional<MonoTime> foreign_until_;
  std::optional<MonoTime> failed_until_;
  int64_t failures_ = 0;
  std::optional<int64_t> oom_count_;
  bool is_oom_ = false;
  std::optional<BoostState> boost_;
  bool has_under_estimate_in_step_ = false;
  bool has_judgement_in_step_ = false;
  Account account_;
};

}  // namespace cloudscale::scaler
