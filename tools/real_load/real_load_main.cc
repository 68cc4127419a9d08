// The machines of `./run --real`: makes a parent cgroup with one group per worker, starts a worker
// with a changing load in each, and removes everything when told to stop. Needs root.

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/logging/log.h"
#include "common/status/macros.h"
#include "common/time/clock.h"
#include "hypervisor/cgroup/cgroup_tree.h"
#include "nlohmann/json.hpp"

ABSL_FLAG(std::string, ready_file, "",
          "receives the name of the parent group once all workers run");
ABSL_FLAG(std::string, report_directory, ".", "where each worker writes its report");
ABSL_FLAG(std::string, worker, "",
          "the worker program; default: cloudscale-worker beside this one");
ABSL_FLAG(std::string, parent_group, "", "default: cloudscale-real-<process id>");
ABSL_FLAG(bool, steady, false, "a constant load instead of a changing one");
ABSL_FLAG(double, total_peak_cores, 0,
          "sum of the workers' peaks; default: three quarters of the CPUs");

namespace cloudscale {
namespace {

struct Worker {
  const char* name;
  const char* pattern;
  double share;  // of the total peak
  int memory_mib;
};
constexpr std::array<Worker, 3> kWorkers = {
    {{"web-1", "web", 0.45, 48}, {"db-1", "bursty", 0.35, 96}, {"batch-1", "batch", 0.20, 32}}};

std::string BesideThisProgram(const std::string& name) {
  std::array<char, 4096> path{};
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size() - 1);
  const std::string self = length > 0 ? std::string(path.data(), static_cast<size_t>(length)) : "";
  return absl::StrCat(self.substr(0, self.rfind('/') + 1), name);
}

class RealLoad {
 public:
  absl::Status Start() {
    hypervisor::cgroup::CgroupOptions options;
    options.parent_group = absl::GetFlag(FLAGS_parent_group);
    if (options.parent_group.empty()) {
      options.parent_group = absl::StrCat("cloudscale-real-", getpid());
    }
    parent_ = options.parent_group;
    options.host_id = "real-load";
    CS_ASSIGN_OR_RETURN(tree_, hypervisor::cgroup::CgroupTree::Create(*clock_, options));
    double total = absl::GetFlag(FLAGS_total_peak_cores);
    if (total <= 0) {
      total = 0.75 * static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
    }
    for (const Worker& worker : kWorkers) {
      CS_ASSIGN_OR_RETURN(const auto group, tree_->CreateGroup(worker.name));
      CS_RETURN_IF_ERROR(StartWorker(worker, worker.share * total));
      std::printf("%-8s %s, peak %.2f cores\n", worker.name, worker.pattern, worker.share * total);
    }
    return absl::OkStatus();
  }

  const std::string& parent() const { return parent_; }

