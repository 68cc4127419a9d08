#include "services/predictor/model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/predictor/baselines.h"
#include "services/predictor/portfolio_forecaster.h"

namespace cloudscale::predictor {
namespace {

constexpr absl::string_view kPress = "Gong, Gu, Wilkes: PRESS, CNSM 2010";
constexpr absl::string_view kCloudScale =
    "Shen, Subbiah, Gu, Wilkes: CloudScale, SoCC 2011 (10.1145/2038916.2038921)";

// The largest of the path up to each horizon.
void ExpectMaximumOfPath(const ModelInput& input, ModelOutput& output) {
  output.expected.clear();
  double largest = 0;
  size_t t = 0;
  for (const int horizon : input.horizons) {
    for (; t < static_cast<size_t>(horizon); ++t) {
      output.path[t] = std::max(0.0, output.path[t]);
      largest = std::max(largest, output.path[t]);
    }
    output.expected.push_back(largest);
  }
}

void FillFlat(const ModelInput& input, double value, ModelOutput& output) {
  output.path.assign(static_cast<size_t>(input.horizons.back()), value);
  output.quantiles.clear();
  output.reason = {};
  ExpectMaximumOfPath(input, output);
}

// Returns false, leaving the output open, when there is no signature.
bool ForecastSignature(const ModelInput& input, Workspace& workspace, ModelOutput& output) {
  const Signature& signature = workspace.signature.Find(input.history, workspace.fft);
  if (!signature.is_found) {
    return false;
  }
  const size_t period = signature.pattern.size();
  const size_t phase =
      static_cast<size_t>(workspace.signature.Align(input.history.last(period), signature.pattern));
  output.path.resize(static_cast<size_t>(input.horizons.back()));
  for (size_t t = 0; t < output.path.size(); ++t) {
    output.path[t] = signature.pattern[(phase + 1 + t) % period];
  }
  output.quantiles.clear();
  output.reason = {.kind = ModelReason::Kind::kSignature,
                   .steps = signature.period,
                   .correlation = signature.correlation};
  ExpectMaximumOfPath(input, output);
  return true;
}

void ForecastMarkov(const ModelParameters& parameters, const ModelInput& input,
                    Workspace& workspace, ModelOutput& output) {
  MarkovChain& chain = workspace.markov;
  chain.Fit(input.history, parameters.markov_bins);
  chain.Path(input.horizons.back(), parameters.markov_most_probable, output.path);
  ExpectMaximumOfPath(input, output);
  std::vector<double>& cumulative = workspace.scratch;
  chain.MaximumDistribution(input.horizons, cumulative);
  const int states = chain.state_count();
  output.quantiles.clear();
  for (size_t h = 0; h < input.horizons.size(); ++h) {
    const double* below = cumulative.data() + h * static_cast<size_t>(states);
    double expected = 0;
    for (int state = 0; state < states; ++state) {
      expected += (below[state] - (state > 0 ? below[state - 1] : 0)) * chain.mean(state);
    }
    if (!parameters.markov_most_probable) {
      // The extrapolated distribution need not sum up to one exactly.
      output.expected[h] = std::max(output.expected[h], expected);
    }
    int state = 0;
    for (const double ratio : input.ratios) {
      while (state + 1 < states && below[state] < ratio - 1e-12) {
        ++state;
      }
      output.quantiles.push_back(chain.upper(state));
    }
  }
  output.reason = {.kind = ModelReason::Kind::kMarkov, .states = states};
}

class SignatureModel final : public ForecastModel {
 public:
  explicit SignatureModel(const ModelParameters&) {}
  absl::string_view name() const override { return "signature"; }
  absl::string_view description() const override {
    return "Repeats the pattern that the Fourier transform finds, aligned by dynamic time warping; "
           "the last value where there is no pattern.";
  }
  absl::string_view source() const override { return kPress; }
  void Forecast(const ModelInput& input, Workspace& workspace, ModelOutput& output) const override {
    if (!ForecastSignature(input, workspace, output)) {
      FillFlat(input, input.history.back(), output);
      output.reason.kind = ModelReason::Kind::kNoPattern;
    }
  }
};

class MarkovModel final : public ForecastModel {
 public:
  explicit MarkovModel(const ModelParameters& parameters) : parameters_(parameters) {}
  absl::string_view name() const override { return "markov"; }
  absl::string_view description() const override {
    return "First-order Markov chain over equal-width bins. Forecasts the expected value, where "
           "the "
           "published rule takes the most probable state.";
  }
  absl::string_view source() const override { return kPress; }
  void Forecast(const ModelInput& input, Workspace& workspace, ModelOutput& output) const override {
    ForecastMarkov(parameters_, input, workspace, output);
  }

