// The predictor as its clients see it: a real server on a port of its own.
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/rpc/component.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/sync/mutex.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/predictor/main/predictor_component.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kVm[] = "0f8fad5b-d9cb-469f-a165-708677289501";

// Adds the counters up by name, whatever their labels.
class CounterSink final : public MetricSink {
 public:
  void Count(absl::string_view name, const Labels&, double amount) override {
    MutexLock lock(&mutex_);
    counters_[std::string(name)] += amount;
  }
  void Set(absl::string_view, const Labels&, double) override {}
  void Remove(absl::string_view, const Labels&) override {}
  void ObserveSeconds(absl::string_view, const Labels&, double) override {}

  double counter(const std::string& name) const {
    MutexLock lock(&mutex_);
    const auto it = counters_.find(name);
    return it == counters_.end() ? 0 : it->second;
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, double> counters_ ABSL_GUARDED_BY(mutex_);
};

// A server process without the process.
class PredictorServer {
 public:
  PredictorServer(const config::v1::PredictorConfig& config, SimClock& clock)
      : environment_{.clock = clock, .metrics = metrics_, .seed = 1, .channel = nullptr} {
    auto component = MakePredictorComponent(config, environment_);
    EXPECT_THAT(component, IsOk());
    component_ = *std::move(component);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    for (grpc::Service* service : component_->services()) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    start_status_ = component_->Start();
    stub_ = v1::PredictorService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port_), grpc::InsecureChannelCredentials()));
  }
  ~PredictorServer() { Stop(); }

  void Stop() {
    if (server_ != nullptr) {
      component_->Stop();
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
      server_.reset();
    }
  }

  v1::PredictorService::Stub& stub() { return *stub_; }
  rpc::Component& component() { return *component_; }
  const absl::Status& start_status() const { return start_status_; }
  double counter(const std::string& name) const { return metrics_.counter(name); }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::PredictorService::Stub::*method)(grpc::ClientContext*,
                                                                       const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return rpc::FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }

 private:
  CounterSink metrics_;
  rpc::Environment environment_;
  int port_ = 0;
  std::unique_ptr<rpc::Component> component_;
  std::unique_ptr<grpc::Server> server_;
  absl::Status start_status_;
  std::unique_ptr<v1::PredictorService::Stub> stub_;
};

using ClientStream =
    grpc::ClientReaderWriter<v1::StreamTelemetryRequest, v1::StreamTelemetryResponse>;

