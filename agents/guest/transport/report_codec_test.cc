// The messages written by hand against the generated code.
#include "agents/guest/transport/report_codec.h"

#include <string>
#include <vector>

#include "cloudscale/guest/v1/guest_report_service.pb.h"
#include "common/random/rng.h"
#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::StatusIs;

constexpr char kUuid[] = "9f8d5740-ca74-46de-a9d3-19b1732fe4d6";

Pressure SomePressure(double ratio) {
  return {.some_ratio = ratio,
          .full_ratio = ratio / 2,
          .some_total = absl::Milliseconds(1500),
          .full_total = absl::Microseconds(7)};
}

// No two fields alike, so that no two can be mixed up.
Report FullReport() {
  return {.boot_id = "boot",
          .sequence = 300,
          .sample_time = absl::FromUnixNanos(1'795'347'000'123'456'789),
          .uptime = absl::Seconds(2150.52),
          .memory = {.total_bytes = int64_t{1} << 40,
                     .available_bytes = 7,
                     .free_bytes = 8,
                     .cached_bytes = 9,
                     .swap_total_bytes = 10,
                     .swap_free_bytes = 11},
          .paging = {.swap_in_bytes = 12,
                     .swap_out_bytes = 13,
                     .major_fault_count = 14,
                     .oom_kill_count = 15},
          .cpu_pressure = SomePressure(0.16),
          .memory_pressure = SomePressure(0.17),
          .io_pressure = SomePressure(0.18),
          .load = LoadInfo{.load_average = 0.2, .run_queue_length = 19},
          .cpu_steal_ratio = 0.21,
          .vcpu_count = 22};
}

v1::Pressure Expected(const Pressure& pressure) {
  v1::Pressure out;
  out.set_some_ratio(pressure.some_ratio);
  out.set_full_ratio(*pressure.full_ratio);
  *out.mutable_some_total() = rpc::ToProto(pressure.some_total);
  *out.mutable_full_total() = rpc::ToProto(*pressure.full_total);
  return out;
}

v1::GuestReport ExpectedFull(const Report& report) {
  v1::GuestReport out;
  out.set_vm_uuid(kUuid);
  out.set_boot_id(report.boot_id);
  out.set_sequence(report.sequence);
  *out.mutable_sample_time() = rpc::ToProto(report.sample_time);
  *out.mutable_uptime() = rpc::ToProto(report.uptime);
  out.set_memory_total_bytes(report.memory.total_bytes);
  out.set_memory_available_bytes(7);
  out.set_memory_free_bytes(8);
  out.set_memory_cached_bytes(9);
  out.set_swap_total_bytes(10);
  out.set_swap_free_bytes(11);
  out.set_swap_in_bytes(12);
  out.set_swap_out_bytes(13);
  out.set_major_fault_count(14);
  out.set_oom_kill_count(15);
  *out.mutable_cpu_pressure() = Expected(*report.cpu_pressure);
  *out.mutable_memory_pressure() = Expected(*report.memory_pressure);
  *out.mutable_io_pressure() = Expected(*report.io_pressure);
  out.set_run_queue_length(19);
  out.set_load_average(0.2);
  out.set_cpu_steal_ratio(0.21);
  out.set_vcpu_count(22);
  out.set_agent_version(kAgentVersion);
  return out;
}

TEST(EncodeRequestTest, IsWhatTheGeneratedCodeReadsFieldByField) {
  const Report full = FullReport();
  v1::StreamReportsRequest request;
  ASSERT_TRUE(request.ParseFromString(EncodeRequest(kUuid, {full, Report()})));
  ASSERT_EQ(request.reports_size(), 2);
  const v1::GuestReport expected = ExpectedFull(full);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(request.reports(0), expected))
      << request.reports(0).DebugString();
  // A field that is new in the contract must not be forgotten here.
  const google::protobuf::Descriptor& all = *v1::GuestReport::descriptor();
  for (int i = 0; i < all.field_count(); ++i) {
    EXPECT_TRUE(expected.GetReflection()->HasField(expected, all.field(i))) << all.field(i)->name();
  }
}

