#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cloudscale::hypervisor::xen {

// A process that outlives its starter. The start tells it from a later one of the same id.
struct ProcessId {
  pid_t id = 0;
  int64_t start = 0;  // ticks since boot
};

// Starts `words` in a session of its own, with no file of ours but `output`, where it appends what
// it says: a file and no pipe, since with a pipe it would die with its reader. `before_start` is
// called when the process is there but has not begun; when it fails, or when we die, it never does.
// Errors: FAILED_PRECONDITION when the program cannot be run, naming it; those of `before_start`.
[[nodiscard]] absl::StatusOr<ProcessId> StartInSession(
    const std::vector<std::string>& words, int output,
    const std::function<absl::Status(const ProcessId&)>& before_start);

[[nodiscard]] bool IsRunning(const ProcessId& process);

// Of a child of ours that has ended; 128 and the signal's number when a signal ended it. nullopt
// while it runs, and for what is no child of ours.
[[nodiscard]] std::optional<int> ReapExitCode(pid_t child);

// The process of `session` that sends the domain's memory; nullopt before it begins and after.
[[nodiscard]] std::optional<pid_t> FindSaveHelper(pid_t session);

// All that a process has written; nullopt when that is not told.
[[nodiscard]] std::optional<int64_t> WrittenBytes(pid_t process);

// Asks the sender of memory to stop, and when there is none, all of the session. `xl` itself must
// live on while memory is sent: it is who puts the domain right again. Idempotent.
void AskToStop(pid_t session);

}  // namespace cloudscale::hypervisor::xen