// The monitor's end of a stream.
class Host {
 public:
  Host(PredictorServer& server, std::string host_id = "host-1", int64_t first_sequence = 1)
      : host_id_(std::move(host_id)), sequence_(first_sequence) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    stream_ = server.stub().StreamTelemetry(&context_);
  }

  v1::StreamTelemetryRequest Next(double cores) {
    v1::StreamTelemetryRequest request;
    v1::TelemetryBatch* batch = request.mutable_batch();
    common::v1::StreamHeader* header = batch->mutable_header();
    header->set_host_id(host_id_);
    header->set_boot_id("boot-1");
    header->set_sequence(sequence_);
    *header->mutable_sample_time() = rpc::ToProto(absl::FromUnixSeconds(1'800'000'000 + sequence_));
    *header->mutable_monotonic_time() = rpc::ToProto(absl::Seconds(sequence_));
    v1::TelemetrySample* sample = batch->add_samples();
    sample->set_vm_uuid(kVm);
    sample->set_cpu_usage_cores(cores);
    sample->set_cpu_quality(common::v1::SAMPLE_QUALITY_FRESH);
    sample->set_memory_usage_bytes(1 << 30);
    sample->set_memory_quality(common::v1::SAMPLE_QUALITY_FRESH);
    ++sequence_;
    return request;
  }

  bool Send(double cores) { return stream_->Write(Next(cores)); }

  // Sends samples until one with this sequence, then reads until it is answered by forecasts.
  // Returns the answer; not set when the stream ended.
  std::optional<v1::ForecastBatch> SendUntil(int64_t last, double cores) {
    while (sequence_ <= last) {
      if (!Send(cores)) {
        return std::nullopt;
      }
    }
    v1::StreamTelemetryResponse response;
    while (stream_->Read(&response)) {
      for (const auto& forecast : response.batch().forecasts()) {
        // A step ends with the first sample of the next one.
        if (forecast.based_on_sequence() >= last - 1) {
          return response.batch();
        }
      }
    }
    return std::nullopt;
  }

  absl::Status Finish() { return rpc::FromGrpcStatus(stream_->Finish()); }
  ClientStream& stream() { return *stream_; }
  int64_t sequence() const { return sequence_; }

 private:
  const std::string host_id_;
  int64_t sequence_;
  grpc::ClientContext context_;
  std::unique_ptr<ClientStream> stream_;
};

class PredictorRpcTest : public ::testing::Test {
 protected:
  PredictorRpcTest() {
    config_.mutable_step()->set_seconds(10);
    config_.mutable_checkpoint_period()->set_seconds(3600);
  }
  static v1::GetForecastRequest CpuOfVm() {
    v1::GetForecastRequest request;
    request.set_vm_uuid(kVm);
    request.set_resource(common::v1::RESOURCE_CPU);
    return request;
  }

  testing::TempDir dir_;
  SimClock clock_{absl::FromUnixSeconds(1'800'000'000)};
  config::v1::PredictorConfig config_;
};

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
  EXPECT_EQ(cpu.model(), "cloudscale");
  EXPECT_EQ(cpu.reason(), "markov: 1 states");
  ASSERT_EQ(cpu.horizons_size(), 3);
  EXPECT_EQ(cpu.horizons(1).horizon().seconds(), 100);
  ASSERT_EQ(cpu.horizons(0).quantiles_size(), 7);
  EXPECT_NEAR(cpu.horizons(2).quantiles(6).value(), 1.5, 1e-9);
  EXPECT_NEAR(cpu.advised_allocation(), 1.5, 1e-9);
  EXPECT_EQ(batch->host_forecasts(0).host_id(), "host-1");
  host.stream().WritesDone();
  v1::StreamTelemetryResponse rest;
  while (host.stream().Read(&rest)) {
  }
  EXPECT_THAT(host.Finish(), IsOk());
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

TEST_F(PredictorRpcTest, ForecastsCanBeAskedForAndListed) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(200, 2).has_value());
  v1::GetForecastResponse forecast;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast));
  EXPECT_NEAR(forecast.forecast().horizons(0).expected(), 2, 1e-9);
  v1::GetForecastRequest sum;
  sum.set_host_id("host-1");
  sum.set_resource(common::v1::RESOURCE_MEMORY);
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, sum, &forecast));
  EXPECT_NEAR(forecast.forecast().horizons(0).expected(), 1 << 30, 1);
  v1::GetForecastRequest unknown = CpuOfVm();
  unknown.set_vm_uuid("nobody");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, unknown, &forecast),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody")));
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, {}, &forecast),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("vm_uuid")));
  unknown = CpuOfVm();
  unknown.set_model("max");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, unknown, &forecast),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("max")));

  v1::ListForecastsRequest list;
  list.set_page_size(3);
  v1::ListForecastsResponse page;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListForecasts, list, &page));
  EXPECT_EQ(page.forecasts_size(), 3);
  list.set_page_token(page.next_page_token());
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListForecasts, list, &page));
  ASSERT_EQ(page.forecasts_size(), 1);
  EXPECT_EQ(page.forecasts(0).vm_uuid(), kVm);
  EXPECT_EQ(page.forecasts(0).resource(), common::v1::RESOURCE_MEMORY);
  EXPECT_TRUE(page.next_page_token().empty());
  list.set_page_token("made up");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::ListForecasts, list, &page),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")));
}

TEST_F(PredictorRpcTest, ModelsAreListedAndChosenOnce) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(50, 2).has_value());
  v1::ListModelsResponse models;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListModels, {}, &models));
  EXPECT_EQ(models.models_size(), 9);
  EXPECT_EQ(models.models(2).name(), "cloudscale");
  EXPECT_TRUE(models.models(2).is_default());
  EXPECT_EQ(models.models(2).series_count(), 4);
  v1::SelectModelRequest select;
  select.set_vm_uuid(kVm);
  select.set_resource(common::v1::RESOURCE_CPU);
  select.set_model("max");
  select.set_request_id("r-1");
  v1::SelectModelResponse answer;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::SelectModel, select, &answer));
  EXPECT_EQ(answer.previous_model(), "cloudscale");
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::SelectModel, select, &answer));
  EXPECT_EQ(answer.previous_model(), "cloudscale");  // the first answer again
  const auto batch = host.SendUntil(70, 2);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->forecasts(0).model(), "max");
  select.set_request_id("r-2");
  select.set_model("oracle");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::SelectModel, select, &answer),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("oracle")));
}