TEST(EncodeRequestTest, AbsentStaysAbsentAndZeroDoesNot) {
  Report report;
  report.memory.total_bytes = 1;
  report.memory.available_bytes = 0;
  report.cpu_steal_ratio = 0;
  report.io_pressure = Pressure();
  v1::StreamReportsRequest request;
  ASSERT_TRUE(request.ParseFromString(EncodeRequest(kUuid, {report})));
  const v1::GuestReport& wire = request.reports(0);
  EXPECT_TRUE(wire.has_memory_available_bytes());
  EXPECT_TRUE(wire.has_cpu_steal_ratio());
  EXPECT_TRUE(wire.has_io_pressure());
  EXPECT_FALSE(wire.io_pressure().has_full_ratio());
  EXPECT_FALSE(wire.io_pressure().has_full_total());
  EXPECT_FALSE(wire.has_memory_free_bytes());
  EXPECT_FALSE(wire.has_cpu_pressure());
  EXPECT_FALSE(wire.has_vcpu_count());
}

TEST(DecodeResponseTest, ReadsWhatTheGeneratedCodeWrites) {
  v1::StreamReportsResponse response;
  response.set_acknowledged_sequence(int64_t{1} << 40);
  *response.mutable_period() = rpc::ToProto(absl::Milliseconds(2500));
  response.set_refused_count(3);
  response.set_refused_reason(std::string(600, 'x'));
  const auto answer = DecodeResponse(response.SerializeAsString());
  CS_ASSERT_OK(answer);
  EXPECT_EQ(answer->acknowledged_sequence, int64_t{1} << 40);
  EXPECT_EQ(answer->period, absl::Milliseconds(2500));
  EXPECT_EQ(answer->refused_count, 3);
  EXPECT_EQ(answer->refused_reason, std::string(500, 'x'));

  const auto empty = DecodeResponse("");
  CS_ASSERT_OK(empty);
  EXPECT_EQ(empty->acknowledged_sequence, 0);
  EXPECT_EQ(empty->period, std::nullopt);

  response.set_acknowledged_sequence(-1);
  EXPECT_EQ(DecodeResponse(response.SerializeAsString())->acknowledged_sequence, -1);
}

TEST(DecodeResponseTest, PassesOverUnknownFieldsAndRefusesNonsense) {
  // Fields 9 of each kind, then the acknowledgement.
  const std::string unknown("\x48\x01\x49........\x4A\x02zz\x4D....\x08\x05", 22);
  CS_ASSERT_OK(DecodeResponse(unknown));
  EXPECT_EQ(DecodeResponse(unknown)->acknowledged_sequence, 5);
  for (const std::string& bad :
       {std::string("\x08"), std::string("\x12\x7F"), std::string("\0", 1), std::string("\x4B"),
        std::string(11, '\xFF'), std::string("\x12\x01\x08")}) {
    EXPECT_THAT(DecodeResponse(bad), StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

// The monitor is trusted little: no answer may do harm, and what the generated code takes is taken
// alike.
TEST(DecodeResponseTest, AgreesWithTheGeneratedCodeOnRandomBytes) {
  Rng rng(11);
  for (int round = 0; round < 20'000; ++round) {
    v1::StreamReportsResponse response;
    response.set_acknowledged_sequence(rng.UniformInt(1 << 20));
    response.mutable_period()->set_seconds(rng.UniformInt(100));
    response.set_refused_reason("why");
    std::string bytes = response.SerializeAsString();
    for (int64_t i = rng.UniformInt(3); i > 0; --i) {
      bytes[static_cast<size_t>(rng.UniformInt(static_cast<int64_t>(bytes.size())))] =
          static_cast<char>(rng.UniformInt(256));
    }
    const auto answer = DecodeResponse(bytes);
    v1::StreamReportsResponse generated;
    if (answer.ok() && generated.ParseFromString(bytes) &&
        generated.GetReflection()->GetUnknownFields(generated).empty()) {
      ASSERT_EQ(answer->acknowledged_sequence, generated.acknowledged_sequence());
      ASSERT_EQ(answer->refused_count, generated.refused_count());
    }
  }
}

}  // namespace
}  // namespace cloudscale::guest
