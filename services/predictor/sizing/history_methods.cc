#include "services/predictor/sizing/history_methods.h"

#include <algorithm>
#include <string>

#include "common/check/check.h"
#include "services/predictor/sizing/history.h"
#include "services/predictor/sizing/ratio_state.h"

namespace cloudscale::predictor {
namespace {

constexpr double kPressPadding = 1.05;
constexpr size_t kShortWindow = 200;
constexpr int64_t kLongestWindow = 4320;

const ForecastModel& FindModel(absl::string_view name) {
  static const auto& registry = *new ModelRegistry(SizingModelParameters());
  const ForecastModel* model = registry.Find(name);
  CS_CHECK(model != nullptr);
  return *model;
}

// `model` over a window of so many steps.
class HistoryState final : public RatioState {
 public:
  HistoryState(const SeriesTraits& traits, const ForecastModel& model, size_t window, double factor)
      : RatioState(traits), model_(model), factor_(factor), window_(window) {}
  size_t bytes() const override { return sizeof(*this) + window_.capacity() * sizeof(double); }

 private:
  void Learn(const Sample& sample) override {
    window_.Push(sample.ratio);
    known_steps_ = 0;
  }
  double SizeRatio(int steps) override { return factor_ * ExpectedRatio(steps); }
  double ExpectedRatio(int steps) override {
    if (known_steps_ != steps) {
      SizingWorkspace& workspace = ThreadSizingWorkspace();
      const ModelInput input{.history = Unrolled(window_, window_.capacity(), workspace),
                             .horizons = absl::MakeConstSpan(&steps, 1),
                             .ratios = {}};
      model_.Forecast(input, workspace.models, workspace.output);
      // The largest of the path; a model's own distribution may expect more of longer horizons.
      known_value_ = *std::max_element(workspace.output.path.begin(), workspace.output.path.end());
      known_steps_ = steps;
    }
    return known_value_;
  }

  const ForecastModel& model_;
  const double factor_;
  RingBuffer<double> window_;
  // The last answer and the horizon that it is for, 0 when there is none.
  int known_steps_ = 0;
  double known_value_ = 0;
};

// Captureless, so that it fits the specification: the name is a constant of the caller.
template <const char* kName, bool kIsLong>
std::unique_ptr<SizingState> Start(const SeriesTraits& traits, double knob) {
  const auto window =
      kIsLong ? static_cast<size_t>(std::clamp(3 * StepsPerDay(traits),
                                               static_cast<int64_t>(kShortWindow), kLongestWindow))
              : kShortWindow;
  return std::make_unique<HistoryState>(traits, FindModel(kName), window, knob);
}

template <const char* kName, bool kIsLong = false>
std::unique_ptr<SizingMethod> Make(double published = kPressPadding) {
  const ForecastModel& model = FindModel(kName);
  return MakeMethod({.name = kName,
                     .description = std::string(model.description()),
                     .source = std::string(model.source()),
                     .knob = FactorKnob(published),
                     .start = &Start<kName, kIsLong>});
}

constexpr char kMean[] = "mean";
constexpr char kMax[] = "max";
constexpr char kHistogram[] = "histogram";
constexpr char kAutocorrelation[] = "autocorrelation";
constexpr char kAutoregression[] = "autoregression";
constexpr char kMarkov[] = "markov";

}  // namespace

std::unique_ptr<SizingMethod> MakeMeanMethod() { return Make<kMean>(); }
std::unique_ptr<SizingMethod> MakeMaxMethod() { return Make<kMax>(); }
std::unique_ptr<SizingMethod> MakeHistogramMethod() { return Make<kHistogram>(); }
std::unique_ptr<SizingMethod> MakeAutocorrelationMethod() { return Make<kAutocorrelation>(); }
std::unique_ptr<SizingMethod> MakeAutoregressionMethod() { return Make<kAutoregression>(); }
std::unique_ptr<SizingMethod> MakeMarkovMethod() {
  return MakeMethod(
      {.name = kMarkov,
       .description =
           "First-order Markov chain over 40 bins, the most probable state of each step.",
       .source = std::string(FindModel(kMarkov).source()),
       .knob = FactorKnob(kPressPadding),
       .start = &Start<kMarkov, true>});
}

}  // namespace cloudscale::predictor
