#include "agents/guest/main/guest_agent.h"

#include <memory>
#include <string>

#include "agents/guest/transport/grpc_transport.h"
#include "common/sync/bounded_queue.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kUuid[] = "9f8d5740-ca74-46de-a9d3-19b1732fe4d6";

// Acknowledges everything and hands the reports to the test.
class Monitor final : public guest::v1::GuestReportService::Service {
 public:
  grpc::Status StreamReports(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<guest::v1::StreamReportsResponse, guest::v1::StreamReportsRequest>*
          stream) override {
    guest::v1::StreamReportsRequest request;
    while (stream->Read(&request)) {
      guest::v1::StreamReportsResponse response;
      for (const guest::v1::GuestReport& report : request.reports()) {
        reports.PushDroppingOldest(report);
        response.set_acknowledged_sequence(report.sequence());
      }
      response.mutable_period()->set_nanos(100'000'000);
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
  BoundedQueue<guest::v1::GuestReport> reports{100};
};

class GuestAgentTest : public ::testing::Test {
 protected:
  GuestAgentTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&monitor_);
    server_ = builder.BuildAndStart();
    proc_.Write("sys/kernel/random/boot_id", "0af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11\n");
    proc_.Write("uptime", "2150.52 4171.02\n");
    proc_.Write("meminfo", "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n");
    proc_.Write("pressure/memory", "some avg10=12.00 avg60=0.00 avg300=0.00 total=6\n");
    config_.proc_path = proc_.path();
    config_.period = absl::Milliseconds(100);
  }
  ~GuestAgentTest() override { server_->Shutdown(std::chrono::system_clock::time_point()); }

  std::unique_ptr<GuestAgent> Create() {
    return std::make_unique<GuestAgent>(
        config_, kUuid, *clock_, /*seed=*/1,
        std::make_unique<GrpcTransport>(server_->InProcessChannel(grpc::ChannelArguments()),
                                        kUuid));
  }

  const testing::TempDir proc_;
  Monitor monitor_;
  std::unique_ptr<grpc::Server> server_;
  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  AgentConfig config_;
};

TEST_F(GuestAgentTest, ReportsEveryPeriodAndFollowsTheMonitorsPeriod) {
  config_.period = absl::Seconds(60);  // the monitor asks for 100 ms
  const std::unique_ptr<GuestAgent> agent = Create();
  EXPECT_FALSE(agent->Readiness().ok());
  agent->Start();
  const auto first = monitor_.reports.PopFor(absl::Seconds(20), std::stop_token());
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->vm_uuid(), kUuid);
  EXPECT_EQ(first->sequence(), 1);
  EXPECT_EQ(first->memory_total_bytes(), 1024000);
  EXPECT_EQ(first->memory_available_bytes(), 409600);
  EXPECT_EQ(first->memory_pressure().some_ratio(), 0.12);
  EXPECT_FALSE(first->has_cpu_pressure());
  EXPECT_FALSE(first->has_swap_in_bytes());
  for (int64_t sequence = 2; sequence <= 4; ++sequence) {
    const auto next = monitor_.reports.PopFor(absl::Seconds(20), std::stop_token());
    ASSERT_TRUE(next.has_value());
    EXPECT_EQ(next->sequence(), sequence);
  }
  agent->Stop();
  agent->Stop();
}

TEST_F(GuestAgentTest, GoesOnWhenAFileBreaksAndMendsAgain) {
  const std::unique_ptr<GuestAgent> agent = Create();
  agent->Start();
  ASSERT_TRUE(monitor_.reports.PopFor(absl::Seconds(20), std::stop_token()).has_value());
  proc_.Write("meminfo", "MemTotal: 2000 kB\n");
  int64_t total = 0;
  int64_t sequence = 0;
  while (total != 2048000) {
    const auto report = monitor_.reports.PopFor(absl::Seconds(20), std::stop_token());
    ASSERT_TRUE(report.has_value());
    EXPECT_GT(report->sequence(), sequence);
    sequence = report->sequence();
    total = report->memory_total_bytes();
  }
  CS_EXPECT_OK(agent->Readiness());
}

TEST(FindVmUuidTest, ConfiguredThenTheMachinesOwnElseNone) {
  const testing::TempDir sys;
  AgentConfig config;
  EXPECT_THAT(FindVmUuid(config, sys.path()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("vm_uuid")));
  sys.Write("class/dmi/id/product_uuid", "1F8D5740-CA74-46DE-A9D3-19B1732FE4D6\n");
  EXPECT_THAT(FindVmUuid(config, sys.path()), IsOkAndHolds("1f8d5740-ca74-46de-a9d3-19b1732fe4d6"));
  config.vm_uuid = kUuid;
  EXPECT_THAT(FindVmUuid(config, sys.path()), IsOkAndHolds(kUuid));
}

}  // namespace
}  // namespace cloudscale::guest
