#include "services/predictor/sizing/horizon_maximum.h"

#include <algorithm>
#include <cmath>

#include "services/predictor/sizing/record_law.h"

namespace cloudscale::predictor {
namespace {

constexpr float kJudgedQuantile = 0.9F;
constexpr float kSharpness = 8;
constexpr float kLeastWeight = 1e-3F;
// Horizons without overlap that must have ended until they count as much as what was known before.
constexpr float kDoubt = 30;
// What a retrain leaves of the residuals.
constexpr float kKeptCount = 16;
// Part of the last error of yesterday's value that is corrected.
constexpr float kCorrection = 0.6F;

}  // namespace

HorizonMaximum::HorizonMaximum(int steps, int day_steps)
    : steps_(steps), spacing_((steps - 1) / static_cast<int>(kMaxInFlight) + 1) {
  const int overlapping = (steps - 1) / spacing_ + 1;
  statement_weight_ = 1 / static_cast<float>(overlapping);
  const double day = static_cast<double>(day_steps) / spacing_;
  fading_ = 1 - GainOf(std::max(100.0, 3 * day));
  loss_gain_ = GainOf(std::max(50.0, day));
  since_statement_ = spacing_;
}

bool HorizonMaximum::is_statement_due() const {
  return since_statement_ >= spacing_ && in_flight_count_ < kMaxInFlight;
}

void HorizonMaximum::Observe(float value) {
  since_statement_ = std::min(since_statement_ + 1, spacing_);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < in_flight_count_; ++i) {
    Statement& statement = in_flight_[i];
    ++statement.age;
    statement.largest = std::max(statement.largest, value);
    if (statement.age >= steps_) {
      Judge(statement);
    } else {
      in_flight_[kept++] = statement;
    }
  }
  in_flight_count_ = kept;
}

HorizonMaximum::Points HorizonMaximum::PointsOf(const Hints& hints) const {
  return {hints.lately, hints.level,
          std::clamp(hints.daily + kCorrection * daily_error_, 0.0F, 1.0F)};
}

void HorizonMaximum::State(const Hints& hints, const GridDistribution* below) {
  const Points points = PointsOf(hints);
  Statement& statement = in_flight_[in_flight_count_++];
  statement = {.daily = hints.daily, .points = points};
  for (size_t e = 0; e < kPoints; ++e) {
    experts_[e].Point(points[e]);
    statement.judged[e] = std::clamp(experts_[e].Quantile(kJudgedQuantile), 0.0F, 1.0F);
  }
  if (below != nullptr) {
    statement.has_ladder = true;
    statement.ladder = QuantileCalibration::LadderOf(*below);
  }
  since_statement_ = 0;
}

void HorizonMaximum::Judge(const Statement& statement) {
  for (size_t e = 0; e < kPoints; ++e) {
    const float error = statement.largest - statement.judged[e];
    losses_[e].Add(error > 0 ? kJudgedQuantile * error : (kJudgedQuantile - 1) * error, loss_gain_);
    experts_[e].Point(statement.points[e]);
    experts_[e].Observe(statement.largest, fading_);
  }
  if (statement.has_ladder) {
    calibration_.Observe(statement.largest, statement.ladder, statement_weight_, fading_);
  }
  daily_error_ = statement.largest - statement.daily;
  judged_count_ = std::min(judged_count_ + 1, 1e6F);
}

void HorizonMaximum::Distribution(const Hints& hints, const GridDistribution& next_step,
                                  const ValueCounts& seen, GridDistribution& below,
                                  int seen_steps) {
  const Points points = PointsOf(hints);
  float least = losses_[0].value();
  for (const FadingMean& loss : losses_) {
    least = std::min(least, loss.value());
  }
  std::array<float, kPoints> weights{};
  float total = 0;
  for (size_t e = 0; e < kPoints; ++e) {
    weights[e] = std::exp(-kSharpness * (losses_[e].value() - least) / std::max(least, 1e-6F));
    weights[e] = weights[e] < kLeastWeight ? 0 : weights[e];
    total += weights[e];
  }
  const float ended = judged_count_ * statement_weight_;
  const float learnt = ended / (ended + kDoubt);
  GridDistribution own;
  LargestBySeen((steps_ - 1) / seen_steps + 1, seen, own);
  below = next_step;
  for (int independent = 1; independent * independent < steps_; independent *= 2) {
    for (float& probability : below) {
      probability *= probability;
    }
  }
  const float unlearnt = 0.5F * (1 - learnt);
  for (size_t k = 0; k < ValueGrid::kSize; ++k) {
    below[k] = unlearnt * (below[k] + own[k]);
  }
  for (size_t e = 0; e < kPoints; ++e) {
    const float weight = learnt * weights[e] / total;
    if (weight == 0) {
      continue;
    }
    experts_[e].Point(points[e]);
    experts_[e].Distribution(own);
    for (size_t k = 0; k < ValueGrid::kSize; ++k) {
      below[k] += weight * own[k];
    }
  }
}

void HorizonMaximum::Rescale(float factor) {
  for (size_t e = 0; e < kPoints; ++e) {
    experts_[e].Rescale(factor);
    losses_[e].sum *= factor;
  }
  daily_error_ *= factor;
  for (Statement& statement : in_flight_) {
    statement.largest *= factor;
    statement.daily *= factor;
    for (size_t e = 0; e < kPoints; ++e) {
      statement.points[e] *= factor;
      statement.judged[e] *= factor;
    }
    QuantileCalibration::Rescale(factor, statement.ladder);
  }
}

void HorizonMaximum::Retrain() {
  for (ResidualExpert& expert : experts_) {
    expert.KeepSteps(kKeptCount);
  }
  losses_ = {};
  calibration_ = {};
}

}  // namespace cloudscale::predictor
