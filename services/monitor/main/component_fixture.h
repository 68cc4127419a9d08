#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cloudscale/guest/v1/guest_report_service.grpc.pb.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/sync/mutex.h"
#include "common/testing/recording_metric_sink.h"
#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/monitor/main/monitor_component.h"

// The monitor over real gRPC on loopback for tests: a scripted hypervisor, a simulated clock, and a
// predictor that comes and goes.
namespace cloudscale::monitor {

inline constexpr int64_t kMiB = 1024 * 1024;

inline std::string Uuid(int index) {
  return absl::StrFormat("%08x-0000-4000-8000-000000000000", index);
}

// A hypervisor whose VMs each use half a core. Tests change it between ticks.
class ScriptedHost {
 public:
  explicit ScriptedHost(const Clock& clock) : clock_(clock) {}

  void SetVmCount(int count) {
    MutexLock lock(&mutex_);
    vm_count_ = count;
  }
  void SetFailing(bool is_failing) {
    MutexLock lock(&mutex_);
    is_failing_ = is_failing;
  }

  absl::StatusOr<hypervisor::HostReading> Read() {
    MutexLock lock(&mutex_);
    if (is_failing_) {
      return absl::UnavailableError("scripted failure");
    }
    hypervisor::HostReading reading;
    reading.host_id = "scripted";
    reading.boot_id = "boot";
    reading.sample_time = clock_.WallNow();
    reading.monotonic_time = clock_.MonoNow();
    reading.cpu_capacity_cores = 512;
    reading.memory_capacity_bytes = 1 << 30;
    for (int i = 0; i < vm_count_; ++i) {
      hypervisor::VmReading vm;
      vm.uuid = Uuid(i);
      vm.name = absl::StrCat("vm", i);
      vm.state = hypervisor::VmState::kRunning;
      vm.incarnation = "1";
      vm.vcpu_count = 2;
      vm.cpu_time = reading.monotonic_time.since_start() / 2;
      vm.memory_current_bytes = 1024 * kMiB;
      vm.memory_maximum_bytes = 1024 * kMiB;
      vm.memory_used_bytes = 256 * kMiB;
      reading.vms.push_back(vm);
    }
    return reading;
  }

 private:
  const Clock& clock_;
  Mutex mutex_;
  int vm_count_ ABSL_GUARDED_BY(mutex_) = 2;
  bool is_failing_ ABSL_GUARDED_BY(mutex_) = false;
};

class ScriptedReader final : public hypervisor::HostReader {
 public:
  explicit ScriptedReader(ScriptedHost& host) : host_(host) {}
  hypervisor::Capabilities capabilities() const override {
    hypervisor::Capabilities out;
    out.backend = "fake";
    out.cpu_cap = true;
    return out;
  }
  absl::StatusOr<hypervisor::HostReading> Read() override { return host_.Read(); }

 private:
  ScriptedHost& host_;
};

// Answers each batch with a CPU forecast per VM; can be told not to answer.
class FakePredictor final : public predictor::v1::PredictorService::Service {
 public:
  explicit FakePredictor(bool is_answering) : is_answering_(is_answering) {}

