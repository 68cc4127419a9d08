#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// What HAProxy 2.6 answers, as data. All parsers look columns up by their names, since versions add
// some; INTERNAL when an answer lacks what is needed or holds nonsense. Whatever the text, they
// end.

// `show info;show servers state;show stat` in one connection, so that one process answers all.
// UNAVAILABLE when the answer is cut.
[[nodiscard]] absl::StatusOr<BalancerState> ParseState(const std::string& answer);

// `show info`. The epoch is process id with start time: a reload is a new process. UNAVAILABLE from
// a process that is stopping: while HAProxy is reloaded, the old one may still answer.
[[nodiscard]] absl::StatusOr<BalancerInfo> ParseInfo(const std::string& text);

// `show servers state` joined with the CSV of `show stat`; frontends and listeners are left out.
[[nodiscard]] absl::StatusOr<std::vector<BackendInfo>> ParseBackends(
    const std::string& servers_state, const std::string& stat);

// The answer to a changing command: empty or one of the known confirmations is OK.
[[nodiscard]] absl::Status ParseOutcome(const std::string& command, const std::string& answer);

// The command was refused because the backend's algorithm takes no weights.
[[nodiscard]] bool SaysStaticAlgorithm(const absl::Status& outcome);

}  // namespace cloudscale::lbctl