 private:
  const ModelParameters parameters_;
};

class CloudScaleModel final : public ForecastModel {
 public:
  explicit CloudScaleModel(const ModelParameters& parameters) : parameters_(parameters) {}
  absl::string_view name() const override { return "cloudscale"; }
  absl::string_view description() const override {
    return "The repeating pattern when there is one, else the Markov chain, with its expected "
           "value "
           "in place of the published most probable state.";
  }
  absl::string_view source() const override { return kCloudScale; }
  void Forecast(const ModelInput& input, Workspace& workspace, ModelOutput& output) const override {
    if (!ForecastSignature(input, workspace, output)) {
      ForecastMarkov(parameters_, input, workspace, output);
    }
  }

 private:
  const ModelParameters parameters_;
};

// Models that say one value for all steps.
template <typename Traits>
class FlatModel final : public ForecastModel {
 public:
  explicit FlatModel(const ModelParameters& parameters) : parameters_(parameters) {}
  absl::string_view name() const override { return Traits::kName; }
  absl::string_view description() const override { return Traits::kDescription; }
  absl::string_view source() const override { return kPress; }
  void Forecast(const ModelInput& input, Workspace&, ModelOutput& output) const override {
    FillFlat(input, Traits::Value(input.history, parameters_), output);
  }

 private:
  const ModelParameters parameters_;
};

absl::Span<const double> LastWindow(absl::Span<const double> history,
                                    const ModelParameters& parameters) {
  return history.last(std::min(history.size(), static_cast<size_t>(parameters.signature_window)));
}

struct LastTraits {
  static constexpr absl::string_view kName = "last";
  static constexpr absl::string_view kDescription = "The last value.";
  static double Value(absl::Span<const double> history, const ModelParameters&) {
    return history.back();
  }
};

struct MeanTraits {
  static constexpr absl::string_view kName = "mean";
  static constexpr absl::string_view kDescription = "Mean of the window.";
  static double Value(absl::Span<const double> history, const ModelParameters& parameters) {
    return MeanOf(LastWindow(history, parameters));
  }
};

struct MaxTraits {
  static constexpr absl::string_view kName = "max";
  static constexpr absl::string_view kDescription = "Largest value of the window.";
  static double Value(absl::Span<const double> history, const ModelParameters& parameters) {
    return MaximumOf(LastWindow(history, parameters));
  }
};

struct HistogramTraits {
  static constexpr absl::string_view kName = "histogram";
  static constexpr absl::string_view kDescription = "Most frequent bin of the window's histogram.";
  static double Value(absl::Span<const double> history, const ModelParameters& parameters) {
    return HistogramMode(LastWindow(history, parameters), parameters.histogram_bins);
  }
};

class AutocorrelationModel final : public ForecastModel {
 public:
  explicit AutocorrelationModel(const ModelParameters& parameters) : parameters_(parameters) {}
  absl::string_view name() const override { return "autocorrelation"; }
  absl::string_view description() const override {
    return "Repeats the series at the lag of highest autocorrelation; the mean where it is low.";
  }
  absl::string_view source() const override { return kPress; }
  void Forecast(const ModelInput& input, Workspace&, ModelOutput& output) const override {
    const auto window = LastWindow(input.history, parameters_);
    const int lag = AutocorrelationLag(window, parameters_.autocorrelation_threshold);
    FillFlat(input, MeanOf(window), output);
    if (lag == 0) {
      return;
    }
    const auto last = window.last(static_cast<size_t>(lag));
    for (size_t t = 0; t < output.path.size(); ++t) {
      output.path[t] = last[t % last.size()];
    }
    output.reason = {.kind = ModelReason::Kind::kLag, .steps = lag};
    ExpectMaximumOfPath(input, output);
  }

