#include "hypervisor/cgroup/load_process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"
#include "common/time/clock.h"
#include "hypervisor/cgroup/cgroup_files.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

absl::Duration ThreadCpuTime() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return absl::DurationFromTimespec(time);
}

[[noreturn]] void RunLoad(const LoadProcess::Spec& spec, pid_t parent, int go, int ready) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char byte = 0;
  if (getppid() != parent || read(go, &byte, 1) != 1) {
    _exit(1);
  }
  if (spec.on_cpu.has_value()) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(static_cast<size_t>(*spec.on_cpu), &cpus);
    sched_setaffinity(0, sizeof(cpus), &cpus);
  }
  std::vector<char> memory(static_cast<size_t>(spec.memory_bytes), 1);
  if (write(ready, &byte, 1) != 1) {
    _exit(1);
  }
  const std::unique_ptr<Clock> clock = MakeRealClock();
  constexpr absl::Duration kSlot = absl::Milliseconds(10);
  const absl::Duration work = kSlot * spec.load_cores;
  volatile uint64_t sink = 0;
  while (true) {
    const MonoTime start = clock->MonoNow();
    const absl::Duration done = ThreadCpuTime() + work;
    while (ThreadCpuTime() < done) {
      for (int i = 0; i < 1000; ++i) {
        sink = sink + 1;
      }
    }
    if (spec.load_cores < 1) {
      clock->SleepUntil(start + kSlot, std::stop_token());
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoadProcess>> LoadProcess::Start(
    const Spec& spec, const std::function<absl::Status(pid_t)>& place) {
  std::array<int, 2> go{};
  std::array<int, 2> ready{};
  if (pipe2(go.data(), O_CLOEXEC) != 0 || pipe2(ready.data(), O_CLOEXEC) != 0) {
    return StatusFromErrno(errno, "pipe");
  }
  const Fd go_read(go[0]);
  const Fd go_write(go[1]);
  const Fd ready_read(ready[0]);
  Fd ready_write(ready[1]);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    return StatusFromErrno(errno, "fork");
  }
  if (pid == 0) {
    RunLoad(spec, parent, go[0], ready[1]);
  }
  std::unique_ptr<LoadProcess> process(new LoadProcess(pid));
  CS_RETURN_IF_ERROR(place(pid));
  ready_write = Fd(-1);  // so that a child that dies ends the wait
  char byte = 1;
  if (write(go[1], &byte, 1) != 1 || read(ready[0], &byte, 1) != 1) {
    return absl::InternalError("the load did not start");
  }
  return process;
}

LoadProcess::~LoadProcess() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

absl::StatusOr<absl::Duration> LoadProcess::CpuTime() const {
  CS_ASSIGN_OR_RETURN(const Directory directory, OpenDirectory(absl::StrCat("/proc/", pid_)));
  CS_ASSIGN_OR_RETURN(const std::string text, ReadFile(directory, "stat"));
  // The name in parentheses may hold anything; fields 14 and 15 are the times.
  const size_t end = text.rfind(')');
  const std::vector<std::string> fields =
      absl::StrSplit(end == std::string::npos ? "" : text.substr(end + 2), ' ');
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return absl::InternalError("stat of the process is malformed");
  }
  return absl::Seconds(static_cast<double>(user + system) /
                       static_cast<double>(sysconf(_SC_CLK_TCK)));
}

}  // namespace cloudscale::hypervisor::cgroup
