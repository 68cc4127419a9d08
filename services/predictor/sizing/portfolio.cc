#include "services/predictor/sizing/portfolio.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace cloudscale::predictor {
namespace {

// The quantile that experts are judged by rises to its last value over so many steps: the fewer
// there are, the fewer are beyond a high one.
constexpr float kFirstJudged = 0.7F;
constexpr float kLastJudged = 0.9F;
constexpr float kJudgedSteps = 600;
constexpr float kSharpness = 12;
constexpr float kDepth = 5;
constexpr float kHeldPrice = 1.2F;  // as found to meet the target
constexpr float kHeldDepth = 8;  // of a size for several steps, which cannot be corrected at once
// An expert with less weight than this is left out of the mixture.
constexpr float kLeastWeight = 1e-3F;
constexpr float kLeastPeak = 0.05F;
constexpr size_t kPeakSteps = 24;  // whose largest counts in full
constexpr double kLeastTarget = 1e-4;
constexpr double kLargestTarget = 0.5;
constexpr float kDayResolution = 65534;
constexpr uint16_t kUnknownSlot = 65535;
constexpr int kPeakPeriod = 24;  // steps between looks at the peak, once there are as many twice

// Steps of own residuals that those of others count as much as.
constexpr float kExperienceSteps = 24;
constexpr float kKeptCount = 32;  // steps of residuals that a retrain leaves
// Up to so many steps the memory is asked for the largest, beyond it the slots of the day.
constexpr int kShortHorizon = 64;
constexpr float kCalibrationFading = 0.9995F;  // per step
constexpr int kMoments = AnalogMemory::kMoments;
// Up to so many steps the memory tells of the largest, beyond it the slots of the day, if the
// memory is shorter than that.
constexpr int kLongestByMemory = kMoments / 2;
constexpr float kFastGain = 0.206299F;  // half in 3 steps

}  // namespace

Portfolio::Portfolio(const SeriesTraits& traits, double target, absl::Span<const int> horizons)
    : RatioState(traits),
      day_steps_(static_cast<int>(std::min<int64_t>(StepsPerDay(traits), 1 << 30))),
      day_slots_(std::min(day_steps_, kMaxDaySlots)),
      loss_gain_(GainOf(std::max(100.0, day_steps_ / 2.0))),
      histogram_fading_(1 - GainOf(std::max(300.0, 1.5 * day_steps_))),
      slow_gain_(GainOf(std::max(48.0, day_steps_ / 2.0))),
      peak_fading_(1 - GainOf(3.0 * day_steps_)),
      day_(static_cast<size_t>(day_slots_), kUnknownSlot),
      price_(std::clamp(target, kLeastTarget, kLargestTarget)) {
  SetHorizons(horizons);
}

void Portfolio::SetHorizons(absl::Span<const int> horizons) {
  std::vector<HorizonMaximum> next;
  next.reserve(horizons.size());
  for (const int steps : horizons) {
    const auto kept = std::find_if(horizons_.begin(), horizons_.end(),
                                   [&](const HorizonMaximum& h) { return h.steps() == steps; });
    next.push_back(kept != horizons_.end() ? *kept : HorizonMaximum(steps, day_steps_));
  }
  horizons_ = std::move(next);
}

size_t Portfolio::bytes() const { return sizeof(*this) + HeapBytes(day_) + HeapBytes(horizons_); }

float Portfolio::LargestOf(size_t count) const {
  float largest = 0;
  for (size_t age = 0; age < std::min(count, memory_.size()); ++age) {
    largest = std::max(largest, memory_.at_age(age));
  }
  return largest;
}

float Portfolio::Yesterday(int from, int to) const {
  const auto slot = [&](int64_t step) {
    return static_cast<size_t>(step % day_steps_ * day_slots_ / day_steps_);
  };
  const int64_t first = step_ + day_steps_ + from;  // a day later has the same slots
  const int64_t last = step_ + day_steps_ + to;
  const int64_t stride = std::max(1, day_steps_ / day_slots_);
  int largest = -1;
  for (int64_t step = first; step < last + stride; step += stride) {
    const uint16_t held = day_[slot(std::min(step, last))];
    largest = held == kUnknownSlot ? largest : std::max<int>(largest, held);
  }
  return static_cast<float>(largest) / kDayResolution;
}

