#pragma once

#include <string>

#include "services/lbctl/balancer_control.h"

namespace cloudscale::lbctl {

// What an agent check of `key` is answered, from what is wanted of the server: `ready`, `drain` or
// `maint` when a state is wanted, and the wanted weight in per cent of the initial one, such as
// `ready 75%`. HAProxy cuts fractions of a weight off, so the number is rounded up: with initial
// weights up to 100 it arrives exactly, above that it may come out higher by initial / 100.
//
// Says nothing (a line that HAProxy takes for "no change") about what is not wanted, what somebody
// else changed since (an agent would overrule him with every check, and drift is not fought), and
// servers that are not known. One line with its end. Pure.
[[nodiscard]] std::string AgentAnswer(const BalancerView& view, const ServerKey& key);

}  // namespace cloudscale::lbctl
