#pragma once

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/predictor/fft.h"
#include "services/predictor/markov.h"
#include "services/predictor/online_forecaster.h"
#include "services/predictor/padding.h"
#include "services/predictor/signature.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {

// Buffers and transform plans of one thread.
struct Workspace {
  explicit Workspace(const ModelParameters& parameters) : signature(parameters) {}
  Fft fft;
  SignatureFinder signature;
  MarkovChain markov;
  BurstPadding burst;
  std::vector<double> scratch;
};

struct ModelInput {
  absl::Span<const double> history;  // one value a step, newest last; not empty
  absl::Span<const int> horizons;    // in steps, growing, >= 1; not empty
  absl::Span<const double> ratios;   // growing, in (0, 1)
  absl::Duration step = absl::Seconds(10);
};

// Why a model says what it says; turned into text only where somebody reads it.
struct ModelReason {
  enum class Kind { kPlain, kSignature, kMarkov, kLag, kNoPattern, kPortfolio };
  Kind kind = Kind::kPlain;
  int steps = 0;           // period or lag
  double correlation = 0;  // of the signature
  int states = 0;          // of the chain
  // The two experts of the portfolio that count most, by their place in Portfolio::kExpertNames.
  int experts[2] = {0, 0};
  double expert_shares[2] = {0, 0};

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    auto kind = static_cast<int32_t>(self.kind);
    archive(kind, self.steps, self.correlation, self.states, self.experts[0], self.experts[1],
            self.expert_shares[0], self.expert_shares[1]);
    archive.Require(kind >= 0 && kind <= static_cast<int32_t>(Kind::kPortfolio) &&
                    self.experts[0] >= 0 && self.experts[0] < kExpertLimit &&
                    self.experts[1] >= 0 && self.experts[1] < kExpertLimit);
    if constexpr (!std::is_const_v<Self>) {
      self.kind = static_cast<Kind>(kind);
    }
  }
  static constexpr int kExpertLimit = 10;
};

struct ModelOutput {
  // One value for each of the steps 1 to the longest horizon; >= 0.
  std::vector<double> path;
  // Expected largest value within each horizon.
  std::vector<double> expected;
  // For each horizon and ratio, in that order: quantile of the largest value within the horizon.
  // Empty when the model has no distribution of its own.
  std::vector<double> quantiles;
  // What the model itself would allocate for the next step; not set when it only forecasts.
  std::optional<double> advised;
  // Of one violation, in allocation of one peak for one step.
  std::optional<double> violation_price;
  ModelReason reason;
};

// A way to forecast. Holds no state of a series itself: either it learns from the history that it
// is given, or it starts a forecaster per series. Deterministic; multiplying the history multiplies
// the forecast. Thread safety: immutable; the workspace belongs to the caller.
class ForecastModel {
 public:
  virtual ~ForecastModel() = default;
  [[nodiscard]] virtual absl::string_view name() const = 0;
  [[nodiscard]] virtual absl::string_view description() const = 0;
  [[nodiscard]] virtual absl::string_view source() const = 0;
  // Null for models that learn from the history alone.
  [[nodiscard]] virtual std::unique_ptr<OnlineForecaster> Start(const OnlineTraits&) const {
    return nullptr;
  }
  virtual void Forecast(const ModelInput& input, Workspace& workspace,
                        ModelOutput& output) const = 0;
};

// The models by name, in order of name. The only place to add one is the table in model.cc.
class ModelRegistry {
 public:
  explicit ModelRegistry(const ModelParameters& parameters);

  // Null when there is none of that name.
  [[nodiscard]] const ForecastModel* Find(absl::string_view name) const;
  [[nodiscard]] const std::vector<std::unique_ptr<ForecastModel>>& models() const {
    return models_;
  }

 private:
  std::vector<std::unique_ptr<ForecastModel>> models_;
};

// `reason` in words, e.g. "signature: period 60 steps, r=0.93".
[[nodiscard]] std::string ReasonText(absl::string_view model, const ModelReason& reason,
                                     absl::Duration step);

}  // namespace cloudscale::predictor
