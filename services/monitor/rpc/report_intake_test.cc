#include "services/monitor/rpc/report_intake.h"

#include <string>

#include "common/rpc/time_conversion.h"
#include "common/testing/recording_metric_sink.h"
#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kVm[] = "11111111-1111-1111-1111-111111111111";
constexpr char kOther[] = "22222222-2222-2222-2222-222222222222";

class ReportIntakeTest : public ::testing::Test {
 protected:
  ReportIntakeTest() {
    state_.WithGuestReports([](GuestReportStore& store) { store.SetKnownVms({kVm, kOther}); });
  }
  void Add(int64_t sequence, const std::string& vm = kVm) {
    guest::v1::GuestReport& report = *request_.add_reports();
    report.set_vm_uuid(vm);
    report.set_boot_id("boot");
    report.set_sequence(sequence);
    *report.mutable_sample_time() = rpc::ToProto(clock_.WallNow());
    *report.mutable_uptime() = rpc::ToProto(absl::Seconds(sequence));
    report.set_memory_total_bytes(1000);
    report.set_memory_available_bytes(300);
  }
  absl::Status Take() { return intake_.Take(kVm, request_, progress_, &answer_); }
  double Refusals(const char* reason) {
    return metrics_.value("cloudscale_monitor_guest_refusals_total", {{"reason", reason}});
  }

  SimClock clock_;
  cloudscale::testing::RecordingMetricSink metrics_;
  MonitorState state_{MonitorState::Config()};
  ReportIntake intake_{state_, clock_, metrics_};
  ReportIntake::Progress progress_;
  guest::v1::StreamReportsRequest request_;
  guest::v1::StreamReportsResponse answer_;
};

TEST_F(ReportIntakeTest, TakesReportsAndTellsThePeriod) {
  Add(1);
  Add(2);
  CS_EXPECT_OK(Take());
  EXPECT_EQ(answer_.acknowledged_sequence(), 2);
  EXPECT_EQ(answer_.period().seconds(), 1);
  EXPECT_EQ(metrics_.value("cloudscale_monitor_guest_reports_total", {{"result", "taken"}}), 2);
}

TEST_F(ReportIntakeTest, AnotherVmsReportEndsTheMessageAndIsNotAcknowledged) {
  Add(1);
  Add(2, kOther);
  Add(3);
  EXPECT_THAT(Take(), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(answer_.acknowledged_sequence(), 1);
  EXPECT_THAT(answer_.refused_reason(), HasSubstr(kOther));
  EXPECT_EQ(Refusals("other_vm"), 1);
  state_.WithGuestReports([](GuestReportStore& store) {
    EXPECT_FALSE(store.held().contains(kOther));
    EXPECT_EQ(store.held().at(kVm).report.sequence, 1);
  });
}

TEST_F(ReportIntakeTest, FloodsAndLiesAreCountedByKind) {
  for (int64_t i = 1; i <= 60; ++i) {
    Add(i);
  }
  for (int i = 0; i < 3; ++i) {
    CS_EXPECT_OK(Take());
  }
  EXPECT_EQ(Refusals("flood"), 180 - GuestReportStore::kBurstReports);
  clock_.Advance(absl::Minutes(1));
  request_.Clear();
  Add(100);
  request_.mutable_reports(0)->set_memory_available_bytes(2000);
  CS_EXPECT_OK(Take());
  EXPECT_EQ(answer_.acknowledged_sequence(), 100) << "sending a lie again would not help";
  EXPECT_EQ(Refusals("invalid"), 1);
  Add(101);
  for (int i = 0; i < 60; ++i) {
    Add(102);
  }
  EXPECT_THAT(Take(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reports")));
  intake_.CountNonsense(kVm);
  EXPECT_EQ(Refusals("invalid"), 3);
}

TEST_F(ReportIntakeTest, AVmThatIsNotKnownYetIsNotAcknowledged) {
  state_.WithGuestReports([](GuestReportStore& store) { store.SetKnownVms({}); });
  Add(1);
  CS_EXPECT_OK(Take());
  EXPECT_EQ(answer_.acknowledged_sequence(), 0);
  EXPECT_EQ(Refusals("unknown_vm"), 1);
}

}  // namespace
}  // namespace cloudscale::monitor