unsigned Portfolio::SetPoints(int steps) {
  const float newest = memory_.at_age(0);
  points_[0].Point(newest);
  points_[1].Point(fast_.value());
  points_[2].Point(LargestOf(6));
  points_[3].Point(LargestOf(24));
  points_[4].Point(slow_.value());
  // The slot of the newest step is still open, so it holds yesterday's value.
  const float around = day_steps_ > steps + 1 ? Yesterday(-1, steps) : -1;
  const float ahead = Yesterday(0, steps - 1);
  const float then = Yesterday(-1, -1);
  const bool has_shape = ahead >= 0 && then >= 0;
  points_[5].Point(around < 0 ? newest : around);
  points_[6].Point(has_shape ? std::max(0.0F, ahead + 0.6F * (newest - then)) : newest);
  // Without a yesterday both would only be the last value again.
  return ~((around < 0 ? 1U << 5 : 0U) | (has_shape ? 0U : 1U << 6));
}

void Portfolio::Forecast(int steps) {
  if (!is_stale_ && forecast_steps_ == steps) {
    return;
  }
  is_stale_ = false;
  forecast_steps_ = steps;
  steps_since_forecast_ = 0;
  const unsigned knowing = SetPoints(steps);
  const ValueGrid& grid = ValueGrid::Get();
  std::array<GridDistribution, kExperts - kPoints> analogs;
  GridDistribution fast;
  points_[1].Distribution(fast);
  neighbours_ = memory_.Forecast(steps, fast, analogs[0], analogs[1]);
  memory_.Marginal(fast, analogs[2]);
  judged_ratio_ = std::min(kLastJudged, kFirstJudged + (kLastJudged - kFirstJudged) / kJudgedSteps *
                                                           static_cast<float>(memory_.size()));
  for (size_t e = 0; e < kPoints; ++e) {
    judged_[e] = std::clamp(points_[e].Quantile(judged_ratio_), ValueGrid::kLowest, 1.0F);
  }
  for (size_t a = 0; a < analogs.size(); ++a) {
    const auto at = std::lower_bound(analogs[a].begin(), analogs[a].end() - 1, judged_ratio_);
    judged_[kPoints + a] = grid[static_cast<size_t>(at - analogs[a].begin())];
  }

  float least = losses_[0].value();
  for (size_t e = 0; e < kExperts; ++e) {
    least = (knowing >> e & 1) == 0 ? least : std::min(least, losses_[e].value());
  }
  std::array<float, kExperts> weights{};
  float total = 0;
  for (size_t e = 0; e < kExperts; ++e) {
    const float excess = (losses_[e].value() - least) / std::max(least, 1e-6F);
    weights[e] = std::exp(-kSharpness * excess);
    weights[e] = weights[e] < kLeastWeight || (knowing >> e & 1) == 0 ? 0 : weights[e];
    total += weights[e];
  }
  mixture_.fill(0);
  GridDistribution own;
  for (size_t e = 0; e < kExperts; ++e) {
    const float weight = weights[e] / total;
    shares_[e] = weight;
    if (weight == 0) {
      continue;
    }
    if (e < kPoints && e != 1) {
      points_[e].Distribution(own);
    }
    const GridDistribution& of = e == 1 ? fast : e < kPoints ? own : analogs[e - kPoints];
    for (size_t k = 0; k < ValueGrid::kSize; ++k) {
      mixture_[k] += weight * of[k];
    }
  }

  ladder_ = QuantileCalibration::LadderOf(mixture_);

  const float peak = std::max(peak_, LargestOf(kPeakSteps));
  // From the top down: moments of what lies above each candidate give the expected powers of depth.
  // In double, since they cancel where little is above.
  double above = 0;
  double above_inverse = 0;
  double above_square = 0;
  double above_cube = 0;
  double above_fourth = 0;
  float least_cost = INFINITY;
  const auto held = steps > 1 ? kHeldPrice : 1;
  const float price = held * static_cast<float>(this->price());
  // With x = 1 - size / demand on a flat series, price + square_price · x² > x for every x: what a
  // deep violation saves is never worth it.
  const float square_price = 0.4F / price;
  const float depth_price =
      (steps > 1 ? kHeldDepth : kDepth) * std::max(price, held * static_cast<float>(price_.base()));
  for (size_t k = ValueGrid::kSize; k-- > 0;) {
    const float mass = (k + 1 < ValueGrid::kSize ? mixture_[k + 1] : 1.0F) - mixture_[k];
    const double inverse = grid.inverse(k);
    const double square = inverse * inverse;
    above += mass;
    above_inverse += mass * inverse;
    above_square += mass * square;
    above_cube += mass * square * inverse;
    above_fourth += mass * square * square;
    const float a = grid[k];
    const double b = a;
    const double squared = above - b * (2 * above_inverse - b * above_square);
    const double fourth =
        above -
        b * (4 * above_inverse - b * (6 * above_square - b * (4 * above_cube - b * above_fourth)));
    const float cost = a / peak + price * (1 - mixture_[k]) +
                       square_price * std::max(0.0F, static_cast<float>(squared)) +
                       depth_price * std::max(0.0F, static_cast<float>(fourth));
    if (cost <= least_cost) {
      least_cost = cost;
      size_ = a;
    }
  }
}

