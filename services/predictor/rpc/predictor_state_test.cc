// What the predictor has learnt, moved, kept over a restart, or damaged.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/rpc/predictor_rpc_fixture.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

// Files of the directory that were put aside.
int64_t AsideCount(const testing::TempDir& dir) {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    count += entry.path().filename().string().find("predictor.db.bad-") == 0 ? 1 : 0;
  }
  return count;
}

TEST_F(PredictorRpcTest, StateMovesToAnotherPredictor) {
  PredictorServer first(config_, clock_);
  Host host(first);
  ASSERT_TRUE(host.SendUntil(300, 3).has_value());
  v1::ExportStateRequest wanted;
  wanted.add_vm_uuids(kVm);
  v1::ExportStateResponse exported;
  CS_ASSERT_OK(first.Call(&v1::PredictorService::Stub::ExportState, wanted, &exported));
  ASSERT_EQ(exported.states_size(), 2);
  PredictorServer second(config_, clock_);
  v1::ImportStateRequest install;
  *install.mutable_states() = exported.states();
  install.set_request_id("i-1");
  v1::ImportStateResponse installed;
  CS_ASSERT_OK(second.Call(&v1::PredictorService::Stub::ImportState, install, &installed));
  EXPECT_EQ(installed.imported_count(), 2);
  v1::GetForecastResponse forecast;
  CS_ASSERT_OK(second.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast));
  EXPECT_TRUE(forecast.forecast().is_warm());

  install.set_request_id("i-2");
  install.mutable_states(0)->set_format_version(99);
  EXPECT_THAT(second.Call(&v1::PredictorService::Stub::ImportState, install, &installed),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("99")));
  install.mutable_states(0)->set_format_version(2);
  install.mutable_states(1)->mutable_state()->pop_back();
  EXPECT_THAT(second.Call(&v1::PredictorService::Stub::ImportState, install, &installed),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("states[1].state")));
  wanted.add_vm_uuids("nobody");
  EXPECT_THAT(first.Call(&v1::PredictorService::Stub::ExportState, wanted, &exported),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody")));
}

TEST_F(PredictorRpcTest, RestartGoesOnWarm) {
  config_.set_state_path(dir_.File("predictor.db"));
  common::v1::Forecast before;
  {
    PredictorServer server(config_, clock_);
    Host host(server);
    const auto batch = host.SendUntil(300, 3);
    ASSERT_TRUE(batch.has_value());
    before = batch->forecasts(0);
    server.Stop();
    EXPECT_THAT(server.component().Readiness(), StatusIs(absl::StatusCode::kUnavailable));
  }
  PredictorServer server(config_, clock_);
  CS_ASSERT_OK(server.start_status());
  CS_EXPECT_OK(server.component().Readiness());
  v1::GetForecastResponse forecast;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast));
  EXPECT_TRUE(forecast.forecast().is_warm());
  EXPECT_EQ(forecast.forecast().horizons(0).expected(), before.horizons(0).expected());
  Host host(server, "host-1", 302);
  const auto batch = host.SendUntil(330, 3);
  ASSERT_TRUE(batch.has_value());
  EXPECT_TRUE(batch->forecasts(0).is_warm());
}

TEST_F(PredictorRpcTest, DamagedCheckpointIsPutAsideAndItStartsCold) {
  config_.set_state_path(dir_.Write("predictor.db", std::string(5000, 'x')));
  PredictorServer server(config_, clock_);
  CS_ASSERT_OK(server.start_status());
  EXPECT_EQ(AsideCount(dir_), 1);
  Host host(server);
  EXPECT_TRUE(host.SendUntil(30, 1).has_value());
}

TEST_F(PredictorRpcTest, CheckpointWithADamagedPageIsPutAsideAndItStartsCold) {
  config_.set_state_path(dir_.File("predictor.db"));
  {
    PredictorServer server(config_, clock_);
    Host host(server);
    ASSERT_TRUE(host.SendUntil(300, 3).has_value());
  }
  {
    // The header stays good, so only reading the table shows it.
    constexpr int kPageSize = 4096;
    std::fstream file(config_.state_path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(kPageSize);
    file << std::string(kPageSize, '\xff');
    ASSERT_TRUE(file.good());
  }
  {
    PredictorServer server(config_, clock_);
    CS_ASSERT_OK(server.start_status());
    EXPECT_EQ(AsideCount(dir_), 1);
    v1::GetForecastResponse forecast;
    EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast),
                StatusIs(absl::StatusCode::kNotFound));
    Host host(server);
    ASSERT_TRUE(host.SendUntil(300, 3).has_value());
  }
  // What it learns from then on is kept again.
  PredictorServer server(config_, clock_);
  CS_ASSERT_OK(server.start_status());
  v1::GetForecastResponse forecast;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast));
  EXPECT_TRUE(forecast.forecast().is_warm());
}

TEST_F(PredictorRpcTest, RefusedStateThatCannotBeCopiedAsideIsNotDeleted) {
  config_.set_state_path(dir_.File("predictor.db"));
  {
    PredictorServer server(config_, clock_);
    Host host(server);
    ASSERT_TRUE(host.SendUntil(300, 3).has_value());
  }
  // State of another step is refused; a folder of the name of its copy makes copying fail.
  const std::string aside =
      absl::StrCat(config_.state_path(), ".bad-", absl::ToUnixSeconds(clock_.WallNow()));
  ASSERT_TRUE(std::filesystem::create_directory(aside));
  {
    config::v1::PredictorConfig other = config_;
    other.mutable_step()->set_seconds(5);
    PredictorServer server(other, clock_);
    EXPECT_THAT(server.start_status(), StatusIs(absl::StatusCode::kUnavailable));
  }
  PredictorServer server(config_, clock_);
  CS_ASSERT_OK(server.start_status());
  v1::GetForecastResponse forecast;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast));
  EXPECT_TRUE(forecast.forecast().is_warm());
}

}  // namespace
}  // namespace cloudscale::predictor
