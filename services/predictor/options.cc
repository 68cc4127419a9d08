#include <cmath>

#include "absl/strings/str_cat.h"
#include "services/predictor/state_codec.h"
#include "services/predictor/track.h"
#include "services/predictor/types.h"

namespace cloudscale::predictor {
namespace {

void RequireWhole(Violations& v, absl::string_view field, int64_t value, int64_t low,
                  int64_t high) {
  RequireInRange(v, field, static_cast<double>(value), static_cast<double>(low),
                 static_cast<double>(high));
}

}  // namespace

void ValidateOptions(const PredictorOptions& options, Violations& v) {
  RequireInRange(v, "step", absl::ToDoubleSeconds(options.step), 0.1, 3600);
  if (options.horizons.empty() || options.horizons.size() > kMaxHorizons) {
    v.Add("horizons", absl::StrCat(options.horizons.size(), " values"),
          absl::StrCat("1 to ", kMaxHorizons, " values"));
  }
  for (size_t i = 0; i < options.horizons.size(); ++i) {
    const int previous = i > 0 ? options.horizons[i - 1] : 0;
    if (options.horizons[i] <= previous || options.horizons[i] > 10000) {
      v.Add(absl::StrCat("horizons[", i, "]"), absl::StrCat(options.horizons[i], " steps"),
            absl::StrCat("more than ", previous, " and at most 10000 steps"));
    }
  }
  if (options.ratios.empty() || options.ratios.size() > kMaxRatios) {
    v.Add("ratios", absl::StrCat(options.ratios.size(), " values"),
          absl::StrCat("1 to ", kMaxRatios, " values"));
  }
  for (size_t i = 0; i < options.ratios.size(); ++i) {
    const double previous = i > 0 ? options.ratios[i - 1] : 0;
    if (!(options.ratios[i] > previous && options.ratios[i] < 1)) {
      v.Add(absl::StrCat("ratios[", i, "]"), absl::StrCat(options.ratios[i]),
            absl::StrCat(previous, " < x < 1"));
    }
  }
  RequireWhole(v, "history_steps", options.history_steps, 32, 100000);
  RequireWhole(v, "warm_up_steps", options.warm_up_steps, 1, 1000);
  RequireWhole(v, "max_interpolated_steps", options.max_interpolated_steps, 0, 1000);
  RequireWhole(v, "gap_recovery_steps", options.gap_recovery_steps, 0, 1000);
  RequireWhole(v, "max_series", options.max_series, 1, 1000000);
  RequirePositive(v, "series_ttl", absl::ToDoubleSeconds(options.series_ttl));
  RequireWhole(v, "retrain_streak", options.retrain_streak, 1, 1000);
  RequireInRange(v, "retrain_tolerance", options.retrain_tolerance, 0, 10);
  RequireWhole(v, "retrain_keep_steps", options.retrain_keep_steps, 1, 100000);
  RequireInRange(v, "target_violation_ratio", options.target_violation_ratio, 0.0001, 0.5);
  RequireInRange(v, "promotion_advantage", options.promotion_advantage, 1, 100);
  const ModelParameters& p = options.parameters;
  RequireWhole(v, "parameters.signature_window", p.signature_window, 16, 100000);
  RequireWhole(v, "parameters.signature_min_steps", p.signature_min_steps, 16, 100000);
  RequireInRange(v, "parameters.signature_correlation", p.signature_correlation, 0, 1);
  RequireInRange(v, "parameters.signature_mean_tolerance", p.signature_mean_tolerance, 0, 1);
  RequireInRange(v, "parameters.signature_similar_amplitude", p.signature_similar_amplitude, 0, 1);
  RequireInRange(v, "parameters.alignment_band_ratio", p.alignment_band_ratio, 0, 0.5);
  RequireWhole(v, "parameters.markov_bins", p.markov_bins, 2, 200);
  RequireWhole(v, "parameters.histogram_bins", p.histogram_bins, 2, 1000);
  RequireInRange(v, "parameters.autocorrelation_threshold", p.autocorrelation_threshold, 0, 1);
  RequireWhole(v, "parameters.autoregression_order", p.autoregression_order, 1, 64);
}

}  // namespace cloudscale::predictor
