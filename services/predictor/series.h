#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/timeseries/ring_buffer.h"
#include "services/predictor/challenge.h"
#include "services/predictor/model.h"
#include "services/predictor/padding.h"
#include "services/predictor/state_codec.h"
#include "services/predictor/track.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// Which series: a VM's, or (with an empty `vm_uuid`) the summed demand of a host's VMs.
struct SeriesId {
  std::string vm_uuid;
  std::string host_id;
  Resource resource = Resource::kCpu;
};

// A forecast as it is given to others.
struct SeriesForecast {
  const ForecastModel* model = nullptr;
  ModelReason reason;
  absl::Time made_at;
  absl::Time based_on_time;
  int64_t based_on_sequence = 0;
  int64_t after_step = 0;  // it says something about the steps after this one
  bool is_warm = false;
  // Some value was kept from the forecast before, because samples were missing.
  bool is_held = false;
  std::vector<double> expected;   // per horizon: expected largest demand
  std::vector<double> quantiles;  // per horizon and ratio: growing in both
  Padding padding;
  // As in ModelOutput.
  std::optional<double> advised;
  std::optional<double> violation_price;
};

// Inputs and results of forecasting one series, apart from the series, so that the work between
// `Series::Prepare` and `Series::Commit` needs no lock. Buffers are reused.
struct ForecastJob {
  std::vector<double> history;               // empty when no model learns from it
  std::vector<const ForecastModel*> models;  // the one in use, then the shadow if there is one
  std::vector<bool> is_made;                 // per model: by its own forecaster, in `Prepare`
  std::vector<std::vector<double>> residual_quantiles;  // per model: per horizon and ratio
  int64_t after_step = 0;
  absl::Time based_on_time;
  int64_t based_on_sequence = 0;
  std::vector<ModelOutput> outputs;  // per model, with quantiles
  double burst = 0;
};

// Value of the horizon's quantile at `ratio`, linear between the published ones, the outermost
// beyond them.
[[nodiscard]] double QuantileAt(const PredictorOptions& options, absl::Span<const double> quantiles,
                                size_t horizon, double ratio);

// Fills the results of `job`. Deterministic; touches nothing but its arguments.
void ComputeForecast(const PredictorOptions& options, Workspace& workspace, ForecastJob& job);

// One resource of one VM, or the sum over a host: samples become steps, steps become history.
//
// Models that learn online take each step as it ends; the history is kept only while some model
// learns from it, and made from what the other model remembers when that begins.
//
// Missing samples never lower a forecast: a step with a sample missing counts at least as high as
// the step before, short gaps are interpolated, long ones are left out and make the series cold,
// and while either lasts, and for as many whole steps afterwards as had samples missing (at most
// 360), every published value is at least what it was before.
// Thread safety: thread-compatible.
class Series {
 public:
  // `options` must outlive the series.
  Series(SeriesId id, const ForecastModel* model, const PredictorOptions& options);

  // Takes one sample of the step with this index. Returns true when that ended an earlier step, so
  // that a forecast is due. Samples of steps that have ended are ignored and counted. O(1) but for
  // the end of a step.
  bool Observe(int64_t step, absl::Time time, int64_t sequence, absl::Duration sampling_period,
               const Observation& observation);

  // The VM is now on this host, whose time line may be behind that of the host before; the series
  // then goes on with `step` as after a long gap.
  void MoveTo(absl::string_view host_id, int64_t step, absl::Time time);

  // Of the model in use, when this step is one at which others may learn from it; else empty.
  [[nodiscard]] std::vector<float> ShapesToShare() const;
  [[nodiscard]] std::optional<YouthOutcome> TakeYouthOutcome();
  // Of others; only before the first sample.
  void StartWith(const Experience& experience);

  // Tells the models the target and price in force.
  void PassTarget();

  // False when there is nothing to forecast from. Forecasts of online models are made here: they
  // take microseconds, and their state cannot leave the series.
  bool Prepare(ForecastJob& job);
  // Publishes the results, unless a newer step has been published meanwhile.
  void Commit(const ForecastJob& job, absl::Time made_at);

  // Forgets all but the newest steps, unless done within the minimum interval. Returns whether it
  // did.
  // After a streak of under-estimates, models that learn online are left alone.
  bool Retrain(absl::Time now, bool is_streak = false);
  [[nodiscard]] bool CanRetrain(absl::Time now) const;

