#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace cloudscale::lbctl {

// HAProxy's runtime socket: one connection per command, as its non-interactive mode wants it.
// Thread safety: thread-safe.
class RuntimeSocket {
 public:
  // `timeout` > 0 bounds one command as a whole, in real time.
  RuntimeSocket(std::string path, absl::Duration timeout);

  // The whole answer. INVALID_ARGUMENT for a command that holds a line break or `;`, which would be
  // two; UNAVAILABLE when nobody listens; DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED for an answer over
  // 16 MiB.
  [[nodiscard]] absl::StatusOr<std::string> Ask(const std::string& command) const;
  // Several commands to one process: their answers one after the other, each ended by an empty
  // line.
  [[nodiscard]] absl::StatusOr<std::string> AskAll(const std::vector<std::string>& commands) const;

 private:
  [[nodiscard]] absl::StatusOr<std::string> Exchange(const std::string& line) const;

  const std::string path_;
  const absl::Duration timeout_;
};

}  // namespace cloudscale::lbctl
