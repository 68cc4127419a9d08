#include "services/predictor/sizing/agile.h"

#include <algorithm>

#include "common/check/check.h"
#include "services/predictor/sizing/history.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr size_t kHistory = 512;
constexpr int kMaxScales = 9;
constexpr int kBins = 40;
constexpr double kPressure = 0.78;

int Scales(int steps) {
  int scales = 1;
  while (scales < kMaxScales && (1 << scales) < steps) {
    ++scales;
  }
  return scales;
}

// Buffers of one thread; nothing lasts from one call to the next.
struct Buffers {
  std::vector<double> approximation;
  std::vector<double> next;
  std::vector<double> detail;
  std::vector<double> details[kMaxScales];  // forecast, finest first
};

class AgileState final : public RatioState {
 public:
  AgileState(const SeriesTraits& traits, double factor)
      : RatioState(traits), factor_(factor), history_(kHistory) {}
  size_t bytes() const override { return sizeof(*this) + history_.capacity() * sizeof(double); }

 private:
  void Learn(const Sample& sample) override {
    history_.Push(sample.ratio);
    known_steps_ = 0;
  }
  double SizeRatio(int steps) override { return factor_ * ExpectedRatio(steps); }
  double ExpectedRatio(int steps) override {
    if (known_steps_ != steps) {
      known_value_ = Predict(steps);
      known_steps_ = steps;
    }
    return known_value_;
  }

  [[nodiscard]] double Predict(int steps) const {
    thread_local Buffers buffers;
    SizingWorkspace& workspace = ThreadSizingWorkspace();
    MarkovChain& chain = workspace.models.markov;
    absl::Span<const double> series = Unrolled(history_, kHistory, workspace);
    // As many scales as leave one block.
    int scales = Scales(steps);
    while (scales > 0 && (size_t{1} << scales) > series.size()) {
      --scales;
    }
    series = series.last(series.size() >> scales << scales);
    buffers.approximation.assign(series.begin(), series.end());
    for (int scale = 0; scale < scales; ++scale) {
      HaarSplit(buffers.approximation, buffers.next, buffers.detail);
      chain.Fit(buffers.detail, kBins);
      chain.Path(1 << (scales - 1 - scale), true, buffers.details[scale]);
      std::swap(buffers.approximation, buffers.next);
    }
    chain.Fit(buffers.approximation, kBins);
    chain.Path(1, true, buffers.approximation);
    for (int scale = scales - 1; scale >= 0; --scale) {
      HaarJoin(buffers.approximation, buffers.details[scale], buffers.next);
      std::swap(buffers.approximation, buffers.next);
    }
    const auto count = std::min(static_cast<size_t>(steps), buffers.approximation.size());
    return *std::max_element(buffers.approximation.begin(),
                             buffers.approximation.begin() + static_cast<std::ptrdiff_t>(count));
  }

  const double factor_;
  RingBuffer<double> history_;
  // The last answer and the horizon that it is for, 0 when there is none.
  int known_steps_ = 0;
  double known_value_ = 0;
};

}  // namespace

void HaarSplit(absl::Span<const double> series, std::vector<double>& approximation,
               std::vector<double>& detail) {
  CS_CHECK(series.size() % 2 == 0);
  const size_t half = series.size() / 2;
  approximation.resize(half);
  detail.resize(half);
  for (size_t i = 0; i < half; ++i) {
    approximation[i] = (series[2 * i] + series[2 * i + 1]) / 2;
    detail[i] = (series[2 * i] - series[2 * i + 1]) / 2;
  }
}

void HaarJoin(absl::Span<const double> approximation, absl::Span<const double> detail,
              std::vector<double>& series) {
  CS_CHECK(approximation.size() == detail.size());
  series.resize(2 * detail.size());
  for (size_t i = 0; i < detail.size(); ++i) {
    series[2 * i] = approximation[i] + detail[i];
    series[2 * i + 1] = approximation[i] - detail[i];
  }
}

std::unique_ptr<SizingMethod> MakeAgileMethod() {
  return MakeMethod(
      {.name = "agile",
       .description = "Wavelets, a Markov chain for each scale, times a factor.",
       .source = "Nguyen, Shen, Gu, Subbiah, Wilkes: AGILE, ICAC 2013, section 3.1",
       .knob = FactorKnob(1 / kPressure),
       .start = [](const SeriesTraits& traits, double knob) -> std::unique_ptr<SizingState> {
         return std::make_unique<AgileState>(traits, knob);
       }});
}

}  // namespace cloudscale::predictor
