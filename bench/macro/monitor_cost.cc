// What the monitor costs: CPU time of a process that runs the whole component (sampling loop,
// engine, history, one observation stream out, telemetry stream to a predictor) at 1 Hz, from
// getrusage. Nothing is extrapolated: the share is CPU time over wall time of the run.
//
// Predictor and reader of the observations are in a second process, so that only the monitor is
// counted. For the simulated host the time within `Read` is the simulation's own; it is told apart.
//
// `--speed` makes time run faster, as a replay of recorded traces does; `fresh_percent` then shows
// how many CPU samples are still on time.
//
// monitor_cost [--backend fake|cgroup] [--vms N] [--seconds S] [--speed X] [--json]
// `cgroup` makes N empty groups below a parent of its own and removes them; it needs root.

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/macro/settings.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"
#include "common/workload/demand_source.h"
#include "grpcpp/grpcpp.h"
#include "hypervisor/cgroup/cgroup_host_reader.h"
#include "hypervisor/cgroup/cgroup_tree.h"
#include "hypervisor/fake/fake_backend.h"
#include "services/monitor/main/monitor_component.h"

namespace cloudscale::bench {
namespace {

// --- The other process: a predictor that only acknowledges, and a reader of the observations ---

class Acknowledger final : public predictor::v1::PredictorService::Service {
  grpc::Status StreamTelemetry(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<predictor::v1::StreamTelemetryResponse,
                               predictor::v1::StreamTelemetryRequest>* stream) override {
    predictor::v1::StreamTelemetryRequest request;
    while (stream->Read(&request)) {
      predictor::v1::StreamTelemetryResponse response;
      response.mutable_batch()->set_acknowledged_sequence(request.batch().header().sequence());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
};

std::string ReadLine(int fd) {
  std::string line;
  char c = 0;
  while (read(fd, &c, 1) == 1 && c != '\n') {
    line += c;
  }
  return line;
}

void WriteLine(int fd, const std::string& line) {
  const std::string text = line + "\n";
  if (write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    std::perror("write");
    std::exit(1);
  }
}

// Tells its port, is told the monitor's, reads observations until the monitor goes, tells how many.
int RunPeer(int in, int out) {
  Acknowledger service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  WriteLine(out, absl::StrCat(port));
  const std::string address = absl::StrCat("127.0.0.1:", ReadLine(in));
  const auto stub = monitor::v1::MonitorService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  const auto stream = stub->WatchObservations(&context, {});
  monitor::v1::WatchObservationsResponse message;
  int64_t samples = 0;
  int64_t fresh = 0;
  while (stream->Read(&message)) {
    for (const auto& vm : message.observation().snapshot().vms()) {
      ++samples;
      fresh += vm.cpu_quality() == common::v1::SAMPLE_QUALITY_FRESH ? 1 : 0;
    }
  }
  WriteLine(out, absl::StrCat(samples));
  WriteLine(out, absl::StrFormat("%.1f", samples > 0 ? 100.0 * static_cast<double>(fresh) /
                                                           static_cast<double>(samples)
                                                     : 0.0));
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}

// --- The monitor ---

double ThreadCpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double ProcessCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Measures the CPU time of the reader that it wraps.
class TimedReader final : public hypervisor::HostReader {
 public:
  TimedReader(std::unique_ptr<hypervisor::HostReader> inner, std::atomic<double>* spent)
      : inner_(std::move(inner)), spent_(spent) {}
  hypervisor::Capabilities capabilities() const override { return inner_->capabilities(); }
  absl::StatusOr<hypervisor::HostReading> Read() override {
    const double before = ThreadCpuSeconds();
    auto reading = inner_->Read();
    spent_->store(spent_->load() + ThreadCpuSeconds() - before);
    return reading;
  }

 private:
  const std::unique_ptr<hypervisor::HostReader> inner_;
  std::atomic<double>* const spent_;
};

// A host with VMs of the chosen backend; keeps what the reader needs alive.
struct Host {
  std::unique_ptr<hypervisor::fake::FakeHost> fake;
  std::unique_ptr<hypervisor::cgroup::CgroupTree> tree;
  std::unique_ptr<hypervisor::HostReader> reader;
};

absl::StatusOr<Host> MakeFake(Clock& clock, int vms) {
  hypervisor::fake::FakeHostOptions options;
  options.cpu_capacity_cores = vms;
  options.memory_capacity_bytes = vms * hypervisor::fake::kGiB * 2;
  Host host;
  host.fake = std::make_unique<hypervisor::fake::FakeHost>(options, clock.MonoNow());
  for (int i = 0; i < vms; ++i) {
    hypervisor::fake::FakeVmSpec spec;
    spec.uuid = absl::StrFormat("%08x-0000-4000-8000-000000000000", i);
    spec.name = absl::StrCat("vm", i);
    spec.cpu_demand = workload::MakeConstantDemand(0.2 + 0.002 * (i % 100));
    if (absl::Status status = host.fake->AddVm(spec); !status.ok()) {
      return status;
    }
  }
  host.reader = std::make_unique<hypervisor::fake::FakeHostReader>(*host.fake, clock);
  return host;
}

absl::StatusOr<Host> MakeCgroups(Clock& clock, int vms) {
  hypervisor::cgroup::CgroupOptions options;
  options.parent_group = absl::StrCat("cloudscale-bench-", getpid());
  options.host_id = "bench-host";
  Host host;
  auto tree = hypervisor::cgroup::CgroupTree::Create(clock, options);
  if (!tree.ok()) {
    return tree.status();
  }
  host.tree = *std::move(tree);
  for (int i = 0; i < vms; ++i) {
    if (auto group = host.tree->CreateGroup(absl::StrCat("vm", i)); !group.ok()) {
      return group.status();
    }
  }
  auto reader = hypervisor::cgroup::CgroupHostReader::Create(clock, options);
  if (!reader.ok()) {
    return reader.status();
  }
  host.reader = *std::move(reader);
  return host;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

int Measure(const Settings& settings, int from_peer, int to_peer) {
  const int vms = static_cast<int>(settings.Number("vms"));
  // Measured in real time, whatever time the monitor lives on.
  const std::unique_ptr<Clock> real = MakeRealClock();
  const std::unique_ptr<Clock> clock = MakeScaledClock(settings.Number("speed"));
  auto host =
      settings.Text("backend") == "cgroup" ? MakeCgroups(*clock, vms) : MakeFake(*clock, vms);
  if (!host.ok()) {
    return Fail(host.status());
  }
  std::atomic<double> reader_seconds{0};
  NullMetricSink metrics;
  rpc::Environment env{.clock = *clock, .metrics = metrics, .seed = 1, .channel = {}};
  env.channel = [](const std::string& address) {
    return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  };
  config::v1::MonitorConfig config;
  config.set_host_id("bench-host");
  config.set_predictor_address(absl::StrCat("127.0.0.1:", ReadLine(from_peer)));
  auto component = monitor::MakeMonitorComponent(
      config, std::make_unique<TimedReader>(std::move(host->reader), &reader_seconds), env);
  if (!component.ok()) {
    return Fail(component.status());
  }
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service : (*component)->services()) {
    builder.RegisterService(service);
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (absl::Status status = (*component)->Start(); !status.ok()) {
    return Fail(status);
  }
  WriteLine(to_peer, absl::StrCat(port));
  // Connections and first samples are not part of the steady state.
  real->SleepUntil(real->MonoNow() + absl::Seconds(2), {});
  const MonoTime start = real->MonoNow();
  const double cpu_before = ProcessCpuSeconds();
  const double reader_before = reader_seconds.load();
  real->SleepUntil(start + absl::Seconds(settings.Number("seconds")), {});
  const double elapsed = absl::ToDoubleSeconds(real->MonoNow() - start);
  const double cpu = ProcessCpuSeconds() - cpu_before;
  const double in_reader = reader_seconds.load() - reader_before;
  (*component)->Stop();
  server->Shutdown();
  const std::string streamed = ReadLine(from_peer);
  const std::string fresh = ReadLine(from_peer);
  RowPrinter(settings.is_json())
      .Print({{"backend", settings.Text("backend")},
              {"vms", absl::StrCat(vms)},
              {"seconds", absl::StrFormat("%.2f", elapsed)},
              {"cpu_seconds", absl::StrFormat("%.4f", cpu)},
              {"cpu_share_percent", absl::StrFormat("%.3f", 100 * cpu / elapsed)},
              {"reader_share_percent", absl::StrFormat("%.3f", 100 * in_reader / elapsed)},
              {"rest_share_percent", absl::StrFormat("%.3f", 100 * (cpu - in_reader) / elapsed)},
              {"samples_streamed", streamed},
              {"fresh_percent", fresh}});
  return 0;
}

int Run(int argc, char** argv) {
  Settings settings({{"backend", "fake"}, {"vms", "100"}, {"seconds", "20"}, {"speed", "1"}});
  absl::Status status = settings.Parse(argc, argv);
  if (status.ok() && settings.Text("backend") != "fake" && settings.Text("backend") != "cgroup") {
    status = absl::InvalidArgumentError("--backend must be fake or cgroup");
  }
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 2;
  }
  settings.PrintHeader("CPU cost of the monitor at 1 Hz, whole process");
  std::fflush(stdout);
  // Before gRPC has threads: a process with threads must not fork.
  std::array<int, 2> to_peer{};
  std::array<int, 2> from_peer{};
  if (pipe(to_peer.data()) != 0 || pipe(from_peer.data()) != 0) {
    std::perror("pipe");
    return 1;
  }
  const pid_t peer = fork();
  if (peer < 0) {
    std::perror("fork");
    return 1;
  }
  if (peer == 0) {
    close(to_peer[1]);
    close(from_peer[0]);
    const int code = RunPeer(to_peer[0], from_peer[1]);
    std::fflush(nullptr);
    _exit(code);
  }
  close(to_peer[0]);
  close(from_peer[1]);
  const int code = Measure(settings, from_peer[0], to_peer[1]);
  close(to_peer[1]);
  int peer_status = 0;
  if (code != 0) {
    kill(peer, SIGKILL);
  }
  waitpid(peer, &peer_status, 0);
  return code;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Run(argc, argv); }
