#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/status/violations.h"

namespace cloudscale::predictor {

// Decides the unit of every plain value: cores for kCpu, bytes for kMemory.
enum class Resource { kCpu = 0, kMemory = 1 };
inline constexpr int kResourceCount = 2;

// One resource of one VM in one sampling period.
struct Observation {
  // False when the period gave no value (missing, stale, impossible …): nothing is learnt from it.
  bool is_fresh = false;
  // What the VM consumed; finite, >= 0.
  double usage = 0;
  // What it would have consumed uncapped (an estimate); finite, >= usage.
  double demand = 0;
  // Cap or target in force; negative when there is none or it is not known.
  double allocation = -1;
  // Most that the VM can consume; 0 when nobody says.
  double capacity = 0;
  // The cap held it back, so `demand` is only a lower bound.
  bool is_censored = false;
};

// One VM in one sampling period.
struct VmObservation {
  absl::string_view vm_uuid;
  Observation resource[kResourceCount];
};

// All VMs of one host at one instant. The views need to live only during the call.
struct ObservationBatch {
  absl::string_view host_id = {};
  // With a boot id, intervals follow `monotonic_time` (time since the boot) and batches in which it
  // has not advanced are repeats; without one, both follow `time`. The sequence only names the
  // batch: it counts sampling periods and falls when these get longer.
  absl::string_view boot_id = {};
  int64_t sequence = 0;
  absl::Time time = {};
  absl::Duration monotonic_time = absl::ZeroDuration();
  absl::Duration sampling_period = absl::Seconds(1);
  // Every VM of the host; a VM that is not listed is gone.
  absl::Span<const VmObservation> vms = {};
};

// Of the options.
inline constexpr size_t kMaxRatios = 16;
inline constexpr size_t kMaxHorizons = 8;

// How the samples of one step become one value.
enum class Aggregation { kMax, kMean };

// Numbers of the published algorithms; the defaults are the published ones where there are any, but
// for `markov_most_probable`.
struct ModelParameters {
  // Steps that the Fourier transform looks at, and the fewest it is tried with.
  int signature_window = 200;
  int signature_min_steps = 64;
  // All pairs of windows must correlate at least so well, and their means differ at most so much.
  double signature_correlation = 0.85;
  double signature_mean_tolerance = 0.05;
  // Spectral lines at least this high, relative to the highest, count as similar.
  double signature_similar_amplitude = 0.9;
  // Width of the band of the alignment, as part of the period.
  double alignment_band_ratio = 0.1;
  int markov_bins = 40;
  // False: the point forecast of the chain is the expected value; true: the mean of the most
  // probable state, which is the published rule (PRESS). Not the default, because a forecast's
  // `expected` is the expected largest demand, and because the quantiles of long horizons, which
  // residuals of the point forecast raise, are then held in fewer steps
  // (docs/design/limits.md).
  bool markov_most_probable = false;
  int histogram_bins = 40;
  double autocorrelation_threshold = 0.9;
  int autoregression_order = 8;
};

struct PredictorOptions {
  absl::Duration step = absl::Seconds(10);
  // In steps, growing.
  std::vector<int> horizons = {1, 10, 60, 1080};
  // Growing, in (0, 1).
  std::vector<double> ratios = {0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999};
  Aggregation aggregation = Aggregation::kMax;
  std::string model = "portfolio";
  int history_steps = 512;
  int warm_up_steps = 10;
  // Gaps up to this many steps are interpolated; after a longer one the series is warm again after
  // `gap_recovery_steps` complete steps.
  int max_interpolated_steps = 3;
  int gap_recovery_steps = 3;
  int64_t max_series = 4096;
  absl::Duration series_ttl = absl::Hours(24);
  // Under-estimates in a row after which the series trains anew by itself, and what counts as one:
  // demand above forecast and padding by more than this part.
  int retrain_streak = 3;
  double retrain_tolerance = 0.1;
  absl::Duration retrain_min_interval = absl::Seconds(10);
  // Steps that a retrain keeps.
  int retrain_keep_steps = 32;
  double target_violation_ratio = 0.02;
  // Standard errors by which a challenger must be better to be promoted.
  double promotion_advantage = 4;
  ModelParameters parameters;
};

// Adds every fault of `options` to `violations`, under the field names of this struct.
void ValidateOptions(const PredictorOptions& options, Violations& violations);

}  // namespace cloudscale::predictor
