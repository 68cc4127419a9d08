// Throughput of the telemetry path over loopback TCP, in samples (one VM in one period) a second:
//
//   path   the monitor's conversion and predictor link → the real predictor component, counted when
//          the predictor acknowledges;
//   raw    a plain gRPC stream of the same messages, made beforehand, to a handler that only reads,
//          counted when it has read them.
//
// CPU time is that of the process, which holds both ends; it says more than the rates where other
// work shares the machine. Rounds alternate, so that both see the same machine. The ratio of each
// round and the median ratio come at the end. `--step` is the predictor's step in seconds: with the
// default of an hour no forecast falls into the run and the path alone is measured; with 10 the
// forecasts of every tenth batch are made within it.
//
// telemetry_bench [--seconds S per measurement] [--rounds N] [--vms N] [--step S] [--json]

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "bench/macro/settings.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/random/rng.h"
#include "common/rpc/time_conversion.h"
#include "common/time/clock.h"
#include "grpcpp/grpcpp.h"
#include "services/monitor/clients/predictor_link.h"
#include "services/monitor/rpc/convert.h"
#include "services/predictor/main/predictor_component.h"

namespace cloudscale::bench {
namespace {

using predictor::v1::PredictorService;
using predictor::v1::StreamTelemetryRequest;
using predictor::v1::StreamTelemetryResponse;

// Batches under way at once on the path; the raw stream is held back by HTTP/2 alone.
constexpr size_t kWindow = 256;

// Short enough not to empty the window, long enough not to take the CPU from what is measured.
void Pause() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

// A fleet with plausible, changing values.
class Fleet {
 public:
  explicit Fleet(int vms) : rng_(7) {
    snapshot_.header.host_id = "bench-host";
    snapshot_.header.boot_id = "bench-boot";
    snapshot_.header.sample_time = absl::FromUnixSeconds(1'800'000'000);
    snapshot_.host.cpu_capacity_cores = 2.0 * vms;
    snapshot_.host.memory_total_bytes = int64_t{4} << 40;
    snapshot_.host.sampling_period = absl::Seconds(1);
    for (int i = 0; i < vms; ++i) {
      monitor::VmSample vm;
      vm.uuid = absl::StrFormat("%08x-0000-4000-8000-000000000000", i);
      vm.vcpu_count = 4;
      vm.cpu_quality = monitor::Quality::kFresh;
      vm.memory_quality = monitor::Quality::kFresh;
      vm.memory_target_bytes = int64_t{2} << 30;
      vm.cpu_cap_cores = 3;
      snapshot_.vms.push_back(vm);
    }
  }

  const monitor::HostSnapshot& Next() {
    ++snapshot_.header.sequence;
    snapshot_.header.sample_time += absl::Seconds(1);
    snapshot_.header.monotonic_time = snapshot_.header.monotonic_time + absl::Seconds(1);
    for (monitor::VmSample& vm : snapshot_.vms) {
      vm.cpu_usage_cores = rng_.Uniform(0.1, 3);
      vm.cpu_demand_cores = *vm.cpu_usage_cores + 0.1;
      vm.memory_used_bytes = (int64_t{1} << 30) + rng_.UniformInt(1 << 20);
      vm.memory_demand_bytes = vm.memory_used_bytes;
    }
    return snapshot_;
  }

 private:
  Rng rng_;
  monitor::HostSnapshot snapshot_;
};

struct Result {
  int64_t batches = 0;
  double seconds = 0;
  double cpu_seconds = 0;  // of the whole process, both ends of the stream
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double ProcessCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::unique_ptr<grpc::Server> Serve(const std::vector<grpc::Service*>& services, int* port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), port);
  for (grpc::Service* service : services) {
    builder.RegisterService(service);
  }
  return builder.BuildAndStart();
}

std::shared_ptr<grpc::Channel> Dial(int port) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrFormat("127.0.0.1:%d", port),
                                   grpc::InsecureChannelCredentials(), arguments);
}

// --- The path ---

