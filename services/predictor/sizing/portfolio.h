#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "services/predictor/sizing/analog_memory.h"
#include "services/predictor/sizing/price_controller.h"
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
// A censored step counts as 1.2 times what was seen, 1.6 times the next in a row, then twice, so
// that a cap that is far too low is left behind in a few steps. Source: this project;
// docs/design/forecaster.md has the measurements. State: below 13 KiB. Cost per step:
// O(AnalogMemory::kMoments · min(steps, 6)). Thread safety: thread-compatible.
class Portfolio final : public RatioState {
 public:
  // `target` in (0, 0.5].
  Portfolio(const SeriesTraits& traits, double target);

  [[nodiscard]] size_t bytes() const override;

  // Demand of a step to come stays within this, in parts of the capacity, with this probability.
  // Of the mixture behind the last `Size`; 1 before there is one.
  [[nodiscard]] double QuantileRatio(double ratio) const;

 protected:
  void Learn(const Sample& sample) override;
  void Pass(int64_t steps) override;
  double SizeRatio(int steps) override;
  double ExpectedRatio(int steps) override;

 private:
  static constexpr size_t kPoints = 7;
  static constexpr size_t kExperts = kPoints + 3;
  static constexpr size_t kPeakBins = 100;
  static constexpr int kMaxDaySlots = 720;

  struct FadingMean {
    float sum = 0;
    float weight = 0;
    void Add(float value, float gain) {
      sum += gain * (value - sum);
      weight += gain * (1 - weight);
    }
    [[nodiscard]] float value() const { return weight > 0 ? sum / weight : 0; }
  };

  void Forecast(int steps);
  // Returns the experts, by bit, that know something of their own.
  unsigned SetPoints(int steps);
  // Largest demand of the steps `from` to `to`, relative to the next one, a day ago; negative when
  // that is not known.
  [[nodiscard]] float Yesterday(int from, int to) const;
  [[nodiscard]] float LargestOf(size_t count) const;
  void LearnDay(float value);
  void LearnPeak(float value);

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
  int censored_run_ = 0;

  // What the last `Size` was made from.
  GridDistribution mixture_{};
  std::optional<float> neighbours_;  // until the next step adapts to it
  float size_ = 1;
  int forecast_steps_ = 0;  // that the forecast is for; 0: there is none
  int steps_since_forecast_ = 0;
  bool is_stale_ = true;  // a step came since
};

[[nodiscard]] std::unique_ptr<SizingMethod> MakePortfolioMethod();

}  // namespace cloudscale::predictor