double Portfolio::SizeRatio(int steps) {
  Forecast(steps);
  return size_;
}

double Portfolio::ExpectedRatio(int steps) {
  // The median of the largest of so many steps, as if they were independent.
  Forecast(std::max(1, forecast_steps_));
  const double median = QuantileRatio(0.5);
  return steps <= 1 ? median : std::max(median, QuantileRatio(std::exp2(-1.0 / steps)));
}

double Portfolio::QuantileRatio(double ratio) const {
  const auto at = std::lower_bound(mixture_.begin(), mixture_.end() - 1, static_cast<float>(ratio));
  return ValueGrid::Get()[static_cast<size_t>(at - mixture_.begin())];
}

void Portfolio::LearnDay(float value) {
  const int64_t slot = step_ % day_steps_ * day_slots_ / day_steps_;
  if (slot != open_slot_) {
    if (open_slot_ >= 0) {
      day_[static_cast<size_t>(open_slot_)] =
          static_cast<uint16_t>(std::lround(open_largest_ * kDayResolution));
    }
    open_slot_ = slot;
    open_largest_ = 0;
  }
  open_largest_ = std::max(open_largest_, value);
}

void Portfolio::LearnPeak(float value) {
  for (float& weight : peak_histogram_) {
    weight *= peak_fading_;
  }
  peak_histogram_[std::min<size_t>(kPeakBins - 1, static_cast<size_t>(value * kPeakBins))] += 1;
  if (step_ % kPeakPeriod != kPeakPeriod - 1 && step_ >= int64_t{2} * kPeakPeriod) {
    return;
  }
  float total = 0;
  for (const float weight : peak_histogram_) {
    total += weight;
  }
  float sum = 0;
  size_t bin = 0;
  while (bin + 1 < kPeakBins && (sum += peak_histogram_[bin]) < 0.99F * total) {
    ++bin;
  }
  peak_ = std::max(kLeastPeak, static_cast<float>(bin + 1) / kPeakBins);
}

