#include "common/rpc/metrics_registry.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"

namespace cloudscale::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(StatusConversionTest, EveryCodeGoesThereAndBack) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), "why");
    EXPECT_EQ(FromGrpcStatus(ToGrpcStatus(status)), status) << code;
  }
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
}

TEST(StatusConversionTest, P14FieldViolationsSurviveTheWire) {
  Violations violations;
  violations.Add("policy.cpu.max", "-1", "0 < x");
  violations.Add("host_id", "", "not empty");
  const absl::Status back = FromGrpcStatus(ToGrpcStatus(violations.ToStatus()));
  EXPECT_EQ(Violations::FromStatus(back), violations.kept());
}

TEST(StatusConversionTest, VeryLongMessagesAreCut) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError(std::string(100'000, 'x')));
  EXPECT_LE(status.error_message().size(), 2048u);
}

TEST(TimeConversionTest, RoundTripsToTheNanosecond) {
  for (const absl::Duration d :
       {absl::ZeroDuration(), absl::Nanoseconds(1), -absl::Milliseconds(1500),
        absl::Hours(100) + absl::Nanoseconds(7)}) {
    EXPECT_EQ(FromProto(ToProto(d)), d);
  }
  const absl::Time t = absl::FromUnixNanos(1'700'000'000'123'456'789);
  EXPECT_EQ(FromProto(ToProto(t)), t);
}

TEST(TimeConversionTest, ClampsWhatDoesNotFit) {
  EXPECT_EQ(ToProto(absl::InfiniteFuture()).seconds(), 253402300799);
  EXPECT_EQ(ToProto(absl::InfiniteDuration()).seconds(), 315576000000);
  EXPECT_EQ(ToProto(-absl::InfiniteDuration()).seconds(), -315576000000);
}

TEST(MetricsRegistryTest, ExposesCountersGaugesAndHistograms) {
  MetricsRegistry metrics;
  metrics.Count("cloudscale_x_total", {{"kind", "a"}}, 2);
  metrics.Count("cloudscale_x_total", {{"kind", "a"}}, 1);
  metrics.Set("cloudscale_y", {}, 1.5);
  metrics.ObserveSeconds("cloudscale_z_seconds", {}, 0.02);
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("cloudscale_x_total{kind=\"a\"} 3"));
  EXPECT_THAT(text, HasSubstr("cloudscale_y 1.5"));
  EXPECT_THAT(text, HasSubstr("cloudscale_z_seconds_count 1"));
}

TEST(MetricsRegistryTest, RemovedGaugesAreGoneAndCanComeBack) {
  MetricsRegistry metrics;
  metrics.Set("cloudscale_vm", {{"vm", "a"}}, 1);
  metrics.Remove("cloudscale_vm", {{"vm", "a"}});
  EXPECT_THAT(metrics.Expose(), Not(HasSubstr("vm=\"a\"")));
  metrics.Set("cloudscale_vm", {{"vm", "a"}}, 2);
  EXPECT_THAT(metrics.Expose(), HasSubstr("cloudscale_vm{vm=\"a\"} 2"));
}

TEST(MetricsRegistryTest, BoundsTheNumberOfLabelSets) {
  MetricsRegistry metrics;
  for (size_t i = 0; i < MetricsRegistry::kMaxLabelSets + 5; ++i) {
    metrics.Set("cloudscale_many", {{"vm", std::to_string(i)}}, 1);
  }
  EXPECT_THAT(metrics.Expose(), HasSubstr("cloudscale_metrics_refused_total 5"));
}

}  // namespace
}  // namespace cloudscale::rpc
