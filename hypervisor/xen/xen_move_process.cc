#include "hypervisor/xen/xen_move_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::xen {
namespace {

constexpr int kSignalBase = 128;

std::string ReadSmallFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct ProcessFacts {
  char state = 'X';
  int64_t session = 0;
  int64_t start = 0;
};

std::optional<ProcessFacts> ReadFacts(pid_t process) {
  const std::string text = ReadSmallFile(absl::StrCat("/proc/", process, "/stat"));
  // The name stands in parentheses and may hold anything.
  const size_t end = text.rfind(')');
  if (end == std::string::npos) {
    return std::nullopt;
  }
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kSession = 3;
  constexpr size_t kStart = 19;
  ProcessFacts facts;
  if (fields.size() <= kStart || fields[0].empty() ||
      !absl::SimpleAtoi(fields[kSession], &facts.session) ||
      !absl::SimpleAtoi(fields[kStart], &facts.start)) {
    return std::nullopt;
  }
  facts.state = fields[0][0];
  return facts;
}

std::vector<pid_t> MembersOf(pid_t session) {
  std::vector<pid_t> members;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), last; !error && entry != last;
       entry.increment(error)) {
    pid_t process = 0;
    if (!absl::SimpleAtoi(entry->path().filename().string(), &process)) {
      continue;
    }
    const std::optional<ProcessFacts> facts = ReadFacts(process);
    if (facts.has_value() && facts->session == session && facts->state != 'Z') {
      members.push_back(process);
    }
  }
  return members;
}

// Between fork and exec: calls alone that are safe there, no memory is taken.
[[noreturn]] void BecomeProgram(char* const* words, int output, int go, int report) {
  char leave = 0;
  if (read(go, &leave, 1) != 1) {
    _exit(0);  // our starter is gone, or has thought better of it
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) {
    signal(number, SIG_DFL);
  }
  const int nothing = open("/dev/null", O_RDONLY);
  int error = 0;
  if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
      dup2(report, 3) < 0 || fcntl(3, F_SETFD, FD_CLOEXEC) < 0) {
    error = errno;
  } else {
    report = 3;
    close_range(4, UINT_MAX, 0);
    execvp(words[0], words);
    error = errno;
  }
  // Lost only when the reader is gone.
  static_cast<void>(!write(report, &error, sizeof(error)));
  _exit(127);
}

void CloseOnce(int& file) {
  if (file >= 0) {
    close(file);
    file = -1;
  }
}

absl::Status FromErrno(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<ProcessId> StartInSession(
    const std::vector<std::string>& words, int output,
    const std::function<absl::Status(const ProcessId&)>& before_start) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (const std::string& word : words) {
    pointers.push_back(const_cast<char*>(word.c_str()));
  }
  pointers.push_back(nullptr);
  std::array<int, 2> go{-1, -1};
  std::array<int, 2> report{-1, -1};
  const absl::Cleanup close_all = [&] {
    for (int* file : {&go[0], &go[1], &report[0], &report[1]}) {
      CloseOnce(*file);
    }
  };
  // A socket, since one can be written to without a signal when the child has died.
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go.data()) != 0 ||
      pipe2(report.data(), O_CLOEXEC) != 0) {
    return FromErrno("pipe to a new process");
  }
  const pid_t child = fork();
  if (child < 0) {
    return FromErrno("fork");
  }
  if (child == 0) {
    setsid();
    close(go[1]);
    BecomeProgram(pointers.data(), output, go[0], report[1]);
  }
  CloseOnce(report[1]);
  absl::Cleanup give_up = [&] {
    CloseOnce(go[1]);
    waitpid(child, nullptr, 0);
  };
  const std::optional<ProcessFacts> facts = ReadFacts(child);
  if (!facts.has_value()) {
    return absl::InternalError(absl::StrCat("/proc does not tell of process ", child));
  }
  const ProcessId process{child, facts->start};
  CS_RETURN_IF_ERROR(before_start(process));
  if (send(go[1], "g", 1, MSG_NOSIGNAL) != 1) {
    return FromErrno("start of a new process");
  }
  int error = 0;
  ssize_t count = 0;
  do {
    count = read(report[0], &error, sizeof(error));  // ends at once when the program begins
  } while (count < 0 && errno == EINTR);
  if (count == sizeof(error)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot run ", words[0], ": ", std::strerror(error)));
  }
  std::move(give_up).Cancel();
  return process;
}

bool IsRunning(const ProcessId& process) {
  const std::optional<ProcessFacts> facts = ReadFacts(process.id);
  return facts.has_value() && facts->start == process.start && facts->state != 'Z';
}

std::optional<int> ReapExitCode(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, WNOHANG) != child) {
    return std::nullopt;
  }
  return WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
}

std::optional<pid_t> FindSaveHelper(pid_t session) {
  for (const pid_t process : MembersOf(session)) {
    const std::string line = ReadSmallFile(absl::StrCat("/proc/", process, "/cmdline"));
    if (absl::StrContains(line, "libxl-save-helper") &&
        absl::StrContains(line, std::string("\0--save-domain\0", 15))) {
      return process;
    }
  }
  return std::nullopt;
}

std::optional<int64_t> WrittenBytes(pid_t process) {
  for (const absl::string_view line : absl::StrSplit(
           ReadSmallFile(absl::StrCat("/proc/", process, "/io")), '\n', absl::SkipEmpty())) {
    int64_t bytes = 0;
    if (absl::StartsWith(line, "wchar:") && absl::SimpleAtoi(line.substr(6), &bytes)) {
      return bytes;
    }
  }
  return std::nullopt;
}

void AskToStop(pid_t session) {
  if (const std::optional<pid_t> helper = FindSaveHelper(session)) {
    kill(*helper, SIGTERM);
    return;
  }
  for (const pid_t process : MembersOf(session)) {
    kill(process, SIGTERM);
  }
}

}  // namespace cloudscale::hypervisor::xen