TEST_F(PredictorRpcTest, RetrainIsDoneOncePerRequestId) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(500, 2).has_value());
  clock_.Advance(absl::Minutes(10));
  v1::RetrainRequest request;
  request.add_vm_uuids(kVm);
  request.set_resource(common::v1::RESOURCE_CPU);
  request.set_request_id("retrain-1");
  v1::RetrainResponse response;
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::Retrain, request, &response),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reason")));
  request.set_reason(v1::RETRAIN_REASON_UNDER_ESTIMATES);
  request.set_validate_only(true);
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::Retrain, request, &response));
  EXPECT_EQ(response.series_count(), 1);
  request.set_validate_only(false);
  for (int repeat = 0; repeat < 3; ++repeat) {
    CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::Retrain, request, &response));
    EXPECT_EQ(response.series_count(), 1);
    EXPECT_EQ(response.skipped_count(), 0);
  }
  request.set_request_id("retrain-2");  // within the minimum interval
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::Retrain, request, &response));
  EXPECT_EQ(response.series_count(), 0);
  EXPECT_EQ(response.skipped_count(), 1);
}

TEST_F(PredictorRpcTest, AccuracyIsReportedPerHorizon) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(100, 2).has_value());
  // One step at a time, so that every forecast can be judged.
  for (int64_t step = 11; step < 25; ++step) {
    ASSERT_TRUE(host.SendUntil(step * 10, 2).has_value());
  }
  v1::GetAccuracyRequest request;
  request.set_vm_uuid(kVm);
  request.set_resource(common::v1::RESOURCE_CPU);
  v1::GetAccuracyResponse response;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetAccuracy, request, &response));
  ASSERT_EQ(response.accuracies_size(), 3);
  EXPECT_GT(response.accuracies(0).step_count(), 5);
  EXPECT_NEAR(response.accuracies(0).coverage(0).observed_ratio(), 1, 1e-9);
  EXPECT_NEAR(response.accuracies(0).over_allocation_ratio(), 1, 1e-9);
  v1::ListAccuracyRequest list;
  list.set_page_size(5);
  int rows = 0;
  v1::ListAccuracyResponse page;
  do {
    CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListAccuracy, list, &page));
    EXPECT_LE(page.accuracies_size(), 5);
    rows += page.accuracies_size();
    list.set_page_token(page.next_page_token());
  } while (!page.next_page_token().empty());
  EXPECT_EQ(rows, 12);  // 2 VM series and 2 sums of 3 horizons
}

TEST_F(PredictorRpcTest, TargetsAreTakenAndBounded) {
  PredictorServer server(config_, clock_);
  v1::UpdateTargetsRequest request;
  request.set_request_id("t-1");
  v1::SeriesTarget* target = request.add_targets();
  target->set_vm_uuid(kVm);
  target->set_target_violation_ratio(0.2);
  v1::UpdateTargetsResponse response;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::UpdateTargets, request, &response));
  EXPECT_EQ(response.updated_count(), 1);
  Host host(server);
  const auto batch = host.SendUntil(30, 1);  // the VM was not known before
  ASSERT_TRUE(batch.has_value());
  EXPECT_DOUBLE_EQ(batch->forecasts(0).target_violation_ratio(), 0.2);
  target->set_price_factor(1000);
  request.set_request_id("t-2");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::UpdateTargets, request, &response),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("targets[0].price_factor")));
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
  install.mutable_states(0)->set_format_version(1);
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

// Files of the directory that were put aside.
int64_t AsideCount(const testing::TempDir& dir) {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    count += entry.path().filename().string().find("predictor.db.bad-") == 0 ? 1 : 0;
  }
  return count;
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

TEST(PredictorConfigTest, AllFaultsAreNamedAtOnce) {
  config::v1::PredictorConfig config;
  config.mutable_step()->set_seconds(10);
  config.add_horizons()->set_seconds(15);
  config.add_quantile_ratios(1.5);
  config.set_model("oracle");
  config.mutable_limits()->set_history_steps(3);
  Violations violations;
  ValidatePredictorConfig(config, &violations);
  EXPECT_THAT(violations.ToStatus(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("horizons[0]"), HasSubstr("quantile_ratios[0]"),
                             HasSubstr("oracle"), HasSubstr("limits.history_steps"))));
  EXPECT_EQ(violations.kept().size(), 4u);
}

}  // namespace
}  // namespace cloudscale::predictor
