// CloudScale on real VMs under a changing load, recorded (`plot_run` draws it). Inside a simulated
// host with a guest image (GUEST_IMAGE=1 tests/hosts/libvirt/with_host) it boots VMs, starts
// cloudscaled in mode AUTO on them, changes their load and memory by a fixed script, and writes a
// row a second for each: what was wanted, what cloudscaled set, and what was used as the reader and
// as the processes' own accounting say.
//
// With --initrd, made by tests/hosts/guest/add_agent, the guests run the agent and give memory
// back.
//
// recorded_run [--daemon cloudscaled] [--initrd FILE] [--seconds N] [--vms N] [--directory DIR]
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/macro/settings.h"
#include "common/status/macros.h"
#include "common/time/clock.h"
#include "hypervisor/libvirt/libvirt_host_reader.h"
#include "hypervisor/libvirt/test_domains.h"

namespace cloudscale::bench {
namespace {

namespace lv = hypervisor::libvirt;
constexpr int64_t kMiB = int64_t{1} << 20;

struct Row {
  double seconds = 0;
  double wanted_cores = 0;
  double cap_cores = -1;  // below 0: none
  double read_cores = 0;
  double independent_cores = 0;
  double wanted_mib = 0;
  double target_mib = 0;
  double balloon_mib = 0;
};

// What the guest of this number wants at a second of the run: a slow wave, then bursts; memory in
// steps.
double LoadAt(int vm, double seconds) {
  const double wave = 0.35 + 0.25 * std::sin(seconds / 20 + vm * 2.0);
  const bool is_burst = std::fmod(seconds + vm * 17, 60) < 8;
  return std::min(0.95, wave + (is_burst ? 0.3 : 0));
}
int64_t MemoryAt(int vm, double seconds) {
  const double phase = std::fmod(seconds + vm * 40, 120);
  return (phase < 60 ? 16 : 72) * kMiB;
}

class Daemon {
 public:
  Daemon(const std::string& program, const std::string& directory) {
    const std::string config = absl::StrCat(directory, "/cloudscaled.yaml");
    std::ofstream(config) << "host_id: recorded\n"
                             "hypervisor: {libvirt: {uri: \"qemu:///system\"}}\n"
                             "monitor:\n  sampling_period: 1s\n"
                             "  guest_channels: {path_template: \""
                          << lv::AgentSocketPath("{name}")
                          << "\", scan_period: 500ms}\n"
                             "predictor: {step: 2s, horizons: [2s, 20s, 60s]}\n"
                             "scaler:\n  mode: auto\n  step: 2s\n"
                             "  limits: {warm_up_samples: 10, max_actions_per_minute: 600, "
                             "max_actions_per_vm_per_minute: 60}\n"
                             "  default_policy:\n    mode: auto\n    cpu: {cool_down_down: 10s}\n"
                             "    memory: {cool_down_down: 4s, quiet_steps: 2, "
                             "step_down_ratio: 0.1}\n";
    pid_ = fork();
    if (pid_ == 0) {
      const std::string log = absl::StrCat(directory, "/cloudscaled.log");
      std::freopen(log.c_str(), "w", stderr);
      execl(program.c_str(), "cloudscaled", "--config", config.c_str(), "--listen",
            absl::StrCat("unix:", directory, "/socket").c_str(), nullptr);
      _exit(127);
    }
  }
  ~Daemon() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] bool is_running() const { return waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  pid_t pid_ = -1;
};

void WriteCsv(const std::string& path, const std::vector<Row>& rows) {
  std::ofstream file(path);
  file << "t_seconds,wanted_cores,cap_cores,read_cores,independent_cores,held_mib,target_mib,"
          "balloon_mib\n";
  for (const Row& r : rows) {
    file << absl::StrFormat("%.1f,%.3f,%.3f,%.3f,%.3f,%.0f,%.0f,%.0f\n", r.seconds, r.wanted_cores,
                            r.cap_cores, r.read_cores, r.independent_cores, r.wanted_mib,
                            r.target_mib, r.balloon_mib);
  }
}

absl::Status Run(const Settings& settings) {
  const char* image = std::getenv("CLOUDSCALE_GUEST_IMAGE");
  if (image == nullptr) {
    return absl::FailedPreconditionError(
        "run it by GUEST_IMAGE=1 tests/hosts/libvirt/with_host recorded_run …");
  }
  const std::string directory = settings.Text("directory");
  const auto clock = MakeRealClock();
  CS_ASSIGN_OR_RETURN(const lv::Connection connection,
                      lv::Connect("qemu:///system", lv::Access::kReadWrite));
  std::vector<std::unique_ptr<lv::TestGuest>> guests;
  for (int i = 0; i < static_cast<int>(settings.Number("vms")); ++i) {
    CS_ASSIGN_OR_RETURN(
        auto guest, lv::TestGuest::Boot(*clock, connection.get(), absl::StrCat("vm-", i + 1), image,
                                        settings.Text("initrd")));
    guests.push_back(std::move(guest));
  }
  lv::LibvirtOptions options;
  options.host_id = "recorder";
  CS_ASSIGN_OR_RETURN(const auto reader, lv::LibvirtHostReader::Create(options));
  const Daemon daemon(settings.Text("daemon"), directory);

  struct Before {
    absl::Duration read;
    absl::Duration independent;
    MonoTime read_time;
    MonoTime independent_time;
  };
  std::vector<Before> before(guests.size());
  std::vector<int64_t> held(guests.size(), -1);
  std::vector<std::vector<Row>> rows(guests.size());
  const MonoTime start = clock->MonoNow();
  const double length = settings.Number("seconds");
  for (double t = 0; t <= length; t += 1) {
    clock->SleepUntil(start + absl::Seconds(t), std::stop_token());
    if (!daemon.is_running()) {
      return absl::InternalError(
          absl::StrCat("cloudscaled ended; see ", directory, "/cloudscaled.log"));
    }
    CS_ASSIGN_OR_RETURN(const hypervisor::HostReading reading, reader->Read());
    for (size_t i = 0; i < guests.size(); ++i) {
      Row row;
      row.seconds = absl::ToDoubleSeconds(reading.monotonic_time - start);
      row.wanted_cores = LoadAt(static_cast<int>(i), t);
      CS_RETURN_IF_ERROR(guests[i]->SetLoad(row.wanted_cores));
      if (const int64_t wanted = MemoryAt(static_cast<int>(i), t); wanted != held[i]) {
        CS_RETURN_IF_ERROR(guests[i]->HoldMemory(wanted));
        held[i] = wanted;
      }
      row.wanted_mib = static_cast<double>(held[i]) / kMiB;
      CS_ASSIGN_OR_RETURN(const pid_t process, guests[i]->process());
      CS_ASSIGN_OR_RETURN(const absl::Duration independent, lv::ProcessCpuTime(process));
      const MonoTime now = clock->MonoNow();
      for (const hypervisor::VmReading& vm : reading.vms) {
        if (vm.uuid != guests[i]->uuid() || !vm.cpu_time || !vm.allocation) {
          continue;
        }
        row.cap_cores = vm.allocation->cpu_cap_cores.value_or(-1);
        row.balloon_mib = static_cast<double>(vm.memory_current_bytes.value_or(0)) / kMiB;
        row.target_mib = static_cast<double>(vm.allocation->memory_target_bytes.value_or(
                             vm.memory_maximum_bytes.value_or(0))) /
                         kMiB;
        if (t > 0) {
          row.read_cores = absl::FDivDuration(*vm.cpu_time - before[i].read,
                                              reading.monotonic_time - before[i].read_time);
          row.independent_cores = absl::FDivDuration(independent - before[i].independent,
                                                     now - before[i].independent_time);
          rows[i].push_back(row);
        }
        before[i] = {*vm.cpu_time, independent, reading.monotonic_time, now};
      }
    }
  }
  settings.PrintHeader("recorded_run");
  RowPrinter printer(settings.is_json());
  for (size_t i = 0; i < guests.size(); ++i) {
    const std::string& name = guests[i]->name();
    WriteCsv(absl::StrCat(directory, "/", name, ".csv"), rows[i]);
    double difference = 0;
    double cap_sum = 0;
    int capped = 0;
    for (const Row& row : rows[i]) {
      difference += std::abs(row.read_cores - row.independent_cores);
      if (row.cap_cores > 0) {
        cap_sum += row.cap_cores;
        ++capped;
      }
    }
    const auto count = static_cast<double>(rows[i].size());
    printer.Print({{"vm", name},
                   {"rows", absl::StrCat(rows[i].size())},
                   {"mean_difference_cores", absl::StrFormat("%.4f", difference / count)},
                   {"capped_rows", absl::StrCat(capped)},
                   {"mean_cap_cores", absl::StrFormat("%.3f", capped > 0 ? cap_sum / capped : 0)}});
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Settings settings({{"daemon", "cloudscaled"},
                     {"seconds", "180"},
                     {"vms", "2"},
                     {"directory", "."},
                     {"initrd", ""}});
  absl::Status status = settings.Parse(argc, argv);
  if (status.ok()) {
    status = Run(settings);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "recorded_run: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace cloudscale::bench

int main(int argc, char** argv) { return cloudscale::bench::Main(argc, argv); }