void Portfolio::Learn(const Sample& sample) {
  if (memory_.size() > 0 && sample.is_judged &&
      (forecast_steps_ == 0 || steps_since_forecast_ >= forecast_steps_)) {
    Forecast(std::max(1, forecast_steps_));  // nobody asked, and yet there is something to learn
  }
  const bool has_forecast = forecast_steps_ > 0;
  for (HorizonMaximum& horizon : horizons_) {
    if (memory_.size() > 0 && horizon.is_statement_due()) {
      horizon.State(HintsOf(horizon.steps()));  // nobody asked
    }
  }
  if (sample.is_complete) {
    censored_run_ = sample.is_censored ? censored_run_ + 1 : 0;
  }
  const double growth = censored_run_ == 0 ? 1 : std::min(2.0, 0.8 + 0.4 * censored_run_);
  // Of what got through: an estimate beyond it is one already.
  const double imputed = std::max(sample.seen, sample.held * growth);
  const auto value = static_cast<float>(std::min(1.0, std::max(sample.ratio, imputed)));
  // What was not wholly seen tells where demand may be, but not how good a forecast was.
  if (has_forecast && sample.is_complete && sample.is_judged) {
    const double applied = applied_ratio();
    if (applied > 0) {  // else nobody has asked for a size yet
      // At full size there is nothing more to give.
      if (!IsWithheld(sample.is_censored, sample.seen, sample.allocation, applied)) {
        price_.Observe(applied < 1 && (sample.is_censored || sample.seen > applied + 1e-6));
      }
    }
    for (size_t e = 0; e < kExperts; ++e) {
      const float error = value - judged_[e];
      losses_[e].Add(error > 0 ? judged_ratio_ * error : (judged_ratio_ - 1) * error, loss_gain_);
    }
    calibration_.Observe(value, ladder_, 1, kCalibrationFading);
    for (ResidualExpert& expert : points_) {
      expert.Observe(value, histogram_fading_);
    }
    if (neighbours_) {
      memory_.Adapt(*neighbours_);
      neighbours_.reset();
    }
  }
  fast_.Add(value, kFastGain);
  slow_.Add(value, slow_gain_);
  memory_.Observe(value);
  LearnDay(value);
  LearnPeak(value);
  ++step_;
  ++steps_since_forecast_;
  is_stale_ = true;
  for (HorizonMaximum& horizon : horizons_) {
    horizon.Observe(value);
  }
}

void Portfolio::Pass(int64_t steps) {
  step_ += steps;
  is_stale_ = true;
  for (HorizonMaximum& horizon : horizons_) {
    horizon.Skip();
  }
}

ValueCounts Portfolio::DayCounts() const {
  ValueCounts counts{};
  const ValueGrid& grid = ValueGrid::Get();
  for (const uint16_t slot : day_) {
    if (slot != kUnknownSlot) {
      ++counts[grid.CellOf(static_cast<float>(slot) / kDayResolution)];
    }
  }
  ++counts[grid.CellOf(open_largest_)];
  return counts;
}

float Portfolio::LargestLately(int steps) const {
  float largest = LargestOf(static_cast<size_t>(std::min(steps, kShortHorizon)));
  if (steps > kShortHorizon) {
    largest = std::max(largest, open_largest_);
    const int slots =
        std::min(day_slots_ - 1, static_cast<int>(int64_t{steps} * day_slots_ / day_steps_));
    for (int back = 1; back <= slots && open_slot_ >= 0; ++back) {
      const uint16_t held =
          day_[static_cast<size_t>((open_slot_ - back + day_slots_) % day_slots_)];
      largest = held == kUnknownSlot ? largest
                                     : std::max(largest, static_cast<float>(held) / kDayResolution);
    }
  }
  return largest;
}

HorizonMaximum::Hints Portfolio::HintsOf(int steps) const {
  const float lately = LargestLately(steps);
  const float daily = Yesterday(0, std::min(steps, day_steps_) - 1);
  return {.lately = lately, .level = fast_.value(), .daily = daily < 0 ? lately : daily};
}

void Portfolio::QuantileRatios(absl::Span<const double> ratios, absl::Span<double> values) {
  Forecast(std::max(1, forecast_steps_));
  const auto read = [&](const QuantileCalibration& calibration, const GridDistribution& below) {
    calibration.RatiosFor(ratios, values);
    size_t k = 0;
    for (size_t r = 0; r < ratios.size(); ++r) {
      while (k + 1 < ValueGrid::kSize && below[k] < static_cast<float>(values[r])) {
        ++k;
      }
      values[r] = static_cast<double>(ValueGrid::Get()[k]);
    }
    values.remove_prefix(ratios.size());
  };
  read(calibration_, mixture_);
  GridDistribution below;
  for (HorizonMaximum& horizon : horizons_) {
    const HorizonMaximum::Hints hints = HintsOf(horizon.steps());
    if (horizon.steps() <= kLongestByMemory || day_steps_ <= kMoments) {
      horizon.Distribution(hints, mixture_, memory_.counts(), below);
    } else {
      horizon.Distribution(hints, mixture_, DayCounts(), below, day_steps_ / day_slots_);
    }
    read(horizon.calibration(), below);
    if (horizon.is_statement_due()) {
      horizon.State(hints, &below);
    }
  }
}

