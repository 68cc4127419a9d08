#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "services/predictor/series.h"

namespace cloudscale::predictor {
namespace {

int64_t NanosOf(absl::Time time) {
  return time == absl::InfinitePast() ? 0 : absl::ToUnixNanos(time);
}

absl::Time TimeOf(int64_t nanos) {
  return nanos == 0 ? absl::InfinitePast() : absl::FromUnixNanos(nanos);
}

bool IsAllowed(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double value) { return value >= 0; });
}

}  // namespace

SeriesState Series::ToState() const {
  SeriesState state;
  state.step_nanos = absl::ToInt64Nanoseconds(options_->step);
  state.last_step = last_step_;
  state.last_time_nanos = NanosOf(last_time_);
  state.last_sequence = last_sequence_;
  state.last_demand = last_demand_;
  state.last_value = last_value_;
  state.known_steps = known_steps_;
  state.is_incomplete = open_is_incomplete_;
  state.was_incomplete = last_is_incomplete_;
  state.recovering_steps = recovering_steps_;
  state.held_steps = held_steps_;
  state.under_estimate_streak = under_estimate_streak_;
  state.last_retrain_nanos = NanosOf(last_retrain_);
  state.ignored_count = ignored_count_;
  state.retrain_count = retrain_count_;
  state.capacity = capacity_;
  state.target_violation_ratio = target_violation_ratio.value_or(-1);
  state.price_factor = price_factor;
  state.price_factor_until_nanos = NanosOf(price_factor_until);
  state.is_model_chosen = is_model_chosen;
  state.is_shadow_chosen = is_shadow_chosen;
  state.may_promote = may_promote_;
  state.challenge = challenge_;
  if (open_step_) {
    state.open = {.step = *open_step_,
                  .largest = open_max_,
                  .sum = open_sum_,
                  .count = open_count_,
                  .is_censored = open_is_censored_,
                  .allocation = open_allocation_};
  }
  state.history = history_.Last(kMaxStateHistory);
  state.ratios = options_->ratios;
  for (const Track& track : tracks_) {
    TrackState& out = state.tracks.emplace_back();
    out.model = std::string(track.model()->name());
    if (track.online() != nullptr) {
      out.online = track.online()->Save();
    }
    out.remedial_errors = track.remedial().errors();
    for (size_t h = 0; h < options_->horizons.size(); ++h) {
      out.horizons.push_back({.steps = options_->horizons[h],
                              .residuals = track.residuals(h).Values(),
                              .accuracy = track.accuracy(h),
                              .in_flight = track.in_flight(h)});
    }
  }
  if (forecast_) {
    state.forecast = {.made_at_nanos = NanosOf(forecast_->made_at),
                      .based_on_nanos = NanosOf(forecast_->based_on_time),
                      .based_on_sequence = forecast_->based_on_sequence,
                      .after_step = forecast_->after_step,
                      .is_warm = forecast_->is_warm,
                      .is_held = forecast_->is_held,
                      .expected = forecast_->expected,
                      .quantiles = forecast_->quantiles,
                      .burst = forecast_->padding.burst,
                      .remedial = forecast_->padding.remedial,
                      .advised = forecast_->advised,
                      .violation_price = forecast_->violation_price,
                      .reason = forecast_->reason};
  }
  return state;
}

std::vector<double> Series::RememberedBy(const SeriesState& state,
                                         const ModelRegistry& registry) const {
  for (const TrackState& saved : state.tracks) {
    const ForecastModel* const model = registry.Find(saved.model);
    if (model != nullptr && !saved.online.empty()) {
      const Track track(model, id_.resource, *options_);
      if (track.online() != nullptr && track.online()->Load(saved.online)) {
        return track.online()->RecentDemand(history_.capacity());
      }
    }
  }
  return {};
}

