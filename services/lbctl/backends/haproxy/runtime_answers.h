#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/lbctl/balancer.h"

namespace cloudscale::lbctl {

// What HAProxy 2.6 answers, as data. All parsers look columns up by their names, since versions add
// some; INTERNAL when an answer lacks what is needed.

// `show info`. The epoch is process id with start time: a reload is a new process.
[[nodiscard]] absl::StatusOr<BalancerInfo> ParseInfo(const std::string& text);

// `show servers state` joined with the CSV of `show stat`; frontends and listeners are left out.
[[nodiscard]] absl::StatusOr<std::vector<BackendInfo>> ParseBackends(
    const std::string& servers_state, const std::string& stat);

// The answer to a changing command: empty or one of the known confirmations is OK.
[[nodiscard]] absl::Status ParseOutcome(const std::string& command, const std::string& answer);

}  // namespace cloudscale::lbctl
