#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/predictor/challenge.h"
#include "services/predictor/padding.h"
#include "services/predictor/sizing/state_archive.h"
#include "services/predictor/track.h"

namespace cloudscale::predictor {

inline constexpr size_t kMaxStateBytes = size_t{64} * 1024;
// Parts of a state, such that the whole stays below the bound.
inline constexpr size_t kMaxStateHistory = 2048;
inline constexpr size_t kMaxOnlineBytes = size_t{24} * 1024;

inline constexpr size_t kMaxStateTracks = 2;
inline constexpr size_t kMaxModelNameLength = 64;

// Far beyond any real one, and far from an overflow.
constexpr bool IsPossibleStep(int64_t step) {
  return step > -(int64_t{1} << 53) && step < (int64_t{1} << 53);
}

struct HorizonState {
  int32_t steps = 0;
  std::vector<float> residuals;
  AccuracySums accuracy;
  std::vector<Track::InFlight> in_flight;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.steps);
    archive.List(self.residuals, ResidualStore::kCapacity);
    archive(self.accuracy);
    archive.List(self.in_flight, Track::kMaxInFlight);
  }
};

struct TrackState {
  std::string model;
  std::string online;  // of OnlineForecaster::Save; empty when the model has none
  std::vector<double> remedial_errors;
  std::vector<HorizonState> horizons;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive.Text(self.model, kMaxModelNameLength);
    archive.Text(self.online, kMaxOnlineBytes);
    archive.List(self.remedial_errors, RemedialPadding::kCount);
    archive.List(self.horizons, kMaxHorizons);
  }
};

// The forecast published last: missing samples must not lower it after a restart either.
struct ForecastState {
  int64_t made_at_nanos = 0;
  int64_t based_on_nanos = 0;
  int64_t based_on_sequence = 0;
  int64_t after_step = 0;
  bool is_warm = false;
  bool is_held = false;
  std::vector<double> expected;
  std::vector<double> quantiles;
  double burst = 0;
  double remedial = 0;
  std::optional<double> advised;
  std::optional<double> violation_price;
  ModelReason reason;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.made_at_nanos, self.based_on_nanos, self.based_on_sequence, self.after_step,
            self.is_warm, self.is_held);
    archive.List(self.expected, kMaxHorizons);
    archive.List(self.quantiles, kMaxHorizons * kMaxRatios);
    archive(self.burst, self.remedial, self.advised, self.violation_price, self.reason);
    archive.Require(IsPossibleStep(self.after_step) && self.advised.value_or(0) >= 0 &&
                    self.violation_price.value_or(0) >= 0);
  }
};

// The step that has not ended yet.
struct OpenStepState {
  int64_t step = 0;
  double largest = 0;
  double sum = 0;
  int64_t count = 0;
  bool is_censored = false;
  double allocation = -1;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.step, self.largest, self.sum, self.count, self.is_censored, self.allocation);
    archive.Require(self.largest >= 0 && self.sum >= 0 && self.count >= 1 &&
                    IsPossibleStep(self.step));
  }
};

// What is learnt about one series, as it is kept over restarts and moved between predictors: all
// that a series holds, so that it goes on as if nothing had been.
struct SeriesState {
  int64_t step_nanos = 0;
  std::optional<int64_t> last_step;
  int64_t last_time_nanos = 0;  // since the epoch
  int64_t last_sequence = 0;
  double last_demand = 0;
  double last_value = 0;
  int64_t known_steps = 0;
  bool is_incomplete = true;    // of the open step
  bool was_incomplete = false;  // of the step before it
  int32_t recovering_steps = 0;
  int32_t held_steps = 0;
  int32_t under_estimate_streak = 0;
  int64_t last_retrain_nanos = 0;  // 0: never
  int64_t ignored_count = 0;
  int64_t retrain_count = 0;
  double capacity = 0;
  double target_violation_ratio = -1;  // negative when none was asked for
  double price_factor = 1;
  int64_t price_factor_until_nanos = 0;
  bool is_model_chosen = false;
  bool is_shadow_chosen = false;
  bool may_promote = false;
  Challenge challenge;
  std::optional<OpenStepState> open;
  std::vector<double> history;
  std::vector<double> ratios;
  std::vector<TrackState> tracks;
  std::optional<ForecastState> forecast;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.step_nanos, self.last_step, self.last_time_nanos, self.last_sequence,
            self.last_demand, self.last_value, self.known_steps, self.is_incomplete,
            self.was_incomplete, self.recovering_steps, self.held_steps, self.under_estimate_streak,
            self.last_retrain_nanos, self.ignored_count, self.retrain_count, self.capacity,
            self.target_violation_ratio, self.price_factor, self.price_factor_until_nanos,
            self.is_model_chosen, self.is_shadow_chosen, self.may_promote, self.challenge,
            self.open);
    archive.List(self.history, kMaxStateHistory);
    archive.List(self.ratios, kMaxRatios);
    archive.List(self.tracks, kMaxStateTracks);
    archive(self.forecast);
    archive.Require(self.held_steps >= 0 && self.held_steps <= 1000);
    archive.Require(self.known_steps >= 0 && IsPossibleStep(self.known_steps) &&
                    IsPossibleStep(self.last_step.value_or(0)) && self.last_value >= 0 &&
                    self.last_demand >= 0 && self.capacity >= 0 && self.price_factor >= 1 &&
                    self.price_factor <= 100 && self.target_violation_ratio <= 0.5);
  }

  // By what `EncodeState` makes of them.
  friend bool operator==(const SeriesState& a, const SeriesState& b);
};

// Little-endian binary form with version and checksum, at most `kMaxStateBytes`.
[[nodiscard]] std::string EncodeState(const SeriesState& state);

// Reads all versions up to the present one; version 1 knew nothing of online models.
// FAILED_PRECONDITION for another version; DATA_LOSS for anything that `EncodeState` does not
// write: truncated, altered, too large, or with numbers that are impossible.
[[nodiscard]] absl::StatusOr<SeriesState> DecodeState(absl::string_view bytes);

}  // namespace cloudscale::predictor
