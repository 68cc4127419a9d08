#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "services/predictor/sizing/analog_memory.h"
#include "services/predictor/sizing/fading_mean.h"
#include "services/predictor/sizing/horizon_maximum.h"
#include "services/predictor/sizing/price_controller.h"
#include "services/predictor/sizing/quantile_calibration.h"
#include "services/predictor/sizing/ratio_state.h"
#include "services/predictor/sizing/residual_expert.h"
#include "services/predictor/sizing/value_grid.h"

namespace cloudscale::predictor {

// The default method. Cheap experts each give a distribution of the demand to come: seven point
// forecasts with their residuals (last value, fast mean, largest of 6 and of 24, slow mean, the
// same time yesterday, that corrected by today's level), two by analogy (analog_memory.h) and all
// remembered values alike. They are mixed with weights exp(-kSharpness · (loss / least loss - 1)),
// the loss being the recent pinball loss of each one's quantile: 90 %, and less while there are too
// few steps to tell by it. The size is the one that costs least:
//   size / peak + price · (P(demand > size) + kDepth · E[x⁴]) + 0.4 / price · E[x²]
// with the depth x = (demand - size)+ / demand, and kHeldDepth instead for several steps,
// where the peak is the 99th percentile of demand so far, and at least the largest of the last 24
// steps: what is wanted now must not look dear because it was not wanted before. The price follows
// the target violation ratio (price_controller.h). Depth counts relative and to the fourth power:
// a step that gets half of what it wants is worse than five that get 95 %, and cuts of a few per
// cent are paid for by the price already.
//
// A censored step counts as 1.2 times what the allocation let through, 1.6 times the next in a row,
// then twice, so that a cap that is far too low is left behind in a few steps; more where the
// demand was estimated as more. Source: this project;
// docs/design/forecaster.md has the measurements. State: below 13 KiB. Cost per step:
// O(AnalogMemory::kMoments · min(steps, 6)). Thread safety: thread-compatible.
class Portfolio final : public RatioState {
 public:
  static constexpr size_t kPoints = 7;
  static constexpr size_t kExperts = kPoints + 3;
  static constexpr std::array<const char*, kExperts> kExpertNames = {"last value",
                                                                     "fast mean",
                                                                     "largest of 6",
                                                                     "largest of 24",
                                                                     "slow mean",
                                                                     "same time yesterday",
                                                                     "yesterday by today's level",
                                                                     "what followed the like",
                                                                     "how the like changed",
                                                                     "all values alike"};

  // `target` in (0, 0.5]. `horizons` in steps, above 1: those that `QuantileRatios` tells of.
  Portfolio(const SeriesTraits& traits, double target, absl::Span<const int> horizons = {});

  [[nodiscard]] size_t bytes() const override;

  // Demand stays within these, in parts of the capacity, with these growing probabilities: that of
  // the next step (of any of those of the last `Size`), then the largest of each horizon. Not
  // before the first step.
  void QuantileRatios(absl::Span<const double> ratios, absl::Span<double> values);

  // Parts of the mixture behind the last `Size`.
  [[nodiscard]] const std::array<float, kExperts>& shares() const { return shares_; }
  // Price of one violation now, in allocation of one peak for one step.
  [[nodiscard]] double price() const { return price_.price() * price_factor_; }
  // `target` in (0, 0.5]; the price is multiplied by `factor` >= 1.
  void SetTarget(double target, double price_factor);
  // Other horizons than before; those that stay keep what they have learnt.
  void SetHorizons(absl::Span<const int> horizons);
  using RatioState::capacity;
  // The capacity is this from the next step on; at least the present one.
  void GrowCapacity(double capacity);
  // Forgets how well the experts did, so that the newest errors decide; demand stays known.
  void Retrain();
  // What of this series holds for others of its kind: the shapes of the experts' errors.
  using Shapes = std::array<float, kPoints * ResidualExpert::kBins>;
  [[nodiscard]] Shapes GetShapes() const;
  // Of others; only before the first step.
  void StartWith(const Shapes& shapes);
  [[nodiscard]] size_t known_steps() const { return memory_.size(); }
  // Since the start, gaps included.
  [[nodiscard]] int64_t passed_steps() const { return step_; }
  // Newest first; age < known_steps(). In parts of the capacity.
  [[nodiscard]] float DemandAtAge(size_t age) const { return memory_.at_age(age); }

