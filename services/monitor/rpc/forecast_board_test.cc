#include "services/monitor/rpc/forecast_board.h"

#include <cmath>
#include <limits>

#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/monitor/rpc/guest_handlers.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;

common::v1::Forecast Forecast(const std::string& uuid, int64_t sequence, double value) {
  common::v1::Forecast forecast;
  forecast.set_vm_uuid(uuid);
  forecast.set_resource(common::v1::RESOURCE_MEMORY);
  forecast.set_based_on_sequence(sequence);
  forecast.add_horizons()->set_expected(value);
  return forecast;
}

v1::ObservationBatch Board(const ForecastBoard& board, int64_t sequence) {
  v1::ObservationBatch batch;
  board.AddTo(sequence, absl::Seconds(2), &batch);
  return batch;
}

TEST(ForecastBoardTest, KeepsTheNewestWhateverOrderTheyComeIn) {
  ForecastBoard board;
  board.KeepOnly({"a"});
  board.Update("host", {Forecast("a", 5, 50)}, {});
  board.Update("host", {Forecast("a", 3, 30)}, {});
  const v1::ObservationBatch batch = Board(board, 9);
  ASSERT_EQ(batch.forecasts_size(), 1);
  EXPECT_EQ(batch.forecasts(0).forecast().horizons(0).expected(), 50);
  EXPECT_EQ(rpc::FromProto(batch.forecasts(0).age()), absl::Seconds(8)) << "four periods";
}

TEST(ForecastBoardTest, DropsVmsThatAreGoneAndRefusesStrangers) {
  ForecastBoard board;
  board.KeepOnly({"a", "b"});
  board.Update("host", {Forecast("a", 1, 1), Forecast("b", 1, 1), Forecast("x", 1, 1)}, {});
  EXPECT_EQ(Board(board, 1).forecasts_size(), 2);
  board.KeepOnly({"b"});
  EXPECT_EQ(Board(board, 1).forecasts_size(), 1);
}

TEST(ForecastBoardTest, OnlyTheOwnHostsSumIsTaken) {
  ForecastBoard board;
  common::v1::Forecast own = Forecast("", 1, 10);
  own.set_host_id("host");
  common::v1::Forecast other = Forecast("", 2, 99);
  other.set_host_id("other");
  board.Update("host", {}, {own, other});
  const v1::ObservationBatch batch = Board(board, 2);
  ASSERT_EQ(batch.host_forecasts_size(), 1);
  EXPECT_EQ(batch.host_forecasts(0).forecast().horizons(0).expected(), 10);
  EXPECT_EQ(board.refused_count(), 1);
}

TEST(ForecastBoardTest, P1ImpossibleForecastsNeverReachTheScaler) {
  ForecastBoard board;
  board.KeepOnly({"a"});
  board.Update("host", {Forecast("a", 1, 10)}, {});
  common::v1::Forecast no_horizon = Forecast("a", 9, 1);
  no_horizon.clear_horizons();
  common::v1::Forecast bad_padding = Forecast("a", 9, 1);
  bad_padding.mutable_padding()->set_total(-1);
  common::v1::Forecast bad_quantile = Forecast("a", 9, 1);
  bad_quantile.mutable_horizons(0)->add_quantiles()->set_ratio(2);
  board.Update("host",
               {Forecast("a", 9, std::nan("")), Forecast("a", 9, -1),
                Forecast("a", 9, std::numeric_limits<double>::infinity()), no_horizon, bad_padding,
                bad_quantile},
               {});
  EXPECT_EQ(board.refused_count(), 6);
  EXPECT_EQ(Board(board, 1).forecasts(0).forecast().horizons(0).expected(), 10);
}

TEST(GuestIdentityTest, P8TheCertificateMustNameTheVm) {
  const std::string vm = "11111111-1111-1111-1111-111111111111";
  EXPECT_THAT(CheckGuestIdentity({vm}, vm), IsOk());
  EXPECT_THAT(CheckGuestIdentity({"agent", "spiffe://site/vm/" + vm}, vm), IsOk());
  EXPECT_THAT(CheckGuestIdentity({"spiffe://site/vm/22222222"}, vm),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(CheckGuestIdentity({"x" + vm}, vm), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(CheckGuestIdentity({}, vm), StatusIs(absl::StatusCode::kPermissionDenied));
}

}  // namespace
}  // namespace cloudscale::monitor
