#include "services/predictor/series.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "common/check/check.h"

namespace cloudscale::predictor {
namespace {

// Time between two samples, in sampling periods, from which one in between is missing.
constexpr double kMissingPeriods = 1.5;
// A series knows something that holds for others after so many steps, and tells it so often.
constexpr int64_t kExperiencedSteps = 500;
constexpr int64_t kSharingPeriod = 250;
// Steps for which values are held after samples were lost, at most.
constexpr int kMaxHeldSteps = 360;
// Models are compared when both were judged so often.
constexpr int64_t kGrownUpSteps = 100;
// What a model that begins late learns from, under the engine's lock.
constexpr size_t kTaughtSteps = 256;
constexpr size_t kJudgedTaughtSteps = 64;

}  // namespace

Series::Series(SeriesId id, const ForecastModel* model, const PredictorOptions& options)
    : id_(std::move(id)), options_(&options), history_(static_cast<size_t>(options.history_steps)) {
  tracks_.emplace_back(model, id_.resource, options);
}

bool Series::Observe(int64_t step, absl::Time time, int64_t sequence,
                     absl::Duration sampling_period, const Observation& observation) {
  const int64_t newest = open_step_.value_or(last_step_.value_or(step));
  if (step < newest || time <= last_time_ || (!open_step_ && last_step_ == step)) {
    ++ignored_count_;
    return false;
  }
  const bool is_missing =
      !observation.is_fresh ||
      (last_time_ != absl::InfinitePast() && time - last_time_ > kMissingPeriods * sampling_period);
  bool ended = false;
  if (open_step_ && step > *open_step_) {
    open_is_incomplete_ = open_is_incomplete_ || is_missing;
    // A sampling period of several steps is no gap.
    const int64_t between = absl::ToInt64Nanoseconds(sampling_period) /
                            std::max<int64_t>(1, absl::ToInt64Nanoseconds(options_->step));
    CloseStep(std::max<int64_t>(options_->max_interpolated_steps, between));
    ended = true;
  }
  if (!observation.is_fresh) {
    open_is_incomplete_ = true;
    return ended;
  }
  if (!open_step_) {
    open_step_ = step;
    open_max_ = 0;
    open_sum_ = 0;
    open_count_ = 0;
    open_is_censored_ = false;
    open_allocation_ = -1;
    open_held_ = 0;
  }
  open_is_incomplete_ = open_is_incomplete_ || is_missing;
  open_max_ = std::max(open_max_, observation.demand);
  open_sum_ += observation.demand;
  ++open_count_;
  open_held_ = std::max(open_held_, observation.allocation >= 0
                                        ? std::min(observation.demand, observation.allocation)
                                        : observation.demand);
  if (observation.is_censored) {
    open_allocation_ = open_is_censored_ ? std::min(open_allocation_, observation.allocation)
                                         : observation.allocation;
    open_is_censored_ = true;
  }
  if (observation.capacity > 0 && observation.capacity != capacity_) {
    capacity_ = observation.capacity;
    for (Track& track : tracks_) {
      if (track.online() != nullptr) {
        track.online()->SetCapacity(capacity_);
      }
    }
  }
  last_time_ = time;
  last_sequence_ = sequence;
  last_demand_ = observation.demand;
  return ended;
}

void Series::MoveTo(absl::string_view host_id, int64_t step, absl::Time time) {
  id_.host_id = std::string(host_id);
  const bool is_behind = last_time_ >= time || (last_step_ && *last_step_ >= step) ||
                         (open_step_ && *open_step_ > step);
  if (!is_behind) {
    return;
  }
  if (open_step_) {
    open_is_incomplete_ = true;
    CloseStep(0);
  }
  open_is_incomplete_ = true;
  last_time_ = absl::InfinitePast();
  if (last_step_) {
    last_step_ = step - 1;
    recovering_steps_ = options_->gap_recovery_steps;
  }
  if (forecast_) {
    forecast_->after_step = std::min(forecast_->after_step, step - 1);
  }
  for (Track& track : tracks_) {
    track.OnUnknownStep();
    if (track.online() != nullptr) {
      track.online()->Skip(1);
    }
  }
}

void Series::CloseStep(int64_t interpolation_limit) {
  const int64_t step = *open_step_;
  double demand = options_->aggregation == Aggregation::kMax
                      ? open_max_
                      : open_sum_ / static_cast<double>(open_count_);
  if (last_step_) {
    if (open_is_incomplete_) {
      demand = std::max(demand, last_value_);
    }
    const int64_t missing = step - *last_step_ - 1;
    if (missing > 0) {
      for (Track& track : tracks_) {
        track.OnUnknownStep();
      }
      if (missing <= interpolation_limit) {
        Interpolate(missing, demand);
      } else {
        recovering_steps_ = options_->gap_recovery_steps;
        for (Track& track : tracks_) {
          if (track.online() != nullptr) {
            track.online()->Skip(missing);
          }
        }
      }
    }
  }
  if (open_is_incomplete_) {
    for (Track& track : tracks_) {
      track.OnUnknownStep();
    }
  } else {
    Judge(step, demand, open_is_censored_);
    recovering_steps_ = std::max(0, recovering_steps_ - 1);
  }
  Learn(demand, open_is_censored_, !open_is_incomplete_);
  last_step_ = step;
  last_is_incomplete_ = open_is_incomplete_;
  open_step_.reset();
  open_is_incomplete_ = false;
}

void Series::Interpolate(int64_t missing, double next) {
  const double before = last_value_;
  for (int64_t i = 1; i <= missing; ++i) {
    const double between =
        before + (next - before) * static_cast<double>(i) / static_cast<double>(missing + 1);
    Learn(between, /*is_censored=*/false, /*is_complete=*/false);
  }
}

void Series::Learn(double demand, bool is_censored, bool is_complete) {
  if (NeedsHistory()) {
    history_.Push(demand);
  }
  for (Track& track : tracks_) {
    if (track.online() != nullptr) {
      track.online()->Observe({.demand = demand,
                               .is_censored = is_censored,
                               .allocation = is_censored ? open_allocation_ : -1,
                               .held = is_censored ? open_held_ : -1,
                               .is_complete = is_complete});
    }
  }
  last_value_ = demand;
  ++known_steps_;
  held_steps_ =
      is_complete ? std::max(0, held_steps_ - 1) : std::min(held_steps_ + 1, kMaxHeldSteps);
}

bool Series::NeedsHistory() const {
  return std::any_of(tracks_.begin(), tracks_.end(),
                     [](const Track& track) { return track.online() == nullptr; });
}

std::vector<double> Series::History(size_t count) const {
  if (!history_.empty()) {
    return history_.Last(count);
  }
  for (const Track& track : tracks_) {
    if (track.online() != nullptr) {
      return track.online()->RecentDemand(count);
    }
  }
  return {};
}

void Series::RenewHistory(std::vector<double> known) {
  if (!NeedsHistory()) {
    history_ = RingBuffer<double>(history_.capacity());
  } else if (history_.empty()) {
    for (const double value : known) {
      history_.Push(value);
    }
  }
}

void Series::Teach(Track& track, const std::vector<double>& known) const {
  if (track.online() == nullptr) {
    return;
  }
  if (capacity_ > 0) {
    track.online()->SetCapacity(capacity_);
  }
  // The newest steps are forecast and judged; of those before, only the demand is taken in, which
  // takes a tenth of the time.
  const size_t first = known.size() - std::min(known.size(), kTaughtSteps);
  for (size_t i = first; i < known.size(); ++i) {
    track.online()->Observe(
        {.demand = known[i], .is_judged = i + kJudgedTaughtSteps >= known.size()});
  }
}

std::vector<float> Series::ShapesToShare() const {
  const OnlineForecaster* const online = tracks_.front().online();
  return online != nullptr && known_steps_ >= kExperiencedSteps &&
                 known_steps_ % kSharingPeriod == 0
             ? online->GetShapes()
             : std::vector<float>();
}

std::optional<YouthOutcome> Series::TakeYouthOutcome() {
  OnlineForecaster* const online = tracks_.front().online();
  return online != nullptr ? online->TakeYouthOutcome() : std::nullopt;
}

void Series::StartWith(const Experience& experience) {
  for (Track& track : tracks_) {
    if (track.online() != nullptr) {
      track.online()->StartWith(experience);
    }
  }
}

void Series::Judge(int64_t step, double demand, bool is_censored) {
  std::optional<double> costs[2];
  for (size_t t = 0; t < tracks_.size(); ++t) {
    costs[t] = tracks_[t].OnStep(step, demand, is_censored, target());
  }
  // A raised price, of an objective that is missed or of a young model, is no lack of thrift.
  const bool is_price_raised =
      last_time_ < price_factor_until ||
      std::any_of(
          tracks_.begin(), tracks_.end(),
          [](const Track& track) { return track.accuracy(0).step_count < kGrownUpSteps; });
  if (costs[0] && costs[1] && !is_price_raised) {
    challenge_.Observe(*costs[0], *costs[1]);
    if (may_promote_ && challenge_.advantage() >= options_->promotion_advantage) {
      std::swap(tracks_[0], tracks_[1]);
      challenge_ = {};
      was_promoted_ = true;
      return;  // the forecast that stands is the other's
    }
  }
  if (!forecast_ || forecast_->expected.empty() || step <= forecast_->after_step ||
      step > forecast_->after_step + options_->horizons.front()) {
    return;
  }
  if (tracks_.front().online() != nullptr) {
    return;  // it corrects itself
  }
  const double allocation = MedianOf(forecast_->quantiles, 0) + forecast_->padding.total();
  if (demand > allocation * (1 + options_->retrain_tolerance)) {
    ++under_estimate_streak_;
  } else {
    under_estimate_streak_ = 0;
  }
  if (under_estimate_streak_ >= options_->retrain_streak) {
    Retrain(last_time_, /*is_streak=*/true);
  }
}

bool Series::is_warm() const {
  return known_steps_ >= options_->warm_up_steps && recovering_steps_ == 0;
}

bool Series::CanRetrain(absl::Time now) const {
  return known_steps_ > 0 && now - last_retrain_ >= options_->retrain_min_interval;
}

bool Series::Retrain(absl::Time now, bool is_streak) {
  if (!CanRetrain(now)) {
    return false;
  }
  const std::vector<double> kept = history_.Last(static_cast<size_t>(options_->retrain_keep_steps));
  history_.Clear();
  for (double value : kept) {
    history_.Push(value);
  }
  if (tracks_.front().online() == nullptr) {
    known_steps_ = static_cast<int64_t>(kept.size());
  }
  for (Track& track : tracks_) {
    if (!is_streak || track.online() == nullptr) {
      track.KeepNewest(ResidualStore::kMinCount);
    }
  }
  under_estimate_streak_ = 0;
  last_retrain_ = now;
  ++retrain_count_;
  return true;
}

void Series::UseModel(const ForecastModel* model) {
  if (tracks_.front().model() == model) {
    return;
  }
  std::vector<double> known = History(history_.capacity());
  challenge_ = {};
  was_promoted_ = false;
  is_promotion_untold = false;
  if (tracks_.size() > 1 && tracks_[1].model() == model) {
    tracks_.erase(tracks_.begin());
  } else {
    tracks_.front() = Track(model, id_.resource, *options_);
    Teach(tracks_.front(), known);
  }
  RenewHistory(std::move(known));
}

void Series::UseShadow(const ForecastModel* model, bool may_promote) {
  may_promote_ = may_promote;
  if (tracks_.size() > 1 && tracks_[1].model() == model) {
    return;
  }
  std::vector<double> known = History(history_.capacity());
  challenge_ = {};
  was_promoted_ = false;
  is_promotion_untold = false;
  if (tracks_.size() > 1) {
    tracks_.pop_back();
  }
  if (model != nullptr && model != tracks_.front().model()) {
    tracks_.emplace_back(model, id_.resource, *options_);
    Teach(tracks_.back(), known);
  }
  RenewHistory(std::move(known));
}

void Series::PassTarget() {
  for (Track& track : tracks_) {
    if (track.online() != nullptr) {
      track.online()->SetTarget(target(), last_time_ < price_factor_until ? price_factor : 1);
    }
  }
}

bool Series::Prepare(ForecastJob& job) {
  if (!last_step_ || known_steps_ == 0) {
    return false;
  }
  job.history.resize(history_.size());
  for (size_t i = 0; i < history_.size(); ++i) {
    job.history[i] = history_[i];
  }
  job.after_step = *last_step_;
  job.based_on_time = last_time_;
  job.based_on_sequence = last_sequence_;
  PassTarget();
  job.models.clear();
  job.is_made.clear();
  job.residual_quantiles.resize(tracks_.size());
  job.outputs.resize(tracks_.size());
  for (size_t t = 0; t < tracks_.size(); ++t) {
    job.models.push_back(tracks_[t].model());
    job.residual_quantiles[t].clear();
    OnlineForecaster* const online = tracks_[t].online();
    job.is_made.push_back(online != nullptr);
    if (online != nullptr) {
      online->Forecast(job.outputs[t]);
      continue;
    }
    for (size_t h = 0; h < options_->horizons.size(); ++h) {
      for (const double ratio : options_->ratios) {
        job.residual_quantiles[t].push_back(tracks_[t].ResidualQuantile(h, ratio));
      }
    }
  }
  return true;
}

double Series::MedianOf(const std::vector<double>& quantiles, size_t horizon) const {
  const std::vector<double>& ratios = options_->ratios;
  size_t nearest = 0;
  for (size_t r = 1; r < ratios.size(); ++r) {
    if (std::abs(ratios[r] - 0.5) < std::abs(ratios[nearest] - 0.5)) {
      nearest = r;
    }
  }
  return quantiles[horizon * ratios.size() + nearest];
}

double Series::AllocationOf(const Track& track, const ModelOutput& output, size_t horizon,
                            double burst) const {
  if (track.online() != nullptr && horizon == 0 && output.advised) {
    return *output.advised;
  }
  const double at_target = QuantileAt(*options_, output.quantiles, horizon, 1 - target());
  if (track.online() != nullptr) {
    return at_target;
  }
  const Padding padding{.burst = burst, .remedial = track.remedial().Compute()};
  return std::max(at_target, MedianOf(output.quantiles, horizon) + padding.total());
}

void Series::Commit(const ForecastJob& job, absl::Time made_at) {
  if (job.models.front() != tracks_.front().model() ||
      (forecast_ && forecast_->after_step > job.after_step)) {
    return;  // overtaken
  }
  const bool holds = forecast_ && (last_is_incomplete_ || recovering_steps_ > 0 || held_steps_ > 0);
  // In place, so that nothing is allocated once the buffers are there.
  SeriesForecast& forecast = forecast_ ? *forecast_ : forecast_.emplace();
  const ModelOutput& output = job.outputs.front();
  forecast.model = job.models.front();
  forecast.reason = output.reason;
  forecast.made_at = made_at;
  forecast.based_on_time = job.based_on_time;
  forecast.based_on_sequence = job.based_on_sequence;
  forecast.after_step = job.after_step;
  forecast.is_warm = is_warm();
  forecast.is_held = false;
  const auto take = [&](double next, double& value) {
    const bool is_kept = holds && value > next;
    forecast.is_held = forecast.is_held || is_kept;
    value = is_kept ? value : next;
  };
  const auto take_all = [&](const std::vector<double>& next, std::vector<double>& values) {
    values.resize(next.size());  // new ones are zero, which holds nothing
    for (size_t i = 0; i < next.size(); ++i) {
      take(next[i], values[i]);
    }
  };
  const auto take_optional = [&](const std::optional<double>& next, std::optional<double>& value) {
    if (next && value) {
      take(*next, *value);
    } else {
      value = next;
    }
  };
  take_all(output.expected, forecast.expected);
  take_all(output.quantiles, forecast.quantiles);
  const bool is_padded = tracks_.front().online() == nullptr;
  take(is_padded ? job.burst : 0, forecast.padding.burst);
  take(is_padded ? tracks_.front().remedial().Compute() : 0, forecast.padding.remedial);
  take_optional(output.advised, forecast.advised);
  forecast.violation_price = output.violation_price;
  if (!last_step_ || job.after_step != *last_step_) {
    return;  // the next step has passed already, so there is nothing left to judge fairly
  }
  const size_t ratios = options_->ratios.size();
  std::array<HorizonStatement, kMaxHorizons> all_statements;
  const auto statements = absl::MakeSpan(all_statements).subspan(0, options_->horizons.size());
  for (size_t t = 0; t < tracks_.size() && t < job.models.size(); ++t) {
    if (tracks_[t].model() != job.models[t]) {
      continue;
    }
    const std::vector<double>& quantiles = t == 0 ? forecast_->quantiles : job.outputs[t].quantiles;
    for (size_t h = 0; h < statements.size(); ++h) {
      statements[h].expected = job.outputs[t].expected[h];
      statements[h].allocation = AllocationOf(tracks_[t], job.outputs[t], h, job.burst);
      for (size_t r = 0; r < ratios; ++r) {
        statements[h].quantiles[r] = static_cast<float>(quantiles[h * ratios + r]);
      }
    }
    tracks_[t].OnForecast(job.after_step, statements);
  }
}

}  // namespace cloudscale::predictor