Result MeasurePath(int vms, double seconds, double step) {
  NullMetricSink metrics;
  const std::unique_ptr<Clock> clock = MakeRealClock();
  rpc::Environment env{.clock = *clock, .metrics = metrics, .seed = 1, .channel = {}};
  config::v1::PredictorConfig config;
  *config.mutable_step() = rpc::ToProto(absl::Seconds(step));
  for (const int multiple : {1, 10}) {
    *config.add_horizons() = rpc::ToProto(absl::Seconds(step * multiple));
  }
  auto component = predictor::MakePredictorComponent(config, env);
  if (!component.ok()) {
    std::fprintf(stderr, "%s\n", component.status().ToString().c_str());
    std::exit(1);
  }
  int port = 0;
  const std::unique_ptr<grpc::Server> server = Serve((*component)->services(), &port);
  if (const absl::Status status = (*component)->Start(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }
  Result result;
  {
    monitor::PredictorLink::Config link_config;
    link_config.address = "loopback";
    // A batch is dropped only when the window is full, and the loop below waits before that.
    link_config.max_pending = kWindow + 1;
    monitor::PredictorLink link(link_config, 1, [](const predictor::v1::ForecastBatch&) {});
    link.Start(Dial(port));
    Fleet fleet(vms);
    const auto push = [&] {
      while (link.pending_count() >= kWindow) {
        Pause();
      }
      predictor::v1::TelemetryBatch batch;
      monitor::ToWire(fleet.Next(), &batch);
      link.Push(std::move(batch));
    };
    for (size_t i = 0; i < kWindow; ++i) {
      push();  // connects and warms up
    }
    while (link.stats().acknowledged == 0) {
      Pause();
    }
    const int64_t before = link.stats().acknowledged;
    const double cpu_start = ProcessCpuSeconds();
    const double start = Now();
    while (Now() - start < seconds) {
      push();
    }
    result.seconds = Now() - start;
    result.cpu_seconds = ProcessCpuSeconds() - cpu_start;
    result.batches = link.stats().acknowledged - before;
    if (link.stats().dropped > 0) {
      std::fprintf(stderr, "batches were dropped: the measurement is void\n");
      std::exit(1);
    }
    link.Stop();
  }
  (*component)->Stop();
  server->Shutdown();
  return result;
}

// --- The raw stream ---

class ReadOnlyService final : public PredictorService::CallbackService {
 public:
  grpc::ServerBidiReactor<StreamTelemetryRequest, StreamTelemetryResponse>* StreamTelemetry(
      grpc::CallbackServerContext* /*context*/) override {
    class Reactor final
        : public grpc::ServerBidiReactor<StreamTelemetryRequest, StreamTelemetryResponse> {
     public:
      explicit Reactor(std::atomic<int64_t>* read) : read_(read) { StartRead(&request_); }
      void OnReadDone(bool ok) override {
        if (!ok) {
          Finish(grpc::Status::OK);
          return;
        }
        read_->fetch_add(1);
        StartRead(&request_);
      }
      void OnDone() override { delete this; }

     private:
      std::atomic<int64_t>* const read_;
      StreamTelemetryRequest request_;
    };
    return new Reactor(&read_);
  }
  std::atomic<int64_t> read_{0};
};

class RawClient final
    : public grpc::ClientBidiReactor<StreamTelemetryRequest, StreamTelemetryResponse> {
 public:
  RawClient(PredictorService::Stub* stub, const std::vector<StreamTelemetryRequest>& requests)
      : requests_(requests) {
    stub->async()->StreamTelemetry(&context_, this);
    StartWrite(&requests_[0]);
    StartCall();
  }
  void OnWriteDone(bool ok) override {
    if (!ok || is_stopping_.load()) {
      StartWritesDone();
      return;
    }
    ++written_;
    StartWrite(&requests_[static_cast<size_t>(written_) % requests_.size()]);
  }
  void OnDone(const grpc::Status& /*status*/) override { is_done_.store(true); }
  void Stop() {
    is_stopping_.store(true);
    while (!is_done_.load()) {
      Pause();
    }
  }

 private:
  const std::vector<StreamTelemetryRequest>& requests_;
  grpc::ClientContext context_;
  int64_t written_ = 0;
  std::atomic<bool> is_stopping_{false};
  std::atomic<bool> is_done_{false};
};

Result MeasureRaw(int vms, double seconds) {
  ReadOnlyService service;
  int port = 0;
  const std::unique_ptr<grpc::Server> server = Serve({&service}, &port);
  std::vector<StreamTelemetryRequest> requests(64);
  Fleet fleet(vms);
  for (StreamTelemetryRequest& request : requests) {
    monitor::ToWire(fleet.Next(), request.mutable_batch());
  }
  const auto stub = PredictorService::NewStub(Dial(port));
  Result result;
  RawClient client(stub.get(), requests);
  while (service.read_.load() < static_cast<int64_t>(kWindow)) {
    Pause();
  }
  const int64_t before = service.read_.load();
  const double cpu_start = ProcessCpuSeconds();
  const double start = Now();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  result.seconds = Now() - start;
  result.cpu_seconds = ProcessCpuSeconds() - cpu_start;
  result.batches = service.read_.load() - before;
  client.Stop();
  server->Shutdown();
  return result;
}

std::string CpuPerSample(const Result& result, int vms) {
  const double samples = std::max(1.0, static_cast<double>(result.batches) * vms);
  return absl::StrFormat("%.0f", 1e9 * result.cpu_seconds / samples);
}

int Run(int argc, char** argv) {
  Settings settings({{"seconds", "2"}, {"rounds", "5"}, {"vms", "100"}, {"step", "3600"}});
  if (const absl::Status status = settings.Parse(argc, argv); !status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 2;
  }
  const int vms = static_cast<int>(settings.Number("vms"));
  const double seconds = settings.Number("seconds");
  settings.PrintHeader(
      "telemetry path over loopback beside a raw gRPC stream of the same messages");
  RowPrinter printer(settings.is_json());
  std::vector<double> ratios;
  for (int round = 1; round <= static_cast<int>(settings.Number("rounds")); ++round) {
    const Result raw = MeasureRaw(vms, seconds);
    const Result path = MeasurePath(vms, seconds, settings.Number("step"));
    const double raw_rate = static_cast<double>(raw.batches) * vms / raw.seconds;
    const double path_rate = static_cast<double>(path.batches) * vms / path.seconds;
    ratios.push_back(path_rate / raw_rate);
    printer.Print({{"round", absl::StrFormat("%d", round)},
                   {"raw_samples_per_second", absl::StrFormat("%.0f", raw_rate)},
                   {"path_samples_per_second", absl::StrFormat("%.0f", path_rate)},
                   {"ratio", absl::StrFormat("%.3f", ratios.back())},
                   {"raw_cpu_ns_per_sample", CpuPerSample(raw, vms)},
                   {"path_cpu_ns_per_sample", CpuPerSample(path, vms)}});
  }
  std::ranges::sort(ratios);
  printer.Print({{"median_ratio", absl::StrFormat("%.3f", ratios[ratios.size() / 2])},
                 {"min_ratio", absl::StrFormat("%.3f", ratios.front())},
                 {"max_ratio", absl::StrFormat("%.3f", ratios.back())}});
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Run(argc, argv); }
