#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/time/clock.h"
#include "tools/worker/arrivals.h"
#include "tools/worker/report.h"
#include "tools/worker/worker.h"
#include "tools/worker/worker_options.h"

namespace cloudscale::worker {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kBadInput = 2;

int Fail(int code, absl::string_view message) {
  std::fputs(absl::StrCat("cloudscale-worker: ", message, "\n").c_str(), stderr);
  return code;
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

int Main(const std::vector<std::string>& arguments) {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) {
    return kFailed;  // it ended before we could ask to be told
  }
  const absl::StatusOr<WorkerOptions> options = ParseWorkerOptions(arguments);
  if (!options.ok()) {
    return Fail(kBadInput, options.status().message());
  }
  if (options->is_help) {
    std::fputs(std::string(WorkerUsage()).c_str(), stdout);
    return kDone;
  }
  const auto demand = MakeDemand(*options);
  if (!demand.ok()) {
    return Fail(kBadInput, demand.status().message());
  }
  std::unique_ptr<std::FILE, CloseFile> opened;
  if (!options->report_file.empty()) {
    opened.reset(std::fopen(options->report_file.c_str(), "ae"));
    if (opened == nullptr) {
      return Fail(kBadInput, absl::StrCat("cannot write ", options->report_file));
    }
  }
  std::FILE* const report = opened == nullptr ? stdout : opened.get();

  // One thread takes the signals; everybody else, started later, inherits the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::stop_source stop;
  std::thread waiter([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    stop.request_stop();
  });

  const std::vector<char> memory(static_cast<size_t>(options->memory_mib) << 20, 1);
  const std::unique_ptr<Clock> clock = MakeRealClock();
  Worker::Config config;
  config.thread_count = std::max<int64_t>(1, std::llround(std::ceil(options->peak_cores)));
  // Half a minute of full demand: past that, requests time out anyway.
  config.max_backlog = std::max<int64_t>(
      100, std::llround(options->peak_cores * 30 / absl::ToDoubleSeconds(config.unit_cpu)));
  Worker worker(*clock,
                Arrivals(*demand, {.peak_cores = options->peak_cores,
                                   .speed = options->speed,
                                   .unit_cpu = config.unit_cpu}),
                config);
  bool is_written = true;
  worker.Run(stop.get_token(), [&](Interval interval) {
    const std::string line = absl::StrCat(ToJsonLine(std::move(interval)), "\n");
    if (std::fputs(line.c_str(), report) < 0 || std::fflush(report) != 0) {
      if (is_written) {
        Fail(kFailed, "the report cannot be written");
      }
      is_written = false;  // go on: the load matters more
    }
  });
  waiter.join();
  return is_written ? kDone : kFailed;
}

}  // namespace
}  // namespace cloudscale::worker

int main(int argc, char** argv) {
  return cloudscale::worker::Main(std::vector<std::string>(argv + 1, argv + argc));
}
