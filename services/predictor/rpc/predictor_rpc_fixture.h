// What the tests of the predictor over the wire share: a real server on a port of its own and the
// monitor's end of a stream.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cloudscale/config/v1/config.pb.h"
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

inline constexpr char kVm[] = "0f8fad5b-d9cb-469f-a165-708677289501";

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
    CS_EXPECT_OK(component);
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
    if (adjust) {
      adjust(*sample);
    }
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

  std::function<void(v1::TelemetrySample&)> adjust;  // applied to each sample before it is sent

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

}  // namespace cloudscale::predictor
