#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/predictor/padding.h"
#include "services/predictor/track.h"

namespace cloudscale::predictor {

// What is learnt about one series, as it is kept over restarts and moved between predictors.
struct SeriesState {
  struct HorizonState {
    int32_t steps = 0;
    std::vector<float> residuals;
    AccuracySums accuracy;
  };
  struct TrackState {
    std::string model;
    std::vector<HorizonState> horizons;
  };
  int64_t step_nanos = 0;
  int64_t last_step = 0;
  int64_t last_time_nanos = 0;  // since the epoch
  int64_t last_sequence = 0;
  double last_demand = 0;
  int32_t recovering_steps = 0;
  std::vector<double> history;
  std::vector<double> remedial_errors;
  std::vector<double> ratios;
  std::vector<TrackState> tracks;
  // The forecast published last, so that missing samples cannot lower it after a restart either.
  std::vector<double> expected;
  std::vector<double> quantiles;
  double burst = 0;
  double remedial = 0;
  // Negative when none was asked for.
  double target_violation_ratio = -1;

  // Accuracy compares by its sums.
  friend bool operator==(const SeriesState& a, const SeriesState& b);
};

inline constexpr int32_t kStateFormatVersion = 1;
inline constexpr size_t kMaxStateBytes = size_t{64} * 1024;
// History kept in a state; older steps are left out so that the bound holds.
inline constexpr size_t kMaxStateHistory = 4096;

// Little-endian binary form with version and checksum, at most `kMaxStateBytes`.
[[nodiscard]] std::string EncodeState(const SeriesState& state);

// FAILED_PRECONDITION for a newer version; DATA_LOSS for anything that `EncodeState` does not
// write: truncated, altered, too large, or with numbers that are not finite.
[[nodiscard]] absl::StatusOr<SeriesState> DecodeState(absl::string_view bytes);

}  // namespace cloudscale::predictor