void Portfolio::SetTarget(double target, double price_factor) {
  price_.set_target(std::clamp(target, kLeastTarget, kLargestTarget));
  price_factor_ = std::max(1.0, price_factor);
}

void Portfolio::GrowCapacity(double capacity) {
  const auto factor = static_cast<float>(SetCapacity(capacity));
  memory_.Rescale(factor);
  for (ResidualExpert& point : points_) {
    point.Rescale(factor);
  }
  for (size_t e = 0; e < kExperts; ++e) {
    losses_[e].sum *= factor;
    judged_[e] *= factor;
  }
  fast_.sum *= factor;
  slow_.sum *= factor;
  for (uint16_t& slot : day_) {
    slot = slot == kUnknownSlot
               ? slot
               : static_cast<uint16_t>(std::lround(static_cast<float>(slot) * factor));
  }
  open_largest_ *= factor;
  std::array<float, kPeakBins> histogram{};
  for (size_t bin = 0; bin < kPeakBins; ++bin) {
    const auto to = static_cast<size_t>(static_cast<float>(bin) * factor);
    histogram[std::min(to, kPeakBins - 1)] += peak_histogram_[bin];
  }
  peak_histogram_ = histogram;
  peak_ = std::max(kLeastPeak, peak_ * factor);
  size_ *= factor;
  QuantileCalibration::Rescale(factor, ladder_);
  for (HorizonMaximum& horizon : horizons_) {
    horizon.Rescale(factor);
  }
  is_stale_ = true;
}

Portfolio::Shapes Portfolio::GetShapes() const {
  Shapes all;
  auto out = all.begin();
  for (const ResidualExpert& point : points_) {
    const auto shape = point.Shape();
    out = std::copy(shape.begin(), shape.end(), out);
  }
  return all;
}

void Portfolio::StartWith(const Shapes& shapes) {
  for (size_t e = 0; e < kPoints; ++e) {
    points_[e].StartWith(shapes.data() + e * ResidualExpert::kBins, kExperienceSteps);
  }
}

void Portfolio::Retrain() {
  for (ResidualExpert& point : points_) {
    point.KeepSteps(kKeptCount);
  }
  losses_ = {};
  calibration_ = {};
  for (HorizonMaximum& horizon : horizons_) {
    horizon.Retrain();
  }
  is_stale_ = true;
}

bool Portfolio::is_valid() const {
  const auto is_part = [](float x) { return x >= 0 && x <= 1; };
  return step_ >= 0 && step_ < (int64_t{1} << 53) && open_slot_ >= -1 && open_slot_ < day_slots_ &&
         is_part(open_largest_) && is_part(size_) && is_part(judged_ratio_) &&
         peak_ >= kLeastPeak && peak_ <= 1 && censored_run_ >= 0 && censored_run_ < (1 << 30) &&
         forecast_steps_ >= 0 && forecast_steps_ <= 10000 && steps_since_forecast_ >= 0 &&
         steps_since_forecast_ < (1 << 30) &&
         std::all_of(judged_.begin(), judged_.end(), is_part) &&
         std::all_of(
             mixture_.begin(), mixture_.end(), [](float x) { return x >= -0.01F && x <= 1.01F; });
}

std::unique_ptr<SizingMethod> MakePortfolioMethod() {
  return MakeMethod(
      {.name = "portfolio",
       .description = "Mixes cheap experts by what they were worth lately and takes the size that "
                      "costs least, at a price that keeps the target violation ratio.",
       .source = "CloudScale, docs/design/forecaster.md",
       .knob = {.meaning = "target violation ratio",
                .published = 0.02,
                .sweep = {0.2, 0.12, 0.08, 0.05, 0.035, 0.02, 0.014, 0.01, 0.007, 0.005, 0.003}},
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<Portfolio>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
