#include "services/predictor/sizing/crane.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/timeseries/ring_buffer.h"
#include "services/predictor/sizing/crane_estimate.h"
#include "services/predictor/sizing/day_slots.h"
#include "services/predictor/sizing/decayed_histogram.h"
#include "services/predictor/sizing/history.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr int64_t kMaxSlots = 288;
constexpr size_t kHistoryDays = 14;
constexpr size_t kWeekDays = 7;
constexpr size_t kFewestSlots = 8;  // a day of fewer says nothing about its shape
constexpr int kBuckets = 200;
constexpr double kPercentile = 0.99;
constexpr double kCutRank = 0.001;

const std::vector<double>& Buckets() {
  static const auto& starts = *new std::vector<double>(EqualBuckets(kBuckets));
  return starts;
}

// Buffers of one thread; nothing lasts from one call to the next.
struct Buffers {
  std::vector<double> series;
  std::vector<double> sorted;
  std::vector<double> forecast;
  CraneBuffers estimate;
};

class CraneState final : public RatioState {
 public:
  CraneState(const SeriesTraits& traits, double factor)
      : RatioState(traits),
        factor_(factor),
        day_(traits, kMaxSlots),
        history_(kHistoryDays * day_.count()),
        histogram_(Buckets(), DecayPerStep(static_cast<double>(day_.steps_per_day()))) {}
  size_t bytes() const override {
    return sizeof(*this) + history_.capacity() * sizeof(float) + HeapBytes(forecast_) +
           histogram_.heap_bytes();
  }

 private:
  void Learn(const Sample& sample) override {
    histogram_.Add(sample.ratio);
    slot_maximum_ = std::max(slot_maximum_, static_cast<float>(sample.ratio));
    if (day_.Slot(1) != day_.Slot(0) || day_.count() == 1) {
      CloseSlot(slot_maximum_);
    }
    day_.Advance(1);
  }

  void Pass(int64_t steps) override {
    // Beyond the whole history only the time of day matters.
    const int64_t days = steps / day_.steps_per_day();
    const auto most = static_cast<int64_t>(kHistoryDays);
    int64_t left = steps % day_.steps_per_day() + std::min(days, most) * day_.steps_per_day();
    if (days > most) {
      position_ += static_cast<size_t>(days - most) * day_.count();
    }
    for (; left > 0; --left) {
      if (day_.Slot(1) != day_.Slot(0) || day_.count() == 1) {
        const bool has_day = history_.size() >= day_.count();
        CloseSlot(
            std::max(slot_maximum_, has_day ? history_[history_.size() - day_.count()] : Latest()));
      }
      day_.Advance(1);
    }
  }

  [[nodiscard]] float Latest() const { return history_.empty() ? -1 : history_.back(); }

  void CloseSlot(float value) {
    slot_maximum_ = -1;
    ++position_;
    if (value >= 0) {
      history_.Push(value);
      if (history_.size() >= 2 * day_.count() &&
          ++slots_since_model_ >= static_cast<int64_t>(std::max<size_t>(1, day_.count() / 2))) {
        slots_since_model_ = 0;
        MakeModel();
      }
    }
  }

  void MakeModel() {
    if (day_.count() < kFewestSlots) {
      return;
    }
    thread_local Buffers buffers;
    const size_t days = history_.size() / day_.count();
    if (!Fit(day_.count(), days, buffers) &&
        !(days >= kHistoryDays &&
          Fit(kWeekDays * day_.count(), kHistoryDays / kWeekDays, buffers))) {
      forecast_.clear();
    }
  }

  bool Fit(size_t period, size_t periods, Buffers& buffers) {
    const size_t count = period * periods;
    buffers.series.resize(count);
    for (size_t t = 0; t < count; ++t) {
      buffers.series[t] = static_cast<double>(history_[history_.size() - count + t]);
    }
    CutOutliers(buffers);
    Fft& fft = ThreadSizingWorkspace().models.fft;
    if (!HasPeriod(buffers.series, period, fft, buffers.estimate)) {
      return false;
    }
    const double slot_hours = 24.0 / static_cast<double>(day_.count());
    const auto past = absl::MakeConstSpan(buffers.series).first(count - period);
    const auto last = absl::MakeConstSpan(buffers.series).last(period);
    const CraneEstimator* best = nullptr;
    double least = 0;
    for (const CraneEstimator& estimator : CraneEstimators()) {
      CraneForecast(estimator, past, period, slot_hours, fft, buffers.estimate, buffers.forecast);
      const double error = CraneError(buffers.forecast, last);
      if (best == nullptr || error < least) {
        best = &estimator;
        least = error;
      }
    }
    CraneForecast(*best, buffers.series, period, slot_hours, fft, buffers.estimate,
                  buffers.forecast);
    forecast_.assign(buffers.forecast.begin(), buffers.forecast.end());
    forecast_start_ = position_;
    return true;
  }

  static void CutOutliers(Buffers& buffers) {
    buffers.sorted = buffers.series;
    std::sort(buffers.sorted.begin(), buffers.sorted.end());
    const auto cut = static_cast<size_t>(kCutRank * static_cast<double>(buffers.sorted.size()));
    const double low = buffers.sorted[cut];
    const double high = buffers.sorted[buffers.sorted.size() - 1 - cut];
    for (double& value : buffers.series) {
      value = std::clamp(value, low, high);
    }
  }

  double SizeRatio(int steps) override { return factor_ * ExpectedRatio(steps); }
  double ExpectedRatio(int steps) override {
    if (forecast_.empty()) {
      return histogram_.Percentile(kPercentile);
    }
    double largest = 0;
    size_t ahead = position_ - forecast_start_;
    // Slots follow each other, whatever their place in the day; a horizon of more than a day takes
    // the whole forecast.
    if (steps >= day_.steps_per_day()) {
      return static_cast<double>(*std::max_element(forecast_.begin(), forecast_.end()));
    }
    day_.ForEachAhead(steps, [&](size_t) {
      largest = std::max(largest, static_cast<double>(forecast_[ahead % forecast_.size()]));
      ++ahead;
    });
    return largest;
  }

  const double factor_;
  DaySlots day_;
  RingBuffer<float> history_;
  DecayedHistogram histogram_;
  float slot_maximum_ = -1;  // of the slot that runs; -1 when nothing is known of it
  size_t position_ = 0;      // slots since the start
  int64_t slots_since_model_ = 0;
  std::vector<float> forecast_;  // of one period, over and over; empty when there is none
  size_t forecast_start_ = 0;    // position of its first slot
};

}  // namespace

std::unique_ptr<SizingMethod> MakeCraneMethod() {
  return MakeMethod(
      {.name = "crane",
       .description = "Repeats a day or a week by transform or phase maxima, else a percentile.",
       .source = "Crane, DSP prediction (github.com/gocrane/crane, pkg/prediction/dsp)",
       .knob = FactorKnob(1),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<CraneState>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