  grpc::Status StreamTelemetry(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<predictor::v1::StreamTelemetryResponse,
                               predictor::v1::StreamTelemetryRequest>* stream) override {
    predictor::v1::StreamTelemetryRequest request;
    while (stream->Read(&request)) {
      const int64_t sequence = request.batch().header().sequence();
      {
        MutexLock lock(&mutex_);
        sequences_.push_back(sequence);
        if (refused_sequence_ == sequence) {
          return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "scripted refusal");
        }
      }
      if (!is_answering_) {
        continue;
      }
      predictor::v1::StreamTelemetryResponse response;
      response.mutable_batch()->set_acknowledged_sequence(sequence);
      for (const auto& sample : request.batch().samples()) {
        Fill(sample.vm_uuid(), sequence, 0.75, response.mutable_batch()->add_forecasts());
      }
      Fill("", sequence, 1.5, response.mutable_batch()->add_host_forecasts());
      // One that the monitor must refuse.
      Fill(Uuid(0), sequence + 1, -1, response.mutable_batch()->add_forecasts());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  // Ends the stream with INVALID_ARGUMENT at the batch of this number.
  void Refuse(int64_t sequence) {
    MutexLock lock(&mutex_);
    refused_sequence_ = sequence;
  }

  std::vector<int64_t> sequences() const {
    MutexLock lock(&mutex_);
    return sequences_;
  }

 private:
  static void Fill(const std::string& uuid, int64_t sequence, double value,
                   common::v1::Forecast* out) {
    out->set_vm_uuid(uuid);
    out->set_resource(common::v1::RESOURCE_CPU);
    out->set_based_on_sequence(sequence);
    out->set_model("fake");
    auto* horizon = out->add_horizons();
    *horizon->mutable_horizon() = rpc::ToProto(absl::Seconds(10));
    horizon->set_expected(value);
  }

  const bool is_answering_;
  mutable Mutex mutex_;
  std::vector<int64_t> sequences_ ABSL_GUARDED_BY(mutex_);
  int64_t refused_sequence_ ABSL_GUARDED_BY(mutex_) = -1;
};

// A predictor process on a port of its own.
struct PredictorProcess {
  PredictorProcess(const std::string& address, bool is_answering) : service(is_answering) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
  }
  ~PredictorProcess() {
    if (server != nullptr) {
      server->Shutdown(std::chrono::system_clock::now());
    }
  }
  int port = 0;
  FakePredictor service;
  std::unique_ptr<grpc::Server> server;
};

class MonitorComponentTest : public ::testing::Test {
 protected:
  ~MonitorComponentTest() override { Shutdown(); }

  void Start(const config::v1::MonitorConfig& config, grpc::Server* in_process = nullptr) {
    rpc::Environment env{.clock = clock_, .metrics = metrics_, .seed = 1, .channel = {}};
    env.channel = [in_process](const std::string& address) {
      if (in_process != nullptr) {
        return in_process->InProcessChannel({});
      }
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
      arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
      arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
      return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    };
    auto component = MakeMonitorComponent(config, std::make_unique<ScriptedReader>(host_), env);
    CS_ASSERT_OK(component.status());
    component_ = *std::move(component);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service : component_->services()) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    CS_ASSERT_OK(component_->Start());
    address_ = absl::StrCat("127.0.0.1:", port);
    // A small window, so that a reader that does not read is soon felt by the server.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65536);
    const auto channel =
        grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::MonitorService::NewStub(channel);
    guest_stub_ = guest::v1::GuestReportService::NewStub(channel);
    WaitForSequence(1);
  }

  void Shutdown() {
    if (component_ != nullptr) {
      component_->Stop();
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
      server_.reset();
      component_.reset();
    }
  }

  // Lets one period pass and waits until its snapshot is out.
  void Tick() {
    const int64_t before = Status().sequence();
    clock_.WaitForSleepers(1);
    clock_.Advance(absl::Seconds(1));
    WaitForSequence(before + 1);
  }
  void WaitForSequence(int64_t sequence) {
    ASSERT_TRUE(WaitUntil([&] { return Status().sequence() >= sequence; }));
  }
  static bool WaitUntil(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      std::this_thread::yield();
    }
    return true;
  }

  v1::GetStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetStatusResponse response;
    stub_->GetStatus(&context, {}, &response);
    return response;
  }
  common::v1::LinkState Link() { return Status().links(0); }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::MonitorService::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    return rpc::FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }

  static guest::v1::GuestReport Report(int64_t sequence, int vm = 0) {
    guest::v1::GuestReport report;
    report.set_vm_uuid(Uuid(vm));
    report.set_boot_id("guest-boot");
    report.set_sequence(sequence);
    *report.mutable_sample_time() = rpc::ToProto(SimClock().WallNow());
    *report.mutable_uptime() = rpc::ToProto(absl::Seconds(100 + sequence));
    report.set_memory_total_bytes(1000 * kMiB);
    report.set_memory_available_bytes(300 * kMiB);
    report.set_memory_free_bytes(100 * kMiB);
    return report;
  }

  SimClock clock_;
  cloudscale::testing::RecordingMetricSink metrics_;
  ScriptedHost host_{clock_};
  std::unique_ptr<rpc::Component> component_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;  // of the server
  std::unique_ptr<v1::MonitorService::Stub> stub_;
  std::unique_ptr<guest::v1::GuestReportService::Stub> guest_stub_;
};

}  // namespace cloudscale::monitor
