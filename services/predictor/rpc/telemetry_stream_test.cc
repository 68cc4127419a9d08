// The telemetry stream of the predictor as a monitor sees it.
#include <atomic>
#include <cmath>
#include <thread>

#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/rpc/predictor_rpc_fixture.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

TEST_F(PredictorRpcTest, StreamAnswersWithForecastsOfTheNewestSequence) {
  PredictorServer server(config_, clock_);
  Host host(server);
  const auto batch = host.SendUntil(200, 1.5);
  ASSERT_TRUE(batch.has_value());
  EXPECT_GE(batch->acknowledged_sequence(), 199);
  ASSERT_EQ(batch->forecasts_size(), 2);
  ASSERT_EQ(batch->host_forecasts_size(), 2);
  const common::v1::Forecast& cpu = batch->forecasts(0);
  EXPECT_EQ(cpu.vm_uuid(), kVm);
  EXPECT_EQ(cpu.resource(), common::v1::RESOURCE_CPU);
  EXPECT_TRUE(cpu.is_warm());
  EXPECT_EQ(cpu.model(), "portfolio");
  EXPECT_THAT(cpu.reason(), ::testing::MatchesRegex("portfolio: .* [0-9]+ %, .* [0-9]+ %"));
  ASSERT_EQ(cpu.horizons_size(), 4);
  EXPECT_EQ(cpu.horizons(1).horizon().seconds(), 100);
  ASSERT_EQ(cpu.horizons(0).quantiles_size(), 7);
  EXPECT_THAT(cpu.horizons(0).quantiles(0).value(), AllOf(Ge(1.5), Le(1.54)));
  EXPECT_THAT(cpu.advised_allocation(), AllOf(Ge(1.5), Le(1.7)));
  EXPECT_GT(cpu.violation_price(), 0);
  EXPECT_EQ(batch->host_forecasts(0).host_id(), "host-1");
  host.stream().WritesDone();
  v1::StreamTelemetryResponse rest;
  while (host.stream().Read(&rest)) {
  }
  EXPECT_THAT(host.Finish(), IsOk());
}

TEST_F(PredictorRpcTest, AVmHeldBackInBurstsWithinItsLimitGotWhatItWanted) {
  PredictorServer server(config_, clock_);
  Host host(server);
  host.adjust = [](v1::TelemetrySample& sample) {
    sample.set_cpu_limit_cores(2);
    sample.set_cpu_throttled_ratio(0.3);
    sample.set_vcpu_count(8);
  };
  const auto calm = host.SendUntil(300, 1);
  ASSERT_TRUE(calm.has_value());
  EXPECT_LE(calm->forecasts(0).advised_allocation(), 1.15);

  host.adjust = [](v1::TelemetrySample& sample) {
    sample.set_cpu_limit_cores(1);
    sample.set_cpu_demand_cores(1.3);  // more than the limit, so held back, with or without a sign
    sample.set_vcpu_count(8);
  };
  const auto short_of_it = host.SendUntil(340, 1);
  ASSERT_TRUE(short_of_it.has_value());
  EXPECT_GE(short_of_it->forecasts(0).advised_allocation(), 1.5);  // beyond the estimate itself
}

TEST_F(PredictorRpcTest, EveryBatchIsAcknowledgedWithoutForecasts) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.Send(1));
  v1::StreamTelemetryResponse response;
  ASSERT_TRUE(host.stream().Read(&response));
  EXPECT_EQ(response.batch().acknowledged_sequence(), 1);
  EXPECT_EQ(response.batch().forecasts_size(), 0);
}

TEST_F(PredictorRpcTest, RepeatedBatchesAreAcknowledgedAndCounted) {
  PredictorServer server(config_, clock_);
  Host host(server);
  v1::StreamTelemetryRequest request = host.Next(1);
  v1::StreamTelemetryResponse response;
  for (int64_t sequence = 1; sequence <= 4; ++sequence) {
    request.mutable_batch()->mutable_header()->set_sequence(sequence);  // not what makes it new
    ASSERT_TRUE(host.stream().Write(request));
    ASSERT_TRUE(host.stream().Read(&response));
    EXPECT_EQ(response.batch().acknowledged_sequence(), sequence);
  }
  EXPECT_EQ(server.counter("cloudscale_predictor_repeated_batches_total"), 3);
}

