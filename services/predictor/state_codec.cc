#include "services/predictor/state_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::predictor {
namespace {

static_assert(std::endian::native == std::endian::little, "the encoding is a plain copy");

constexpr absl::string_view kMagic = "CSPS";
// Bounds for reading; what is written stays below them.
constexpr size_t kMaxTracks = 2;
constexpr size_t kMaxNameLength = 64;

uint64_t Fnv1a(absl::string_view bytes) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : bytes) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return hash;
}

class Writer {
 public:
  template <typename T>
  void Put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    char buffer[sizeof(T)];
    std::memcpy(buffer, &value, sizeof(T));
    out_.append(buffer, sizeof(T));
  }
  template <typename T>
  void PutAll(const T& values) {
    Put(static_cast<uint32_t>(values.size()));
    for (const auto& value : values) {
      Put(value);
    }
  }
  void PutRaw(absl::string_view bytes) { out_.append(bytes.data(), bytes.size()); }
  std::string& out() { return out_; }

 private:
  std::string out_;
};

// Once something is wrong everything reads as zero, and `ok` stays false.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Get() {
    T value{};
    if (!ok_ || rest_.size() < sizeof(T)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      ok_ = std::isfinite(value);
    }
    return ok_ ? value : T{};
  }
  size_t GetCount(size_t limit) {
    const auto count = static_cast<size_t>(Get<uint32_t>());
    if (count > limit) {
      ok_ = false;
    }
    return ok_ ? count : 0;
  }
  template <typename T>
  std::vector<T> GetAll(size_t limit) {
    std::vector<T> values(GetCount(limit));
    for (T& value : values) {
      value = Get<T>();
    }
    return values;
  }
  std::string GetString(size_t limit) {
    const std::vector<char> chars = GetAll<char>(limit);
    return {chars.begin(), chars.end()};
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }

 private:
  absl::string_view rest_;
  bool ok_ = true;
};

// Visits the plain numbers of the sums in the order in which they are written.
template <typename Sums, typename Visit>
void ForEachSum(Sums& sums, Visit visit) {
  visit(sums.weight);
  visit(sums.bias);
  visit(sums.absolute_error);
  visit(sums.pinball_loss);
  visit(sums.under_estimates);
  visit(sums.under_estimate_depth);
  visit(sums.allocation);
  visit(sums.demand);
  for (auto& covered : sums.covered) {
    visit(covered);
  }
}

SeriesState::HorizonState ReadHorizon(Reader& reader) {
  SeriesState::HorizonState horizon;
  horizon.steps = reader.Get<int32_t>();
  horizon.residuals = reader.GetAll<float>(ResidualStore::kCapacity);
  ForEachSum(horizon.accuracy, [&](double& sum) { sum = reader.Get<double>(); });
  horizon.accuracy.step_count = reader.Get<int64_t>();
  return horizon;
}

// Visits everything before the tracks, in the order in which it is written.
template <typename State, typename Scalar, typename List>
void ForEachField(State& state, Scalar scalar, List list) {
  scalar(state.step_nanos);
  scalar(state.last_step);
  scalar(state.last_time_nanos);
  scalar(state.last_sequence);
  scalar(state.last_demand);
  scalar(state.recovering_steps);
  list(state.history, kMaxStateHistory);
  list(state.remedial_errors, RemedialPadding::kCount);
  list(state.ratios, kMaxRatios);
  list(state.expected, kMaxHorizons);
  list(state.quantiles, kMaxHorizons * kMaxRatios);
  scalar(state.burst);
  scalar(state.remedial);
  scalar(state.target_violation_ratio);
}

}  // namespace

bool operator==(const SeriesState& a, const SeriesState& b) {
  return EncodeState(a) == EncodeState(b);
}

std::string EncodeState(const SeriesState& state) {
  Writer writer;
  writer.PutRaw(kMagic);
  writer.Put(kStateFormatVersion);
  ForEachField(
      state, [&](auto value) { writer.Put(value); },
      [&](const auto& values, size_t limit) {
        const size_t count = std::min(values.size(), limit);
        writer.PutAll(absl::MakeConstSpan(values).last(count));
      });
  writer.Put(static_cast<uint32_t>(std::min(state.tracks.size(), kMaxTracks)));
  for (size_t t = 0; t < std::min(state.tracks.size(), kMaxTracks); ++t) {
    const SeriesState::TrackState& track = state.tracks[t];
    writer.PutAll(absl::string_view(track.model).substr(0, kMaxNameLength));
    writer.Put(static_cast<uint32_t>(std::min(track.horizons.size(), kMaxHorizons)));
    for (size_t h = 0; h < std::min(track.horizons.size(), kMaxHorizons); ++h) {
      const SeriesState::HorizonState& horizon = track.horizons[h];
      writer.Put(horizon.steps);
      const auto residuals = absl::MakeConstSpan(horizon.residuals);
      writer.PutAll(residuals.last(std::min(residuals.size(), ResidualStore::kCapacity)));
      ForEachSum(horizon.accuracy, [&](double sum) { writer.Put(sum); });
      writer.Put(horizon.accuracy.step_count);
    }
  }
  const uint64_t checksum = Fnv1a(writer.out());
  writer.Put(checksum);
  return std::move(writer.out());
}

absl::StatusOr<SeriesState> DecodeState(absl::string_view bytes) {
  constexpr size_t kFixed = 4 + sizeof(int32_t) + sizeof(uint64_t);
  if (bytes.size() < kFixed || bytes.size() > kMaxStateBytes || bytes.substr(0, 4) != kMagic) {
    return absl::DataLossError(
        absl::StrCat("state of ", bytes.size(), " bytes is not a predictor series state"));
  }
  Reader header(bytes.substr(4));
  const auto version = header.Get<int32_t>();
  if (version < 1 || version > kStateFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("state has format version ", version,
                                                      "; this build reads versions 1 to ",
                                                      kStateFormatVersion));
  }
  Reader tail(bytes.substr(bytes.size() - sizeof(uint64_t)));
  bytes.remove_suffix(sizeof(uint64_t));
  if (tail.Get<uint64_t>() != Fnv1a(bytes)) {
    return absl::DataLossError("state does not match its checksum");
  }
  Reader reader(bytes.substr(4 + sizeof(int32_t)));
  SeriesState state;
  ForEachField(
      state, [&](auto& value) { value = reader.Get<std::decay_t<decltype(value)>>(); },
      [&](auto& values, size_t limit) {
        values = reader.GetAll<typename std::decay_t<decltype(values)>::value_type>(limit);
      });
  state.tracks.resize(reader.GetCount(kMaxTracks));
  for (SeriesState::TrackState& track : state.tracks) {
    track.model = reader.GetString(kMaxNameLength);
    track.horizons.resize(reader.GetCount(kMaxHorizons));
    for (SeriesState::HorizonState& horizon : track.horizons) {
      horizon = ReadHorizon(reader);
    }
  }
  if (!reader.ok() || !reader.at_end()) {
    return absl::DataLossError("state is truncated or holds impossible values");
  }
  return state;
}

}  // namespace cloudscale::predictor
