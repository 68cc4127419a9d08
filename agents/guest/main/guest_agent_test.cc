#include "agents/guest/main/guest_agent.h"

#include <memory>
#include <string>

#include "common/metrics/metric_sink.h"
#include "common/rpc/config_loader.h"
#include "common/status/violations.h"
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

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
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
    config_.set_vm_uuid(kUuid);
    config_.set_monitor_address("127.0.0.1:1");
    config_.set_proc_path(proc_.path());
  }
  ~GuestAgentTest() override { server_->Shutdown(std::chrono::system_clock::time_point()); }

  absl::StatusOr<std::unique_ptr<GuestAgent>> Create() {
    return GuestAgent::Create(config_, environment_, proc_.File("no-sys"));
  }

  const testing::TempDir proc_;
  Monitor monitor_;
  std::unique_ptr<grpc::Server> server_;
  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  NullMetricSink metrics_;
  const rpc::Environment environment_{*clock_, metrics_, 1, [this](const std::string&) {
                                        return server_->InProcessChannel(grpc::ChannelArguments());
                                      }};
  config::v1::GuestAgentConfig config_;
};

TEST_F(GuestAgentTest, ReportsEveryPeriodAndFollowsTheMonitorsPeriod) {
  config_.mutable_period()->set_seconds(60);  // the monitor asks for 100 ms
  auto agent = Create();
  CS_ASSERT_OK(agent);
  EXPECT_FALSE((*agent)->Readiness().ok());
  CS_ASSERT_OK((*agent)->Start());
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
  (*agent)->Stop();
  (*agent)->Stop();
}

TEST_F(GuestAgentTest, GoesOnWhenAFileBreaksAndMendsAgain) {
  config_.mutable_period()->set_nanos(100'000'000);
  auto agent = Create();
  CS_ASSERT_OK(agent);
  CS_ASSERT_OK((*agent)->Start());
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
  CS_EXPECT_OK((*agent)->Readiness());
}

TEST_F(GuestAgentTest, FaultsOfTheConfigurationAreNamedAtOnce) {
  config::v1::GuestAgentConfig config;
  CS_ASSERT_OK(
      rpc::ParseYaml("vm_uuid: nonsense\nmonitor_address: host.example:7000\n"
                     "period: 90s\nbuffer_reports: 5000\n",
                     &config));
  Violations violations;
  ValidateGuestAgentConfig(config, &violations);
  EXPECT_THAT(violations.ToStatus(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("vm_uuid"), HasSubstr("tls"), HasSubstr("period"),
                             HasSubstr("buffer_reports"))));
  Violations empty;
  ValidateGuestAgentConfig(config::v1::GuestAgentConfig(), &empty);
  EXPECT_THAT(empty.ToStatus(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("monitor_address")));
}

TEST_F(GuestAgentTest, WithoutAnIdentityItDoesNotStart) {
  config_.clear_vm_uuid();
  EXPECT_THAT(Create(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("vm_uuid")));
}

}  // namespace
}  // namespace cloudscale::guest
