#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "services/predictor/sizing/fading_mean.h"
#include "services/predictor/sizing/quantile_calibration.h"
#include "services/predictor/sizing/residual_expert.h"
#include "services/predictor/sizing/state_archive.h"
#include "services/predictor/sizing/value_grid.h"

namespace cloudscale::predictor {

// Distribution of the largest demand within a horizon of several steps. Point forecasts of it, each
// with the residuals that it left over past horizons, are mixed by their recent pinball loss, as
// the portfolio mixes its experts for the next step. Up to kMaxInFlight statements wait for their
// horizon to end, so of long horizons only every n-th step is learnt from. As few horizons end,
// what the values seen say by themselves (record_law.h) and what the next step's forecast says
// count as much as thirty that do not overlap. Quantiles are then corrected by how often they were
// exceeded. Values are parts of the capacity. State: below 1.5 KiB. Thread safety:
// thread-compatible.
class HorizonMaximum {
 public:
  // What others say about the largest demand of the horizon.
  struct Hints {
    float lately = 0;  // largest of as many steps before now
    float level = 0;   // recent mean
    float daily = 0;   // largest of the same time a day ago
  };

  // `steps` >= 1; `day_steps`: steps in 24 hours.
  HorizonMaximum(int steps, int day_steps);

  // Demand of one step.
  void Observe(float value);
  // Whether what is said now is to be judged when the horizon has ended.
  [[nodiscard]] bool is_statement_due() const;
  // `below`, as `Distribution` gave it, is judged as well, where anybody has asked for it.
  void State(const Hints& hints, const GridDistribution* below = nullptr);
  // Nothing that spans steps of unknown demand can be judged.
  void Skip() { in_flight_count_ = 0; }

  // Of horizons that have ended, mixed with what `seen`, the largest values of all spans of
  // `seen_steps` that are remembered, says and what `next_step`, the distribution of the next
  // step's demand, says: as if sqrt(steps) of the steps, rounded up to a power of two, were
  // independent.
  void Distribution(const Hints& hints, const GridDistribution& next_step, const ValueCounts& seen,
                    GridDistribution& below, int seen_steps = 1);
  // Of that distribution.
  [[nodiscard]] const QuantileCalibration& calibration() const { return calibration_; }

  [[nodiscard]] int steps() const { return steps_; }

  void Rescale(float factor);
  void Retrain();

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.experts_, self.losses_, self.daily_error_, self.judged_count_,
            self.since_statement_, self.in_flight_count_, self.in_flight_);
    if (archive.format() >= kFirstWithCalibration) {
      archive(self.calibration_);
    }
    archive.Require(self.in_flight_count_ <= kMaxInFlight && self.since_statement_ >= 0 &&
                    self.judged_count_ >= 0 && self.judged_count_ <= 1e6F &&
                    self.daily_error_ >= -1.001F && self.daily_error_ <= 1.001F);
  }

 private:
  static constexpr size_t kMaxInFlight = 8;
  // The hints, the daily one corrected by what it was wrong by last.
  static constexpr size_t kPoints = 3;
  using Points = std::array<float, kPoints>;

  struct Statement {
    int32_t age = 0;
    float largest = 0;
    float daily = 0;  // the hint
    Points points{};
    Points judged{};  // the quantile that each expert is judged by
    bool has_ladder = false;
    QuantileCalibration::Ladder ladder{};

    template <typename Self, typename Archive>
    static void Visit(Self& self, Archive& archive) {
      archive(self.age, self.largest, self.daily, self.points, self.judged);
      if (archive.format() >= kFirstWithCalibration) {
        archive(self.has_ladder, self.ladder);
        archive.Require(QuantileCalibration::IsValid(self.ladder));
      }
      const auto is_part = [](float x) { return x >= 0 && x <= 1.001F; };
      archive.Require(self.age >= 0 && self.age <= 10000 && is_part(self.largest) &&
                      is_part(self.daily) &&
                      std::all_of(self.points.begin(), self.points.end(), is_part) &&
                      std::all_of(self.judged.begin(), self.judged.end(), is_part));
    }
  };
  [[nodiscard]] Points PointsOf(const Hints& hints) const;
  void Judge(const Statement& statement);

  int steps_;
  int spacing_;
  float statement_weight_;  // part of a horizon that no other statement shares
  float fading_;            // of residuals, per judged statement
  float loss_gain_;         // per judged statement

  std::array<ResidualExpert, kPoints> experts_;
  std::array<FadingMean, kPoints> losses_;
  QuantileCalibration calibration_;
  float daily_error_ = 0;
  float judged_count_ = 0;
  int32_t since_statement_ = 0;
  uint32_t in_flight_count_ = 0;
  std::array<Statement, kMaxInFlight> in_flight_{};
};

}  // namespace cloudscale::predictor
