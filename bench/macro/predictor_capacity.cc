// Series that one core can forecast: the real cloudscale-predictor as a process of its own, fed
// over real gRPC streams, one a host, as fast as it answers; only its CPU time counts. A host of N
// VMs has 2 N + 2 series (CPU and memory of each VM, and their sums).
//
//   series_per_core    series times steps, over CPU seconds, times the step's length
//   of_aim             that over the aim of 100,000 series at a step of 10 s
//
// predictor_capacity [--vms per host] [--hosts N] [--steps N measured] [--samples per step]
//                    [--model NAME] [--json]
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "bench/macro/settings.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/check/check.h"
#include "common/random/rng.h"
#include "grpcpp/grpcpp.h"

namespace cloudscale::bench {
namespace {

using predictor::v1::PredictorService;
using predictor::v1::StreamTelemetryRequest;
using predictor::v1::StreamTelemetryResponse;

constexpr int kStepSeconds = 10;
constexpr double kAimSeries = 100000;
constexpr int kWarmUpSteps = 60;
constexpr auto kReadyPoll = std::chrono::milliseconds(20);
constexpr int kReadyPolls = 1500;

// The predictor as a process; ended with this object.
class Predictor {
 public:
  Predictor(const std::filesystem::path& program, const std::string& model) {
    std::string name = std::filesystem::temp_directory_path() / "predictor-capacity-XXXXXX";
    CS_CHECK(mkdtemp(name.data()) != nullptr);
    directory_ = name;
    const std::string config = directory_ / "predictor.yaml";
    std::ofstream(config) << "server: {listen_address: \"127.0.0.1:0\"}\nmodel: " << model
                          << "\nlimits: {max_series: 1000000}\n";
    const std::string port_file = directory_ / "address";
    const std::string config_flag = "--config=" + config;
    const std::string port_flag = "--port-file=" + port_file;
    pid_ = fork();
    CS_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      const std::string log = directory_ / "log";
      if (std::freopen(log.c_str(), "w", stderr) == nullptr) {
        _exit(126);
      }
      execl(program.c_str(), program.c_str(), config_flag.c_str(), port_flag.c_str(), nullptr);
      _exit(127);
    }
    for (int i = 0; i < kReadyPolls && address_.empty(); ++i) {
      std::this_thread::sleep_for(kReadyPoll);
      std::ifstream(port_file) >> address_;
    }
  }
  ~Predictor() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }
  // Empty when it did not start.
  [[nodiscard]] const std::string& address() const { return address_; }

  [[nodiscard]] double CpuSeconds() const {
    const std::vector<std::string> fields = StatFields();
    const auto ticks = [&](size_t i) { return std::stod(fields[i]); };
    return (ticks(11) + ticks(12)) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  [[nodiscard]] double ResidentBytes() const {
    return std::stod(StatFields()[21]) * static_cast<double>(sysconf(_SC_PAGESIZE));
  }

 private:
  // Of /proc/PID/stat, from the state on.
  [[nodiscard]] std::vector<std::string> StatFields() const {
    std::ifstream file(absl::StrCat("/proc/", pid_, "/stat"));
    std::string line;
    std::getline(file, line);
    return absl::StrSplit(line.substr(line.rfind(") ") + 2), ' ');
  }

  std::filesystem::path directory_;
  pid_t pid_ = -1;
  std::string address_;
};

// One host with its stream.
class Host {
 public:
  Host(PredictorService::Stub& stub, int index, int vms) : rng_(static_cast<uint64_t>(index)) {
    stream_ = stub.StreamTelemetry(&context_);
    predictor::v1::TelemetryBatch& batch = *request_.mutable_batch();
    batch.mutable_header()->set_host_id(absl::StrCat("host-", index));
    batch.mutable_header()->set_boot_id("boot");
    for (int i = 0; i < vms; ++i) {
      predictor::v1::TelemetrySample& sample = *batch.add_samples();
      sample.set_vm_uuid(absl::StrFormat("%04x%04x-0000-4000-8000-000000000000", index, i));
      sample.set_vcpu_count(4);
      sample.set_cpu_limit_cores(3);
      sample.set_memory_limit_bytes(int64_t{4} << 30);
      sample.set_cpu_quality(common::v1::SAMPLE_QUALITY_FRESH);
      sample.set_memory_quality(common::v1::SAMPLE_QUALITY_FRESH);
      level_.push_back(rng_.Uniform(0.3, 1.5));
    }
  }