 private:
  const ModelParameters parameters_;
};

class AutoregressionModel final : public ForecastModel {
 public:
  explicit AutoregressionModel(const ModelParameters& parameters) : parameters_(parameters) {}
  absl::string_view name() const override { return "autoregression"; }
  absl::string_view description() const override {
    return "Linear combination of the last values, fitted by the Yule-Walker equations.";
  }
  absl::string_view source() const override { return kPress; }
  void Forecast(const ModelInput& input, Workspace& workspace, ModelOutput& output) const override {
    const auto window = LastWindow(input.history, parameters_);
    const double mean = MeanOf(window);
    FillFlat(input, mean, output);
    const std::vector<double> coefficients = YuleWalker(window, parameters_.autoregression_order);
    if (coefficients.empty()) {
      return;
    }
    std::vector<double>& series = workspace.scratch;
    series.assign(window.end() - static_cast<std::ptrdiff_t>(coefficients.size()), window.end());
    for (double& value : output.path) {
      double next = mean;
      for (size_t i = 0; i < coefficients.size(); ++i) {
        next += coefficients[i] * (series[series.size() - 1 - i] - mean);
      }
      series.push_back(next);
      value = next;
    }
    ExpectMaximumOfPath(input, output);
  }

 private:
  const ModelParameters parameters_;
};

template <typename Model>
std::unique_ptr<ForecastModel> Make(const ModelParameters& parameters) {
  return std::make_unique<Model>(parameters);
}

std::unique_ptr<ForecastModel> MakePortfolio(const ModelParameters&) {
  return MakePortfolioModel();
}

// In order of name.
constexpr std::unique_ptr<ForecastModel> (*kFactories[])(const ModelParameters&) = {
    &Make<AutocorrelationModel>,
    &Make<AutoregressionModel>,
    &Make<CloudScaleModel>,
    &Make<FlatModel<HistogramTraits>>,
    &Make<FlatModel<LastTraits>>,
    &Make<MarkovModel>,
    &Make<FlatModel<MaxTraits>>,
    &Make<FlatModel<MeanTraits>>,
    &MakePortfolio,
    &Make<SignatureModel>,
};

}  // namespace

ModelRegistry::ModelRegistry(const ModelParameters& parameters) {
  for (const auto factory : kFactories) {
    models_.push_back(factory(parameters));
  }
}

const ForecastModel* ModelRegistry::Find(absl::string_view name) const {
  for (const auto& model : models_) {
    if (model->name() == name) {
      return model.get();
    }
  }
  return nullptr;
}

static_assert(ModelReason::kExpertLimit == Portfolio::kExperts);

std::string ReasonText(absl::string_view model, const ModelReason& reason, absl::Duration step) {
  const auto time = [&](int steps) { return absl::FormatDuration(steps * step); };
  switch (reason.kind) {
    case ModelReason::Kind::kSignature:
      return absl::StrFormat("signature: period %s, r=%.2f", time(reason.steps),
                             reason.correlation);
    case ModelReason::Kind::kMarkov:
      return absl::StrFormat("markov: %d states", reason.states);
    case ModelReason::Kind::kLag:
      return absl::StrFormat("%s: lag %s", model, time(reason.steps));
    case ModelReason::Kind::kNoPattern:
      return absl::StrCat(model, ": no pattern, last value");
    case ModelReason::Kind::kPortfolio:
      return absl::StrFormat("%s: %s %.0f %%, %s %.0f %%", model,
                             Portfolio::kExpertNames[static_cast<size_t>(reason.experts[0])],
                             100 * reason.expert_shares[0],
                             Portfolio::kExpertNames[static_cast<size_t>(reason.experts[1])],
                             100 * reason.expert_shares[1]);
    case ModelReason::Kind::kPlain:
      break;
  }
  return std::string(model);
}

}  // namespace cloudscale::predictor