absl::Status Series::RestoreTracks(const SeriesState& state, const ModelRegistry& registry) {
  bool is_first = true;
  for (const TrackState& saved : state.tracks) {
    const ForecastModel* const model = registry.Find(saved.model);
    const bool is_in_use = std::exchange(is_first, false);
    if (model == nullptr ||
        (is_in_use && !state.is_model_chosen && model != tracks_.front().model())) {
      continue;  // gone, or the default has changed since
    }
    if (is_in_use) {
      UseModel(model);
    } else {
      UseShadow(model, state.may_promote);
    }
    Track& track = is_in_use ? tracks_.front() : tracks_.back();
    if (track.model() != model) {
      continue;
    }
    if (track.online() != nullptr && !saved.online.empty()) {
      if (!track.online()->Load(saved.online)) {
        return absl::DataLossError(
            absl::StrCat("state of model \"", saved.model, "\" is damaged or of other horizons"));
      }
    }
    for (double error : saved.remedial_errors) {
      track.remedial().Add(error);
    }
    for (size_t h = 0; h < options_->horizons.size(); ++h) {
      for (const HorizonState& horizon : saved.horizons) {
        if (horizon.steps == options_->horizons[h]) {
          // Coverage of other quantiles cannot be taken over.
          const bool is_same = state.ratios == options_->ratios;
          track.Restore(h, horizon.residuals, is_same ? horizon.accuracy : AccuracySums(),
                        is_same ? horizon.in_flight : std::vector<Track::InFlight>());
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Series::FromState(const SeriesState& state, const ModelRegistry& registry) {
  if (state.step_nanos != absl::ToInt64Nanoseconds(options_->step)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "state has steps of ", absl::FormatDuration(absl::Nanoseconds(state.step_nanos)),
        "; this predictor has steps of ", absl::FormatDuration(options_->step)));
  }
  if (!IsAllowed(state.history) ||
      (state.forecast &&
       !(IsAllowed(state.forecast->expected) && IsAllowed(state.forecast->quantiles) &&
         state.forecast->burst >= 0 && state.forecast->remedial >= 0))) {
    return absl::DataLossError("state holds a negative demand");
  }
  history_.Clear();
  for (double value : state.history) {
    history_.Push(value);
  }
  capacity_ = state.capacity;
  CS_RETURN_IF_ERROR(RestoreTracks(state, registry));
  // What a model did not bring with it, it learns from what the others remember.
  std::vector<double> known = state.history.empty() ? RememberedBy(state, registry) : state.history;
  if (known.empty() && state.known_steps > 0) {
    known.push_back(state.last_value);  // the models that knew more are gone
  }
  for (Track& track : tracks_) {
    if (track.online() != nullptr && track.online()->RecentDemand(1).empty()) {
      Teach(track, known);
    }
  }
  RenewHistory(known);
  challenge_ = tracks_.size() > 1 ? state.challenge : Challenge();
  is_model_chosen = state.is_model_chosen;
  is_shadow_chosen = state.is_shadow_chosen;
  open_step_.reset();
  open_is_incomplete_ = state.is_incomplete;
  if (state.open) {
    open_step_ = state.open->step;
    open_max_ = state.open->largest;
    open_sum_ = state.open->sum;
    open_count_ = state.open->count;
    open_is_censored_ = state.open->is_censored;
    open_allocation_ = state.open->allocation;
    open_held_ = open_max_;  // not kept: at worst one step counts as more than it was
  }
  last_step_ = state.last_step;
  last_is_incomplete_ = state.was_incomplete;
  last_time_ = TimeOf(state.last_time_nanos);
  last_sequence_ = state.last_sequence;
  last_demand_ = state.last_demand;
  last_value_ = state.last_value;
  known_steps_ = state.known_steps;
  recovering_steps_ = std::clamp(state.recovering_steps, 0, options_->gap_recovery_steps);
  held_steps_ = state.held_steps;
  under_estimate_streak_ = std::clamp(state.under_estimate_streak, 0, options_->retrain_streak);
  last_retrain_ = TimeOf(state.last_retrain_nanos);
  ignored_count_ = std::max<int64_t>(0, state.ignored_count);
  retrain_count_ = std::max<int64_t>(0, state.retrain_count);
  if (state.target_violation_ratio > 0) {
    target_violation_ratio = state.target_violation_ratio;
  }
  price_factor = state.price_factor;
  price_factor_until = TimeOf(state.price_factor_until_nanos);
  RestoreForecast(state);
  PassTarget();
  return absl::OkStatus();
}

void Series::RestoreForecast(const SeriesState& state) {
  const size_t ratios = options_->ratios.size();
  if (!state.forecast || state.ratios != options_->ratios || state.tracks.empty()) {
    return;
  }
  const ForecastState& saved = *state.forecast;
  const std::vector<HorizonState>& horizons = state.tracks.front().horizons;
  if (horizons.empty() || saved.expected.size() != horizons.size() ||
      saved.quantiles.size() != horizons.size() * ratios) {
    return;
  }
  SeriesForecast& forecast = forecast_.emplace();
  forecast.model = tracks_.front().model();
  forecast.made_at = TimeOf(saved.made_at_nanos);
  forecast.based_on_time = TimeOf(saved.based_on_nanos);
  forecast.based_on_sequence = saved.based_on_sequence;
  forecast.after_step = saved.after_step;
  forecast.is_warm = saved.is_warm;
  forecast.is_held = saved.is_held;
  for (const int steps : options_->horizons) {
    // The horizons may be others now; the next shorter one is the least that still holds.
    size_t from = 0;
    while (from + 1 < horizons.size() && horizons[from + 1].steps <= steps) {
      ++from;
    }
    forecast.expected.push_back(saved.expected[from]);
    const auto first = saved.quantiles.begin() + static_cast<std::ptrdiff_t>(from * ratios);
    forecast.quantiles.insert(forecast.quantiles.end(), first,
                              first + static_cast<std::ptrdiff_t>(ratios));
  }
  forecast.padding = {.burst = saved.burst, .remedial = saved.remedial};
  forecast.advised = saved.advised;
  forecast.violation_price = saved.violation_price;
  forecast.reason = saved.reason;
}

}  // namespace cloudscale::predictor
