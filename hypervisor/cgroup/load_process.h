#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cloudscale::hypervisor::cgroup {

// A real process with one thread and a known load, for integration tests. Dies with its parent and
// with this object. Start only from a process without other threads. Thread safety:
// thread-compatible.
class LoadProcess {
 public:
  struct Spec {
    double load_cores = 1;                     // 0..1; share of wall time that it wants to run
    int64_t memory_bytes = 0;                  // touched after `place`
    std::optional<int> on_cpu = std::nullopt;  // pinned there
  };
  // Runs `place` with the process id before the load begins; returns once it runs.
  static absl::StatusOr<std::unique_ptr<LoadProcess>> Start(
      const Spec& spec, const std::function<absl::Status(pid_t)>& place);
  ~LoadProcess();
  LoadProcess(const LoadProcess&) = delete;
  LoadProcess& operator=(const LoadProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  // User and system time from /proc/<pid>/stat: the scheduler's own accounting of the process,
  // which knows nothing of groups. Resolution: a clock tick.
  [[nodiscard]] absl::StatusOr<absl::Duration> CpuTime() const;

 private:
  explicit LoadProcess(pid_t pid) : pid_(pid) {}
  const pid_t pid_;
};

}  // namespace cloudscale::hypervisor::cgroup
