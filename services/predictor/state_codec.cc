#include "services/predictor/state_codec.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::predictor {
namespace {

constexpr absl::string_view kMagic = "CSPS";
constexpr size_t kHeaderBytes = 4 + sizeof(int32_t);

// Of version 1.
constexpr size_t kMaxFirstHistory = 4096;
constexpr absl::string_view kFirstDefaultModel = "cloudscale";

uint64_t Fnv1a(absl::string_view bytes) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return hash;
}

struct FirstHorizon {
  int32_t steps = 0;
  std::vector<float> residuals;
  AccuracySums accuracy;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive(self.steps);
    archive.List(self.residuals, ResidualStore::kCapacity);
    archive(self.accuracy);
  }
};

struct FirstTrack {
  std::string model;
  std::vector<FirstHorizon> horizons;

  template <typename Self, typename Archive>
  static void Visit(Self& self, Archive& archive) {
    archive.Text(self.model, kMaxModelNameLength);
    archive.List(self.horizons, kMaxHorizons);
  }
};

SeriesState ReadFirstVersion(StateReader& reader) {
  SeriesState state;
  int64_t last_step = 0;
  std::vector<double> remedial_errors;
  std::vector<FirstTrack> tracks;
  ForecastState forecast;
  reader(state.step_nanos, last_step, state.last_time_nanos, state.last_sequence, state.last_demand,
         state.recovering_steps);
  reader.List(state.history, kMaxFirstHistory);
  reader.List(remedial_errors, RemedialPadding::kCount);
  reader.List(state.ratios, kMaxRatios);
  reader.List(forecast.expected, kMaxHorizons);
  reader.List(forecast.quantiles, kMaxHorizons * kMaxRatios);
  reader(forecast.burst, forecast.remedial, state.target_violation_ratio);
  reader.List(tracks, kMaxStateTracks);
  reader.Require(IsPossibleStep(last_step) && state.target_violation_ratio <= 0.5);
  state.known_steps = static_cast<int64_t>(state.history.size());
  if (!state.history.empty()) {
    state.last_step = last_step;
    state.last_value = std::max(0.0, state.history.back());
  }
  state.last_demand = std::max(0.0, state.last_demand);
  if (!forecast.expected.empty()) {
    forecast.made_at_nanos = state.last_time_nanos;
    forecast.based_on_nanos = state.last_time_nanos;
    forecast.based_on_sequence = state.last_sequence;
    forecast.after_step = last_step;
    forecast.burst = std::max(0.0, forecast.burst);
    forecast.remedial = std::max(0.0, forecast.remedial);
    state.forecast = std::move(forecast);
  }
  for (FirstTrack& track : tracks) {
    TrackState& out = state.tracks.emplace_back();
    out.model = std::move(track.model);
    out.remedial_errors = std::exchange(remedial_errors, {});
    for (FirstHorizon& horizon : track.horizons) {
      out.horizons.push_back({.steps = horizon.steps,
                              .residuals = std::move(horizon.residuals),
                              .accuracy = horizon.accuracy,
                              .in_flight = {}});
    }
  }
  // Whether somebody had chosen the default itself is not known.
  state.is_model_chosen = !state.tracks.empty() && state.tracks.front().model != kFirstDefaultModel;
  return state;
}

}  // namespace

bool operator==(const SeriesState& a, const SeriesState& b) {
  return EncodeState(a) == EncodeState(b);
}

std::string EncodeState(const SeriesState& state) {
  std::string bytes(kMagic);
  StateWriter writer(&bytes);
  writer(kStateFormatVersion, state);
  const uint64_t checksum = Fnv1a(bytes);
  writer(checksum);
  return bytes;
}

absl::StatusOr<SeriesState> DecodeState(absl::string_view bytes) {
  if (bytes.size() < kHeaderBytes + sizeof(uint64_t) || bytes.size() > kMaxStateBytes ||
      bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError(
        absl::StrCat("state of ", bytes.size(), " bytes is not a predictor series state"));
  }
  int32_t version = 0;
  StateReader(bytes.substr(kMagic.size()))(version);
  if (version < 1 || version > kStateFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("state has format version ", version,
                                                      "; this build reads versions 1 to ",
                                                      kStateFormatVersion));
  }
  uint64_t checksum = 0;
  StateReader(bytes.substr(bytes.size() - sizeof(uint64_t)))(checksum);
  bytes.remove_suffix(sizeof(uint64_t));
  if (checksum != Fnv1a(bytes)) {
    return absl::DataLossError("state does not match its checksum");
  }
  StateReader reader(bytes.substr(kHeaderBytes));
  SeriesState state;
  if (version == 1) {
    state = ReadFirstVersion(reader);
  } else {
    reader(state);
  }
  if (!reader.ok() || !reader.at_end()) {
    return absl::DataLossError("state is truncated or holds impossible values");
  }
  return state;
}

}  // namespace cloudscale::predictor