  // OK while all workers run.
  absl::Status Check() {
    for (const auto& [pid, name] : running_) {
      int status = 0;
      if (waitpid(pid, &status, WNOHANG) == pid) {
        const std::string what = absl::StrCat("worker ", name, " ended with status ", status);
        running_.erase(pid);
        return absl::InternalError(what);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Stop() {
    for (const auto& [pid, name] : running_) {
      kill(pid, SIGTERM);
    }
    for (const auto& [pid, name] : running_) {
      waitpid(pid, nullptr, 0);
    }
    running_.clear();
    PrintReports();
    return tree_ == nullptr ? absl::OkStatus() : tree_->Remove();
  }

 private:
  std::string ReportFile(const char* name) const {
    return absl::StrCat(absl::GetFlag(FLAGS_report_directory), "/worker-", name, ".jsonl");
  }

  absl::Status StartWorker(const Worker& worker, double peak_cores) {
    std::string program = absl::GetFlag(FLAGS_worker);
    if (program.empty()) {
      program = BesideThisProgram("cloudscale-worker");
    }
    const std::vector<std::string> arguments = {
        program,
        absl::StrCat("--pattern=", absl::GetFlag(FLAGS_steady) ? "flat" : worker.pattern),
        absl::StrFormat("--peak-cores=%.3f", peak_cores),
        absl::StrCat("--memory-mib=", worker.memory_mib),
        absl::StrCat("--seed=", worker.memory_mib),
        absl::StrCat("--report=", ReportFile(worker.name))};
    std::vector<char*> pointers;
    for (const std::string& argument : arguments) {
      pointers.push_back(const_cast<char*>(argument.c_str()));
    }
    pointers.push_back(nullptr);
    // The child waits for a byte, so that it does no work before it is in its group.
    std::array<int, 2> gate{};
    if (pipe2(gate.data(), O_CLOEXEC) != 0) {
      return absl::ErrnoToStatus(errno, "pipe");
    }
    const pid_t pid = fork();
    if (pid == 0) {
      sigset_t none;
      sigemptyset(&none);
      sigprocmask(SIG_SETMASK, &none, nullptr);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      char byte = 0;
      close(gate[1]);
      if (read(gate[0], &byte, 1) == 1) {
        execv(program.c_str(), pointers.data());
      }
      std::fprintf(stderr, "cannot run %s\n", program.c_str());
      _exit(127);
    }
    close(gate[0]);
    absl::Status status =
        pid < 0 ? absl::ErrnoToStatus(errno, "fork") : tree_->Attach(worker.name, pid);
    if (pid > 0) {
      running_[pid] = worker.name;
    }
    if (status.ok() && write(gate[1], "x", 1) != 1) {
      status = absl::ErrnoToStatus(errno, "starting the worker");
    }
    close(gate[1]);
    return status;
  }

  // What the load itself saw: the only witness of what the caps did to the work.
  void PrintReports() const {
    std::printf("seen by the workers themselves:\n");
    for (const Worker& worker : kWorkers) {
      std::ifstream file(ReportFile(worker.name));
      std::string line;
      double demanded = 0;
      double done = 0;
      double worst_p95 = 0;
      int64_t seconds = 0;
      while (std::getline(file, line)) {
        const auto row = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (row.is_discarded()) {
          continue;  // the last line may be cut when the worker was stopped
        }
        demanded += row.value("demanded_cpu_seconds", 0.0);
        done += row.value("done_cpu_seconds", 0.0);
        if (const auto p95 = row.find("latency_p95_seconds");
            p95 != row.end() && p95->is_number()) {
          worst_p95 = std::max(worst_p95, p95->get<double>() * 1000);
        }
        ++seconds;
      }
      std::printf(
          "  %-8s %3d s: %.1f CPU-seconds of work asked, %.1f done, worst p95 latency %.0f ms\n",
          worker.name, static_cast<int>(seconds), demanded, done, worst_p95);
    }
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  std::unique_ptr<hypervisor::cgroup::CgroupTree> tree_;
  std::map<pid_t, std::string> running_;
  std::string parent_;
};

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Starts real workers with a changing load, each in a cgroup of its own.");
  absl::ParseCommandLine(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  // Whoever starts us with INT ignored wants it to pass us by; a blocked signal would still be
  // queued.
  struct sigaction interrupt{};
  if (sigaction(SIGINT, nullptr, &interrupt) == 0 && interrupt.sa_handler != SIG_IGN) {
    sigaddset(&signals, SIGINT);
  }
  sigprocmask(SIG_BLOCK, &signals, nullptr);

  RealLoad load;
  absl::Status status = load.Start();
  if (status.ok()) {
    if (const std::string ready = absl::GetFlag(FLAGS_ready_file); !ready.empty()) {
      std::ofstream(ready + ".new") << load.parent() << "\n";
      if (std::rename((ready + ".new").c_str(), ready.c_str()) != 0) {
        status = absl::ErrnoToStatus(errno, ready);
      }
    }
  }
  std::fflush(stdout);
  const timespec period{.tv_sec = 0, .tv_nsec = 200'000'000};
  while (status.ok() && sigtimedwait(&signals, nullptr, &period) < 0) {
    status = load.Check();
  }
  const absl::Status stopped = load.Stop();
  for (const absl::Status& s : {status, stopped}) {
    if (!s.ok()) {
      std::fprintf(stderr, "cloudscale-real-load: %s\n", std::string(s.message()).c_str());
    }
  }
  return status.ok() && stopped.ok() ? 0 : 1;
}

}  // namespace
}  // namespace cloudscale

int main(int argc, char** argv) { return cloudscale::Main(argc, argv); }
