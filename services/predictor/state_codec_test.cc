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
  state.last_value = 2.5;
  state.known_steps = 400;
  state.recovering_steps = 2;
  state.under_estimate_streak = 1;
  state.last_retrain_nanos = 1'799'999'999'000'000'000;
  state.retrain_count = 3;
  state.capacity = 8;
  state.target_violation_ratio = 0.05;
  state.price_factor = 4;
  state.is_model_chosen = true;
  state.may_promote = true;
  for (int i = 0; i < 100; ++i) {
    state.challenge.Observe(2, 1);
  }
  state.open = {.step = 180'000'001,
                .largest = 3,
                .sum = 5,
                .count = 2,
                .is_censored = true,
                .allocation = 4};
  state.history = {1, 2, 3, 2.5};
  state.ratios = {0.5, 0.9};
  state.forecast.emplace();
  state.forecast->expected = {1, 2};
  state.forecast->quantiles = {1, 2, 3, 4};
  state.forecast->burst = 0.25;
  state.forecast->remedial = 0.125;
  state.forecast->advised = 2.25;
  state.forecast->reason = {.kind = ModelReason::Kind::kPortfolio, .experts = {3, 8}};
  TrackState track;
  track.model = "markov";
  track.remedial_errors = {0, 0.5};
  track.online = std::string("a\0b", 3);
  HorizonState horizon;
  horizon.steps = 10;
  horizon.residuals = {-1, 0.5F, 2};
  horizon.accuracy.weight = 3;
  horizon.accuracy.covered[1] = 2;
  horizon.accuracy.step_count = 3;
  horizon.in_flight = {
      {.made_after = 180'000'000, .largest = 2, .is_censored = true, .statement = {}}};
  horizon.in_flight[0].statement.quantiles[1] = 7;
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
  EXPECT_EQ(decoded->tracks[0].online, MakeState().tracks[0].online);
  EXPECT_EQ(decoded->tracks[0].horizons[0].in_flight[0].statement.quantiles[1], 7);
  EXPECT_EQ(decoded->open->allocation, 4);
  EXPECT_EQ(decoded->forecast->advised, 2.25);
  EXPECT_EQ(decoded->forecast->reason.experts[1], 8);
  EXPECT_EQ(decoded->challenge.blocks(), MakeState().challenge.blocks());
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
  state.forecast->expected.assign(kMaxHorizons, 1);
  state.forecast->quantiles.assign(kMaxHorizons * kMaxRatios, 1);
  HorizonState horizon;
  horizon.residuals.assign(ResidualStore::kCapacity, 1);
  horizon.in_flight.assign(Track::kMaxInFlight, {});
  TrackState track;
  track.remedial_errors.assign(RemedialPadding::kCount, 1);
  track.model.assign(64, 'm');
  track.horizons.assign(kMaxHorizons, horizon);
  // No two models of a series are alike, and only one of those there are learns online.
  state.tracks = {track, track};
  state.tracks[0].online.assign(kMaxOnlineBytes, 'x');
  const std::string bytes = EncodeState(state);
  EXPECT_LE(bytes.size(), kMaxStateBytes);
  const auto decoded = DecodeState(bytes);
  ASSERT_THAT(decoded, cloudscale::testing::IsOk());
  EXPECT_EQ(decoded->history.size(), kMaxStateHistory);
}

}  // namespace
}  // namespace cloudscale::predictor
