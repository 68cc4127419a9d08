#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/predictor/fft.h"
#include "services/predictor/markov.h"
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
};

// Why a model says what it says; turned into text only where somebody reads it.
struct ModelReason {
  enum class Kind { kPlain, kSignature, kMarkov, kLag, kNoPattern };
  Kind kind = Kind::kPlain;
  int steps = 0;           // period or lag
  double correlation = 0;  // of the signature
  int states = 0;          // of the chain
};

struct ModelOutput {
  // One value for each of the steps 1 to the longest horizon; >= 0.
  std::vector<double> path;
  // Expected largest value within each horizon.
  std::vector<double> expected;
  // For each horizon and ratio, in that order: quantile of the largest value within the horizon.
  // Empty when the model has no distribution of its own.
  std::vector<double> quantiles;
  ModelReason reason;
};

// A way to forecast. Holds no state of a series: what it learns, it learns from the history that it
// is given. Deterministic; multiplying the history multiplies the forecast. Thread safety:
// immutable; the workspace belongs to the caller.
class ForecastModel {
 public:
  virtual ~ForecastModel() = default;
  [[nodiscard]] virtual absl::string_view name() const = 0;
  [[nodiscard]] virtual absl::string_view description() const = 0;
  [[nodiscard]] virtual absl::string_view source() const = 0;
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