TEST_F(PredictorRpcTest, P14BadBatchEndsTheStreamNamingTheField) {
  PredictorServer server(config_, clock_);
  const auto refusal = [&](auto change) {
    Host host(server);
    v1::StreamTelemetryRequest request = host.Next(1);
    change(*request.mutable_batch());
    host.stream().Write(request);
    v1::StreamTelemetryResponse response;
    while (host.stream().Read(&response)) {
    }
    return host.Finish();
  };
  EXPECT_THAT(refusal([](v1::TelemetryBatch& b) {
                b.mutable_samples(0)->set_cpu_usage_cores(std::nan(""));
                b.mutable_samples(0)->set_memory_usage_bytes(-1);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("batch.samples[0].cpu_usage_cores"), HasSubstr("nan"),
                             HasSubstr("batch.samples[0].memory_usage_bytes"))));
  EXPECT_THAT(refusal([](v1::TelemetryBatch& b) { b.clear_header(); }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("batch.header.host_id"), HasSubstr("batch.header.sequence"),
                             HasSubstr("batch.header.sample_time"))));
  EXPECT_THAT(refusal([](v1::TelemetryBatch& b) { b.mutable_samples(0)->clear_vm_uuid(); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("batch.samples[0].vm_uuid")));
  EXPECT_THAT(refusal([](v1::TelemetryBatch& b) { *b.add_samples() = b.samples(0); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("batch.samples[1].vm_uuid")));
  EXPECT_THAT(refusal([](v1::TelemetryBatch& b) {
                b.mutable_samples(0)->set_cpu_quality(common::v1::SAMPLE_QUALITY_UNSPECIFIED);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cpu_quality")));
  v1::GetStatusResponse status;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetStatus, {}, &status));
  EXPECT_EQ(status.dropped_batch_count(), 5);
  EXPECT_EQ(status.series_count(), 0);
}

TEST_F(PredictorRpcTest, SecondStreamOfAHostEndsTheFirst) {
  PredictorServer server(config_, clock_);
  Host first(server);
  ASSERT_TRUE(first.Send(1));
  v1::StreamTelemetryResponse response;
  ASSERT_TRUE(first.stream().Read(&response));
  Host second(server, "host-1", 2);
  ASSERT_TRUE(second.Send(1));
  ASSERT_TRUE(second.stream().Read(&response));
  while (first.stream().Read(&response)) {
  }
  EXPECT_THAT(first.Finish(), StatusIs(absl::StatusCode::kAborted, HasSubstr("host-1")));
  EXPECT_TRUE(second.SendUntil(40, 1).has_value());
}

TEST_F(PredictorRpcTest, StreamsAreBounded) {
  config_.mutable_limits()->set_max_streams(1);
  PredictorServer server(config_, clock_);
  Host first(server, "host-1");
  ASSERT_TRUE(first.Send(1));
  v1::StreamTelemetryResponse response;
  ASSERT_TRUE(first.stream().Read(&response));
  Host second(server, "host-2");
  second.Send(1);
  while (second.stream().Read(&response)) {
  }
  EXPECT_THAT(second.Finish(), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(PredictorRpcTest, StopEndsRunningStreams) {
  PredictorServer server(config_, clock_);
  Host host(server);
  std::atomic<int64_t> sent = 0;
  std::jthread writer([&](std::stop_token stop) {
    while (!stop.stop_requested() && host.Send(1)) {
      ++sent;
    }
  });
  v1::StreamTelemetryResponse response;
  ASSERT_TRUE(host.stream().Read(&response));
  std::jthread stopper([&] { server.Stop(); });
  while (host.stream().Read(&response)) {
  }
  writer.request_stop();
  writer.join();
  EXPECT_THAT(host.Finish(), StatusIs(absl::StatusCode::kUnavailable));
  stopper.join();
  EXPECT_GT(sent.load(), 0);
}

TEST_F(PredictorRpcTest, SlowReaderDoesNotHoldUpTelemetry) {
  PredictorServer server(config_, clock_);
  Host host(server);
  // Nothing is read meanwhile.
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(host.Send(1));
  }
  ASSERT_TRUE(host.SendUntil(5050, 1).has_value());
}

}  // namespace
}  // namespace cloudscale::predictor