  bool Send(int64_t second, int64_t sequence, int64_t period) {
    predictor::v1::TelemetryBatch& batch = *request_.mutable_batch();
    batch.mutable_header()->set_sequence(sequence);
    batch.mutable_header()->mutable_sample_time()->set_seconds(1'800'000'000 + second);
    batch.mutable_header()->mutable_monotonic_time()->set_seconds(second);
    batch.mutable_sampling_period()->set_seconds(period);
    for (int i = 0; i < batch.samples_size(); ++i) {
      predictor::v1::TelemetrySample& sample = *batch.mutable_samples(i);
      const double level = level_[static_cast<size_t>(i)];
      sample.set_cpu_usage_cores(level + rng_.Uniform(0, 0.2) + (rng_.Chance(0.02) ? 1 : 0));
      sample.set_memory_usage_bytes(
          static_cast<int64_t>((level + rng_.Uniform(0, 0.05)) * (1 << 30)));
    }
    return stream_->Write(request_);
  }

  // Waits for the forecasts of so many series.
  bool Receive(int64_t wanted) {
    StreamTelemetryResponse response;
    while (received_ < wanted) {
      if (!stream_->Read(&response)) {
        return false;
      }
      received_ += response.batch().forecasts_size() + response.batch().host_forecasts_size();
    }
    received_ -= wanted;
    return true;
  }

  grpc::Status Finish() {
    stream_->WritesDone();
    StreamTelemetryResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }

 private:
  Rng rng_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<StreamTelemetryRequest, StreamTelemetryResponse>>
      stream_;
  StreamTelemetryRequest request_;
  std::vector<double> level_;
  int64_t received_ = 0;
};

int Run(int argc, char** argv) {
  Settings settings(
      {{"vms", "200"}, {"hosts", "10"}, {"steps", "60"}, {"samples", "1"}, {"model", "portfolio"}});
  if (const absl::Status status = settings.Parse(argc, argv); !status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 2;
  }
  const int vms = static_cast<int>(settings.Number("vms"));
  const int hosts = static_cast<int>(settings.Number("hosts"));
  const int steps = static_cast<int>(settings.Number("steps"));
  const int samples = static_cast<int>(settings.Number("samples"));
  if (samples > kStepSeconds || kStepSeconds % samples != 0) {
    std::fprintf(stderr, "--samples is %d, allowed: 1, 2, 5, 10\n", samples);
    return 2;
  }
  settings.PrintHeader("series that one core can forecast, over real gRPC streams");
  const std::filesystem::path here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  Predictor predictor(here / "cloudscale-predictor", settings.Text("model"));
  if (predictor.address().empty()) {
    std::fprintf(stderr, "cloudscale-predictor did not start; it belongs beside this program\n");
    return 1;
  }
  const auto stub = PredictorService::NewStub(
      grpc::CreateChannel(predictor.address(), grpc::InsecureChannelCredentials()));
  std::vector<std::unique_ptr<Host>> all;
  for (int h = 0; h < hosts; ++h) {
    all.push_back(std::make_unique<Host>(*stub, h, vms));
  }
  const int64_t series_per_host = 2 * int64_t{vms} + 2;
  const int period = kStepSeconds / samples;
  double cpu_start = 0;
  for (int step = 0; step <= kWarmUpSteps + steps; ++step) {
    if (step == kWarmUpSteps) {
      cpu_start = predictor.CpuSeconds();
    }
    for (int s = 0; s < samples; ++s) {
      const int64_t second = int64_t{step} * kStepSeconds + int64_t{s} * period + 1;
      for (auto& host : all) {
        if (!host->Send(second, int64_t{step} * samples + s + 1, period)) {
          std::fprintf(stderr, "a stream was ended: %s\n", host->Finish().error_message().c_str());
          return 1;
        }
      }
      // The first sample of a step ends the one before.
      for (auto& host : all) {
        if (s == 0 && step > 0 && !host->Receive(series_per_host)) {
          std::fprintf(stderr, "a stream was ended: %s\n", host->Finish().error_message().c_str());
          return 1;
        }
      }
    }
  }
  const double cpu = predictor.CpuSeconds() - cpu_start;
  const auto series = static_cast<double>(series_per_host * hosts);
  const double per_core = series * steps / cpu * kStepSeconds;
  RowPrinter printer(settings.is_json());
  printer.Print({{"series", absl::StrFormat("%.0f", series)},
                 {"cpu_us_per_series_step", absl::StrFormat("%.1f", 1e6 * cpu / (series * steps))},
                 {"series_per_core", absl::StrFormat("%.0f", per_core)},
                 {"of_aim", absl::StrFormat("%.2f", per_core / kAimSeries)},
                 {"resident_kib_per_series",
                  absl::StrFormat("%.1f", predictor.ResidentBytes() / 1024 / series)}});
  for (auto& host : all) {
    if (const grpc::Status status = host->Finish(); !status.ok()) {
      std::fprintf(stderr, "a stream ended with an error: %s\n", status.error_message().c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Run(argc, argv); }
