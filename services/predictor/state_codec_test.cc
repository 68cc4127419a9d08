#include "services/predictor/state_codec.h"

#include <string>

#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

SeriesState MakeState() {
  SeriesState state;
  state.step_nanos = 10'000'000'000;
  state.last_step = 180'000'000;
  state.last_time_nanos = 1'800'000'000'123'456'789;
  state.last_sequence = 42;
  state.last_demand = 1.25;
  state.recovering_steps = 2;
  state.history = {1, 2, 3, 2.5};
  state.remedial_errors = {0, 0.5};
  state.ratios = {0.5, 0.9};
  state.expected = {1, 2};
  state.quantiles = {1, 2, 3, 4};
  state.burst = 0.25;
  state.remedial = 0.125;
  state.target_violation_ratio = 0.05;
  SeriesState::TrackState track;
  track.model = "markov";
  SeriesState::HorizonState horizon;
  horizon.steps = 10;
  horizon.residuals = {-1, 0.5F, 2};
  horizon.accuracy.weight = 3;
  horizon.accuracy.covered[1] = 2;
  horizon.accuracy.step_count = 3;
  track.horizons = {horizon};
  state.tracks = {track};
  return state;
}

TEST(StateCodecTest, DecodingGivesBackEverything) {
  const auto decoded = DecodeState(EncodeState(MakeState()));
  ASSERT_THAT(decoded, cloudscale::testing::IsOk());
  EXPECT_EQ(*decoded, MakeState());
  EXPECT_EQ(decoded->history, MakeState().history);
  EXPECT_EQ(decoded->tracks[0].model, "markov");
  EXPECT_EQ(decoded->tracks[0].horizons[0].residuals, MakeState().tracks[0].horizons[0].residuals);
  EXPECT_EQ(decoded->tracks[0].horizons[0].accuracy.covered[1], 2);
  EXPECT_EQ(decoded->last_time_nanos, 1'800'000'000'123'456'789);
}

TEST(StateCodecTest, P20NewerVersionIsRefusedByItsNumber) {
  std::string bytes = EncodeState(MakeState());
  bytes[4] = 9;
  EXPECT_THAT(DecodeState(bytes),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("version 9")));
}

TEST(StateCodecTest, P14AnyChangedByteIsNoticed) {
  const std::string good = EncodeState(MakeState());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x41);
    EXPECT_FALSE(DecodeState(bad).ok()) << i;
  }
}

TEST(StateCodecTest, P14AnyTruncationIsNoticed) {
  const std::string good = EncodeState(MakeState());
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_THAT(DecodeState(good.substr(0, length)), StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST(StateCodecTest, P14RandomBytesAreRefused) {
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    std::string bytes = "CSPS";
    for (int64_t n = rng.UniformInt(400); n > 0; --n) {
      bytes.push_back(static_cast<char>(rng.UniformInt(256)));
    }
    EXPECT_FALSE(DecodeState(bytes).ok());
  }
}

TEST(StateCodecTest, LargestStateStaysWithinItsBound) {
  SeriesState state = MakeState();
  state.history.assign(100000, 1.0);
  state.ratios.assign(kMaxRatios, 0.5);
  state.expected.assign(kMaxHorizons, 1);
  state.quantiles.assign(kMaxHorizons * kMaxRatios, 1);
  SeriesState::HorizonState horizon;
  horizon.residuals.assign(ResidualStore::kCapacity, 1);
  SeriesState::TrackState track;
  track.model.assign(64, 'm');
  track.horizons.assign(kMaxHorizons, horizon);
  state.tracks = {track, track};
  const std::string bytes = EncodeState(state);
  EXPECT_LE(bytes.size(), kMaxStateBytes);
  const auto decoded = DecodeState(bytes);
  ASSERT_THAT(decoded, cloudscale::testing::IsOk());
  EXPECT_EQ(decoded->history.size(), kMaxStateHistory);
}

}  // namespace
}  // namespace cloudscale::predictor
