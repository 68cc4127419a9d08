#include "services/sla/clients/latency_reporter.h"

#include "services/sla/rpc/sla_service_fixture.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

LatencyReporter::Config Web() {
  return {.application = "web",
          .source_id = "frontend",
          .vm_uuid = "vm-1",
          .period = absl::Milliseconds(100),
          .deadline = absl::Seconds(2),
          .backoff_max = absl::Milliseconds(100)};
}

class LatencyReporterTest : public SlaServiceTest {
 protected:
  std::shared_ptr<grpc::Channel> Channel(const std::string& address) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  }
  template <typename Condition>
  void Until(Condition holds) {
    const MonoTime deadline = clock_->MonoNow() + absl::Seconds(30);
    while (!holds()) {
      ASSERT_LT(clock_->MonoNow(), deadline) << "not within 30 s";
      clock_->SleepUntil(clock_->MonoNow() + absl::Milliseconds(10), {});
    }
  }
  v1::Compliance Kept() {
    v1::GetComplianceRequest request;
    v1::GetComplianceResponse kept;
    EXPECT_THAT(Call(&v1::SlaService::Stub::GetCompliance, request, &kept), IsOk());
    return kept.compliances(0);
  }
};

TEST_F(LatencyReporterTest, ReportsWhatManyThreadsRecord) {
  StartServer();
  ASSERT_THAT(Create(WebObjective()), IsOk());
  LatencyReporter reporter(Web(), *clock_, Channel(server_->address()), 1);
  reporter.Start();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) {
          reporter.Record(absl::Milliseconds(50));
          if (i % 100 == 0) {
            reporter.RecordError();
          }
        }
      });
    }
  }
  Until([&] { return Kept().request_count() == 4040; });
  EXPECT_EQ(Kept().error_count(), 40);
  EXPECT_NEAR(absl::ToDoubleSeconds(rpc::FromProto(Kept().latency_p99())), 0.05, 0.0025);
  reporter.Stop();
  EXPECT_EQ(reporter.counts().recorded_values, 4000);
  EXPECT_EQ(reporter.counts().dropped_reports, 0);
  EXPECT_THAT(reporter.counts().last_error, IsOk());
}

TEST_F(LatencyReporterTest, KeepsReportsWhileTheServiceIsAwayAndSendsEachOnce) {
  StartServer();
  ASSERT_THAT(Create(WebObjective()), IsOk());
  const std::string address = server_->address();
  TearServerDown();
  LatencyReporter::Config config = Web();
  config.deadline = absl::Milliseconds(200);
  LatencyReporter reporter(config, *clock_, Channel(address), 1);
  reporter.Start();
  for (int i = 0; i < 10; ++i) {
    reporter.Record(absl::Milliseconds(50));
    clock_->SleepUntil(clock_->MonoNow() + config.period, {});  // each in a period of its own
  }
  Until([&] { return reporter.counts().failed_calls > 0; });
  EXPECT_EQ(reporter.counts().accepted_reports, 0);
  listen_address_ = address;
  StartServer();
  Until([&] { return Kept().request_count() == 10; });
  reporter.Stop();
  EXPECT_EQ(reporter.counts().dropped_reports, 0);
  EXPECT_GE(reporter.counts().accepted_reports, 5);
}

TEST_F(LatencyReporterTest, NeverWaitsAndDropsTheOldestWhenNobodyTakesThem) {
  LatencyReporter::Config config = Web();
  config.buffered_reports = 2;
  config.deadline = absl::Milliseconds(50);
  // A port that nobody serves.
  LatencyReporter reporter(config, *clock_, Channel("127.0.0.1:1"), 1);
  reporter.Start();
  const MonoTime begin = clock_->MonoNow();
  for (int i = 0; i < 100000; ++i) {
    reporter.Record(absl::Milliseconds(i % 1000));
  }
  EXPECT_LT(clock_->MonoNow() - begin, absl::Seconds(10));
  Until([&] {
    reporter.Record(absl::Milliseconds(1));
    return reporter.counts().dropped_reports > 2;
  });
  reporter.Stop();
  EXPECT_EQ(reporter.counts().accepted_reports, 0);
}

TEST_F(LatencyReporterTest, StopSendsWhatIsLeft) {
  StartServer();
  ASSERT_THAT(Create(WebObjective()), IsOk());
  LatencyReporter::Config config = Web();
  config.period = absl::Minutes(5);
  LatencyReporter reporter(config, *clock_, Channel(server_->address()), 1);
  // So that the call at the end does not find a channel that never connected.
  ASSERT_EQ(Send({Report(0.1)}).accepted_count(), 1);
  reporter.Start();
  reporter.Record(absl::Milliseconds(50));
  reporter.Stop();
  EXPECT_EQ(reporter.counts().accepted_reports, 1);
}

TEST_F(LatencyReporterTest, TellsWhyTheServiceRefuses) {
  StartServer();
  LatencyReporter reporter(Web(), *clock_, Channel(server_->address()), 1);
  reporter.Start();
  reporter.Record(absl::Milliseconds(50));
  Until([&] { return reporter.counts().refused_reports == 1; });
  EXPECT_THAT(reporter.counts().last_error,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("application")));
}

TEST(LatencyReporterCheckTest, P14NamesAllFaults) {
  EXPECT_THAT(LatencyReporter::Check({.application = "web", .source_id = "a"}), IsOk());
  const absl::Status status = LatencyReporter::Check({.application = "",
                                                      .source_id = std::string(200, 'x'),
                                                      .vm_uuid = std::string(65, 'x'),
                                                      .period = absl::Minutes(6),
                                                      .deadline = absl::ZeroDuration(),
                                                      .backoff_max = absl::ZeroDuration(),
                                                      .buffered_reports = 0});
  EXPECT_THAT(Violations::FromStatus(status), ::testing::SizeIs(7));
}

}  // namespace
}  // namespace cloudscale::sla