  // All that was learnt. Into one that was made with the same arguments; nothing may be done with
  // it when the archive is not ok afterwards.
  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    RatioState::VisitBase(self, archive);
    archive(self.memory_, self.points_, self.losses_, self.judged_ratio_, self.judged_, self.fast_,
            self.slow_, self.day_, self.open_slot_, self.open_largest_, self.step_,
            self.peak_histogram_, self.peak_, self.price_, self.censored_run_, self.horizons_,
            self.mixture_, self.shares_, self.neighbours_, self.size_, self.forecast_steps_,
            self.steps_since_forecast_, self.is_stale_);
    if (archive.format() >= kFirstWithCalibration) {
      archive(self.calibration_, self.ladder_);
      archive.Require(QuantileCalibration::IsValid(self.ladder_));
    }
    archive.Require(self.is_valid());
  }

 protected:
  void Learn(const Sample& sample) override;
  void Pass(int64_t steps) override;
  double SizeRatio(int steps) override;
  double ExpectedRatio(int steps) override;

 private:
  static constexpr size_t kPeakBins = 100;
  static constexpr int kMaxDaySlots = 720;

  void Forecast(int steps);
  // Returns the experts, by bit, that know something of their own.
  unsigned SetPoints(int steps);
  // Largest demand of the steps `from` to `to`, relative to the next one, a day ago; negative when
  // that is not known.
  [[nodiscard]] float Yesterday(int from, int to) const;
  [[nodiscard]] float LargestOf(size_t count) const;
  void LearnDay(float value);
  void LearnPeak(float value);
  // Largest demand of the last `steps` steps, as far as the slots of the day tell it.
  [[nodiscard]] float LargestLately(int steps) const;
  // Of the largest values in the slots of the day.
  [[nodiscard]] ValueCounts DayCounts() const;
  // Of the mixture behind the last `Size`; 1 before there is one.
  [[nodiscard]] double QuantileRatio(double ratio) const;
  [[nodiscard]] HorizonMaximum::Hints HintsOf(int steps) const;
  [[nodiscard]] bool is_valid() const;

  // Per step, from the length of a day in steps.
  const int day_steps_;
  const int day_slots_;
  const float loss_gain_;
  const float histogram_fading_;
  const float slow_gain_;
  const float peak_fading_;

  AnalogMemory memory_;
  std::array<ResidualExpert, kPoints> points_;
  std::array<FadingMean, kExperts> losses_;
  float judged_ratio_ = 0;                // of the quantile that experts are judged by
  std::array<float, kExperts> judged_{};  // that quantile of each
  FadingMean fast_;
  FadingMean slow_;
  // Largest demand per slot of the day, of the last time that the slot ended.
  std::vector<uint16_t> day_;
  int64_t open_slot_ = -1;
  float open_largest_ = 0;
  int64_t step_ = 0;
  std::array<float, kPeakBins> peak_histogram_{};
  float peak_ = 0.5F;
  PriceController price_;
  double price_factor_ = 1;
  QuantileCalibration calibration_;  // of the mixture
  std::vector<HorizonMaximum> horizons_;
  int censored_run_ = 0;

  // What the last `Size` was made from.
  GridDistribution mixture_{};
  QuantileCalibration::Ladder ladder_{};  // of it
  std::array<float, kExperts> shares_{};
  std::optional<float> neighbours_;  // until the next step adapts to it
  float size_ = 1;
  int forecast_steps_ = 0;  // that the forecast is for; 0: there is none
  int steps_since_forecast_ = 0;
  bool is_stale_ = true;  // a step came since
};

[[nodiscard]] std::unique_ptr<SizingMethod> MakePortfolioMethod();

}  // namespace cloudscale::predictor