  // The model in use becomes `model`; it starts without residuals unless it ran as the shadow.
  void UseModel(const ForecastModel* model);
  // Null removes the shadow. With `may_promote`, the shadow takes the place of the model in use as
  // soon as it is better by the margin of the options, and that becomes the shadow.
  void UseShadow(const ForecastModel* model, bool may_promote = false);
  // True once after a promotion.
  [[nodiscard]] bool TakePromotion() { return std::exchange(was_promoted_, false); }
  [[nodiscard]] bool may_promote() const { return may_promote_; }
  // Of the shadow over the model in use.
  [[nodiscard]] const Challenge& challenge() const { return challenge_; }

  [[nodiscard]] SeriesState ToState() const;
  // Takes over `state`; FAILED_PRECONDITION when it was made with another step. Models that do not
  // exist any more are left out.
  absl::Status FromState(const SeriesState& state, const ModelRegistry& registry);

  [[nodiscard]] const SeriesId& id() const { return id_; }
  [[nodiscard]] bool is_warm() const;
  [[nodiscard]] double capacity() const { return capacity_; }
  [[nodiscard]] const std::optional<SeriesForecast>& forecast() const { return forecast_; }
  [[nodiscard]] const std::vector<Track>& tracks() const { return tracks_; }
  [[nodiscard]] absl::Time last_sample_time() const { return last_time_; }
  // Newest demand; what the host's sum counts while a sample is missing.
  [[nodiscard]] double last_demand() const { return last_demand_; }
  // Steps that ended, as far as the models still know of them.
  [[nodiscard]] int64_t known_steps() const { return known_steps_; }
  // The newest `count` steps or what is known of them, oldest first.
  [[nodiscard]] std::vector<double> History(size_t count) const;
  [[nodiscard]] int64_t ignored_count() const { return ignored_count_; }
  [[nodiscard]] int64_t retrain_count() const { return retrain_count_; }

  // Set by the engine.
  bool is_due = false;
  bool is_model_chosen = false;      // by somebody, not by default
  bool is_shadow_chosen = false;     // for this series alone
  bool is_promotion_untold = false;  // not published yet
  std::optional<double> target_violation_ratio;
  double price_factor = 1;
  absl::Time price_factor_until = absl::InfinitePast();

 private:
  void CloseStep(int64_t interpolation_limit);
  void Interpolate(int64_t missing, double next);
  void Learn(double demand, bool is_censored, bool is_complete);
  void Judge(int64_t step, double demand, bool is_censored);
  [[nodiscard]] double AllocationOf(const Track& track, const ModelOutput& output, size_t horizon,
                                    double burst) const;
  [[nodiscard]] double target() const {
    return target_violation_ratio.value_or(options_->target_violation_ratio);
  }
  [[nodiscard]] bool NeedsHistory() const;
  // After the models have changed: fills the history, or drops it.
  void RenewHistory(std::vector<double> known);
  // Starts an online model with what is known.
  void Teach(Track& track, const std::vector<double>& known) const;
  [[nodiscard]] double MedianOf(const std::vector<double>& quantiles, size_t horizon) const;
  absl::Status RestoreTracks(const SeriesState& state, const ModelRegistry& registry);
  void RestoreForecast(const SeriesState& state);
  // Demand that an online model of the state remembers.
  [[nodiscard]] std::vector<double> RememberedBy(const SeriesState& state,
                                                 const ModelRegistry& registry) const;

  SeriesId id_;
  const PredictorOptions* options_;
  RingBuffer<double> history_;
  std::vector<Track> tracks_;  // the one in use, then the shadow if there is one
  Challenge challenge_;
  bool may_promote_ = false;
  bool was_promoted_ = false;
  double capacity_ = 0;  // 0: not known
  std::optional<SeriesForecast> forecast_;

  // The open step.
  std::optional<int64_t> open_step_;
  double open_max_ = 0;
  double open_sum_ = 0;
  int64_t open_count_ = 0;
  bool open_is_incomplete_ = true;  // the first step of a series starts in its middle
  bool open_is_censored_ = false;
  double open_allocation_ = -1;  // least one that held back
  double open_held_ = 0;         // most that an allocation let through

  std::optional<int64_t> last_step_;  // newest that ended
  double last_value_ = 0;             // its demand
  int64_t known_steps_ = 0;
  bool last_is_incomplete_ = false;  // a sample of it was missing
  int recovering_steps_ = 0;         // complete steps still needed after a long gap
  int held_steps_ = 0;               // and until lower values are believed again
  absl::Time last_time_ = absl::InfinitePast();
  int64_t last_sequence_ = 0;
  double last_demand_ = 0;
  int under_estimate_streak_ = 0;
  absl::Time last_retrain_ = absl::InfinitePast();
  int64_t ignored_count_ = 0;
  int64_t retrain_count_ = 0;
};

}  // namespace cloudscale::predictor
