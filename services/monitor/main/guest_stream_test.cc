// Reports of guests, who are not trusted, over gRPC.

#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/monitor/main/component_fixture.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

TEST_F(MonitorComponentTest, GuestReportReachesTheNextSnapshot) {
  Start({});
  grpc::ClientContext context;
  auto stream = guest_stub_->StreamReports(&context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  *request.add_reports() = Report(2);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.acknowledged_sequence(), 2);
  EXPECT_EQ(answer.refused_count(), 0) << answer.refused_reason();
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer)) << "a repeat is no fault";
  EXPECT_EQ(answer.acknowledged_sequence(), 2);
  EXPECT_EQ(answer.refused_count(), 0);
  Tick();
  v1::GetVmRequest get;
  get.set_vm_uuid(Uuid(0));
  v1::GetVmResponse vm;
  CS_ASSERT_OK(Call(&v1::MonitorService::Stub::GetVm, get, &vm));
  EXPECT_EQ(vm.vm().latest().memory_used_bytes(), 724 * kMiB) << "with 24 of its kernel";
  EXPECT_EQ(vm.vm().latest().guest_source(), v1::GUEST_SOURCE_AGENT);
  EXPECT_EQ(rpc::FromProto(vm.vm().latest().guest_report_age()), absl::Seconds(1));
  context.TryCancel();
}

TEST_F(MonitorComponentTest, P8BadReportsAreRefusedWithTheReason) {
  Start({});
  grpc::ClientContext context;
  auto stream = guest_stub_->StreamReports(&context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  request.mutable_reports(0)->set_memory_available_bytes(-5);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.refused_count(), 1);
  EXPECT_THAT(answer.refused_reason(), HasSubstr("memory_available_bytes"));
  EXPECT_EQ(answer.acknowledged_sequence(), 1) << "sending it again would not help";

  request.Clear();
  *request.add_reports() = Report(2, /*vm=*/1);
  ASSERT_TRUE(stream->Write(request));
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);

  grpc::ClientContext other;
  stream = guest_stub_->StreamReports(&other);
  ASSERT_TRUE(stream->Write({}));
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_THAT(rpc::FromGrpcStatus(stream->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reports")));
}

TEST_F(MonitorComponentTest, ReportOfAVmNotYetKnownIsNotAcknowledged) {
  Start({});
  grpc::ClientContext context;
  auto stream = guest_stub_->StreamReports(&context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(7, /*vm=*/2);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.acknowledged_sequence(), 0);
  host_.SetVmCount(3);
  Tick();
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.acknowledged_sequence(), 7);
  context.TryCancel();
}

TEST_F(MonitorComponentTest, SecondGuestStreamEndsTheFirst) {
  Start({});
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  guest::v1::StreamReportsResponse answer;
  grpc::ClientContext old_context;
  auto old_stream = guest_stub_->StreamReports(&old_context);
  ASSERT_TRUE(old_stream->Write(request) && old_stream->Read(&answer));
  grpc::ClientContext new_context;
  auto new_stream = guest_stub_->StreamReports(&new_context);
  ASSERT_TRUE(new_stream->Write(request) && new_stream->Read(&answer));
  EXPECT_FALSE(old_stream->Read(&answer));
  EXPECT_EQ(old_stream->Finish().error_code(), grpc::StatusCode::ABORTED);
  new_context.TryCancel();
}

}  // namespace
}  // namespace cloudscale::monitor
