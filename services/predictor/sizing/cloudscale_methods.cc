#include "services/predictor/sizing/cloudscale_methods.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "services/predictor/sizing/history.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr int64_t kShortestWindow = 200;
constexpr int64_t kLongestWindow = 4320;
constexpr int64_t kLooksPerWindow = 128;
constexpr double kUnderPressure = 0.9;
constexpr double kAlphaStep = 0.1;
constexpr absl::string_view kPressSource = "Gong, Gu, Wilkes: PRESS, CNSM 2010";

enum class Variant { kSignature, kPress, kCloudScale };

class PatternState final : public RatioState {
 public:
  PatternState(const SeriesTraits& traits, Variant variant, double factor)
      : RatioState(traits),
        variant_(variant),
        factor_(factor),
        alpha_max_(traits.resource == Resource::kCpu ? 2.0 : 1.5),
        window_(static_cast<size_t>(
            std::clamp(3 * StepsPerDay(traits), kShortestWindow, kLongestWindow))),
        look_steps_(
            std::max<int64_t>(1, static_cast<int64_t>(window_.capacity()) / kLooksPerWindow)) {}
  size_t bytes() const override {
    return sizeof(*this) + window_.capacity() * sizeof(double) + HeapBytes(pattern_);
  }

 private:
  void Learn(const Sample& sample) override {
    if (variant_ == Variant::kCloudScale && !window_.empty()) {
      remedial_.Add(sample.ratio - ExpectedRatio(1));
      Correct(sample.seen);
    }
    window_.Push(sample.ratio);
    Advance(1);
    if (--steps_to_look_ <= 0) {
      Look();
      steps_to_look_ = look_steps_;
    }
    known_steps_ = 0;
    burst_ = -1;
  }

  void Correct(double seen) {
    const double size = applied_ratio();
    const double pressure = size > 0 ? seen / size : 0;
    if (pressure < kUnderPressure) {
      raised_ = 0;
      streak_ = 0;
      return;
    }
    const double part = std::min(1.0, (pressure - kUnderPressure) / (1 - kUnderPressure));
    const double alpha = 1 + (alpha_max_ - 1) * part + kAlphaStep * streak_;
    raised_ = std::min(alpha, alpha_max_) * size;
    ++streak_;
  }

  void Pass(int64_t steps) override {
    Advance(steps);
    known_steps_ = 0;
  }

  void Advance(int64_t steps) {
    if (!pattern_.empty()) {
      const auto period = static_cast<int64_t>(pattern_.size());
      phase_ = static_cast<size_t>((static_cast<int64_t>(phase_) + steps % period) % period);
    }
  }

  // Looks for the pattern anew.
  void Look() {
    SizingWorkspace& workspace = ThreadSizingWorkspace();
    const auto history = Unrolled(window_, window_.capacity(), workspace);
    SignatureFinder& finder = workspace.models.signature;
    const Signature& signature = finder.Find(history, workspace.models.fft);
    pattern_.assign(signature.pattern.begin(), signature.pattern.end());
    if (!pattern_.empty()) {
      phase_ = static_cast<size_t>(finder.Align(history.last(pattern_.size()), pattern_));
    }
  }

  double ExpectedRatio(int steps) override {
    if (known_steps_ != steps) {
      known_value_ = Predict(steps);
      known_steps_ = steps;
    }
    return known_value_;
  }

  [[nodiscard]] double Predict(int steps) const {
    if (!pattern_.empty()) {
      double largest = 0;
      for (size_t t = 1; t <= std::min(static_cast<size_t>(steps), pattern_.size()); ++t) {
        largest = std::max(largest, pattern_[(phase_ + t) % pattern_.size()]);
      }
      return largest;
    }
    if (variant_ == Variant::kSignature) {
      return window_.back();
    }
    SizingWorkspace& workspace = ThreadSizingWorkspace();
    MarkovChain& chain = workspace.models.markov;
    const ModelParameters parameters = SizingModelParameters();
    chain.Fit(Unrolled(window_, window_.capacity(), workspace), parameters.markov_bins);
    chain.Path(steps, parameters.markov_most_probable, workspace.path);
    return *std::max_element(workspace.path.begin(), workspace.path.end());
  }

  double SizeRatio(int steps) override {
    const double expected = ExpectedRatio(steps);
    if (variant_ != Variant::kCloudScale) {
      return factor_ * expected;
    }
    if (burst_ < 0) {
      SizingWorkspace& workspace = ThreadSizingWorkspace();
      burst_ = workspace.models.burst.Compute(Unrolled(window_, BurstPadding::kWindow, workspace),
                                              workspace.models.fft);
    }
    const double padding = std::max(burst_, remedial_.Compute());
    return std::max(expected + factor_ * padding, raised_);
  }

  const Variant variant_;
  const double factor_;
  const double alpha_max_;
  RingBuffer<double> window_;
  const int64_t look_steps_;
  int64_t steps_to_look_ = 0;
  std::vector<double> pattern_;  // empty when there is none
  size_t phase_ = 0;             // of the newest step
  RemedialPadding remedial_;
  double raised_ = 0;  // least size after an under-estimate; 0 without
  int streak_ = 0;     // steps under pressure in a row
  // What was computed since the last step: the expectation for so many steps (0: none), and the
  // burst padding (negative: none).
  int known_steps_ = 0;
  double known_value_ = 0;
  double burst_ = -1;
};

template <Variant kVariant>
std::unique_ptr<SizingState> Start(const SeriesTraits& traits, double knob) {
  return std::make_unique<PatternState>(traits, kVariant, knob);
}

}  // namespace

std::unique_ptr<SizingMethod> MakeSignatureMethod() {
  return MakeMethod({.name = "signature",
                     .description =
                         "Repeats the pattern that the Fourier transform finds; the last "
                         "value where there is none.",
                     .source = std::string(kPressSource),
                     .knob = FactorKnob(1.05),
                     .start = &Start<Variant::kSignature>});
}

std::unique_ptr<SizingMethod> MakePressMethod() {
  return MakeMethod({.name = "press",
                     .description = "The repeating pattern, else the Markov chain, plus a part.",
                     .source = std::string(kPressSource),
                     .knob = FactorKnob(1.05),
                     .start = &Start<Variant::kPress>});
}

std::unique_ptr<SizingMethod> MakeCloudScaleMethod() {
  return MakeMethod(
      {.name = "cloudscale",
       .description = "PRESS with burst and remedial padding and fast correction.",
       .source = "Shen, Subbiah, Gu, Wilkes: CloudScale, SoCC 2011 (10.1145/2038916.2038921)",
       .knob = {.meaning = "factor on the padding",
                .published = 1,
                .sweep = DeviationKnob(1).sweep},
       .start = &Start<Variant::kCloudScale>});
}

}  // namespace cloudscale::predictor
