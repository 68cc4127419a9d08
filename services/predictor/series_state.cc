#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/predictor/series.h"

namespace cloudscale::predictor {

SeriesState Series::ToState() const {
  SeriesState state;
  state.step_nanos = absl::ToInt64Nanoseconds(options_->step);
  state.last_step = last_step_.value_or(0);
  state.last_time_nanos = last_time_ == absl::InfinitePast() ? 0 : absl::ToUnixNanos(last_time_);
  state.last_sequence = last_sequence_;
  state.last_demand = last_demand_;
  state.recovering_steps = recovering_steps_;
  state.history = history_.Last(kMaxStateHistory);
  state.remedial_errors = remedial_.errors();
  state.ratios = options_->ratios;
  for (const Track& track : tracks_) {
    SeriesState::TrackState& out = state.tracks.emplace_back();
    out.model = std::string(track.model()->name());
    for (size_t h = 0; h < options_->horizons.size(); ++h) {
      out.horizons.push_back({.steps = options_->horizons[h],
                              .residuals = track.residuals(h).Values(),
                              .accuracy = track.accuracy(h)});
    }
  }
  if (forecast_) {
    state.expected = forecast_->expected;
    state.quantiles = forecast_->quantiles;
    state.burst = forecast_->padding.burst;
    state.remedial = forecast_->padding.remedial;
  }
  state.target_violation_ratio = target_violation_ratio.value_or(-1);
  return state;
}

absl::Status Series::FromState(const SeriesState& state, const ModelRegistry& registry) {
  if (state.step_nanos != absl::ToInt64Nanoseconds(options_->step)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "state has steps of ", absl::FormatDuration(absl::Nanoseconds(state.step_nanos)),
        "; this predictor has steps of ", absl::FormatDuration(options_->step)));
  }
  for (double value : state.history) {
    if (value < 0) {
      return absl::DataLossError("state holds a negative demand");
    }
  }
  history_.Clear();
  for (double value : state.history) {
    history_.Push(value);
  }
  open_step_.reset();
  open_is_incomplete_ = true;
  last_step_ = state.history.empty() ? std::nullopt : std::make_optional(state.last_step);
  last_time_ = absl::FromUnixNanos(state.last_time_nanos);
  last_sequence_ = state.last_sequence;
  last_demand_ = std::max(0.0, state.last_demand);
  recovering_steps_ = std::clamp(state.recovering_steps, 0, options_->gap_recovery_steps);
  remedial_.Clear();
  for (double error : state.remedial_errors) {
    remedial_.Add(error);
  }
  if (state.target_violation_ratio > 0) {
    target_violation_ratio = state.target_violation_ratio;
  }
  bool is_first = true;
  for (const SeriesState::TrackState& track_state : state.tracks) {
    const ForecastModel* model = registry.Find(track_state.model);
    if (model != nullptr) {
      if (is_first) {
        UseModel(model);
      } else {
        UseShadow(model);
      }
      Track& track = is_first ? tracks_.front() : tracks_.back();
      for (size_t h = 0; h < options_->horizons.size(); ++h) {
        for (const SeriesState::HorizonState& horizon : track_state.horizons) {
          if (horizon.steps == options_->horizons[h] && track.model() == model) {
            // Coverage of other quantiles cannot be taken over.
            track.Restore(h, horizon.residuals,
                          state.ratios == options_->ratios ? horizon.accuracy : AccuracySums());
          }
        }
      }
    }
    is_first = false;
  }
  const size_t horizons = options_->horizons.size();
  if (state.expected.size() == horizons && state.ratios == options_->ratios &&
      state.quantiles.size() == horizons * options_->ratios.size()) {
    SeriesForecast& forecast = forecast_.emplace();
    forecast.model = tracks_.front().model();
    forecast.made_at = last_time_;
    forecast.based_on_time = last_time_;
    forecast.based_on_sequence = last_sequence_;
    forecast.after_step = state.last_step;
    forecast.expected = state.expected;
    forecast.quantiles = state.quantiles;
    forecast.padding = {.burst = std::max(0.0, state.burst),
                        .remedial = std::max(0.0, state.remedial)};
    forecast.is_warm = is_warm();
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::predictor
