#include "cloudscaled/compose.h"
#include "cloudscaled/replay.h"
#include "common/rpc/component.h"
#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cloudscaled {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

std::string Faults(const config::v1::CloudscaledConfig& config) {
  Violations violations;
  ValidateCloudscaled(config, &violations);
  return std::string(violations.ToStatus().message());
}

TEST(ComposeTest, TheEmbeddedDefaultIsValid) { EXPECT_THAT(Faults(EmbeddedDefault()), IsEmpty()); }

TEST(ComposeTest, WiresTheServicesInsideTheProcess) {
  config::v1::CloudscaledConfig config = EmbeddedDefault();
  config.set_host_id("h");
  config.set_state_directory("/nonexistent");
  const Composition c = Compose(config);
  EXPECT_EQ(c.monitor.predictor_address(), rpc::kInProcessAddress);
  EXPECT_EQ(c.scaler.monitor_address(), rpc::kInProcessAddress);
  EXPECT_EQ(c.scaler.host_id(), "h");
  EXPECT_EQ(c.scaler.journal_path(), "/nonexistent/scaler.db");
  EXPECT_EQ(c.predictor.state_path(), "/nonexistent/predictor.db");
  EXPECT_EQ(c.time_factor, 60);
}

TEST(ComposeTest, P14RefusesWhatItWiresItself) {
  config::v1::CloudscaledConfig config = EmbeddedDefault();
  config.mutable_monitor()->set_predictor_address("127.0.0.1:1");
  config.mutable_scaler()->mutable_server()->set_listen_address("127.0.0.1:2");
  const std::string faults = Faults(config);
  EXPECT_THAT(faults, HasSubstr("monitor.predictor_address"));
  EXPECT_THAT(faults, HasSubstr("scaler.server"));
}

TEST(ComposeTest, P14NamesAStateDirectoryThatIsMissing) {
  config::v1::CloudscaledConfig config = EmbeddedDefault();
  config.set_state_directory("/nonexistent/state");
  EXPECT_THAT(Faults(config), HasSubstr("state_directory: got '/nonexistent/state'"));
}

TEST(ReplayTest, PlaysEachSeriesAsAVmAndScalesAllTimes) {
  testing::TempDir dir;
  const std::string file =
      dir.Write("t.csv", "trace,t,value\na,0,0.5\na,300,0.6\nb,0,0.1\nb,300,0.2\n");
  const auto config = ReplayConfig({.file = file, .series = {}, .max_vms = 6, .speed = 600});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->hypervisor().fake().scenario().vms_size(), 2);
  EXPECT_EQ(config->hypervisor().fake().time_factor(), 600);
  EXPECT_EQ(rpc::FromProto(config->monitor().sampling_period()), absl::Minutes(5));
  EXPECT_EQ(rpc::FromProto(config->scaler().step()), absl::Minutes(5));
  EXPECT_GT(rpc::FromProto(config->scaler().limits().max_forecast_age()), absl::Minutes(5));
  EXPECT_THAT(Faults(*config), IsEmpty());
}

TEST(ReplayTest, OneOfManySeriesIsPlayedByItsName) {
  testing::TempDir dir;
  const std::string file =
      dir.Write("t.csv", "trace,t,value\na,0,0.5\na,1,0.6\nb,0,0.1\nb,1,0.2\n");
  const auto config = ReplayConfig({.file = file, .series = {}, .max_vms = 1});
  ASSERT_THAT(config, IsOk());
  ASSERT_EQ(config->hypervisor().fake().scenario().vms_size(), 1);
  EXPECT_EQ(config->hypervisor().fake().scenario().vms(0).trace_series(), "a");
}

TEST(ReplayTest, FineTracesKeepTheUsualStep) {
  testing::TempDir dir;
  const std::string file = dir.Write("t.csv", "t_seconds,value\n0,0.5\n1,0.6\n2,0.1\n");
  const auto config = ReplayConfig({.file = file, .series = {}});
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(rpc::FromProto(config->monitor().sampling_period()), absl::Seconds(1));
  EXPECT_EQ(rpc::FromProto(config->scaler().step()), absl::Seconds(10));
  EXPECT_EQ(config->hypervisor().fake().time_factor(), 20) << "a point each 50 ms";
  EXPECT_THAT(Faults(*config), IsEmpty());
}

TEST(ReplayTest, RefusesWhatCannotBePlayed) {
  testing::TempDir dir;
  const std::string file = dir.Write("t.csv", "t_seconds,value\n0,0.5\n1,0.6\n2,0.1\n");
  EXPECT_THAT(ReplayConfig({.file = file, .series = {}, .max_vms = 6, .speed = 1000}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--speed: got 1000")));
  EXPECT_THAT(ReplayConfig({.file = file, .series = {}, .max_vms = 6, .speed = -1}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ReplayConfig({.file = file, .series = {}, .max_vms = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--max-vms")));
  EXPECT_THAT(ReplayConfig({.file = file, .series = {"none"}}),
              StatusIs(absl::StatusCode::kNotFound));
  const std::string mixed =
      dir.Write("m.csv", "trace,t,value\na,0,0.5\na,1,0.6\nb,0,0.1\nb,300,0.2\n");
  EXPECT_THAT(ReplayConfig({.file = mixed, .series = {}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one period")));
}

}  // namespace
}  // namespace cloudscale::cloudscaled
