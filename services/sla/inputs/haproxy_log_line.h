#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cloudscale::sla {

// What one line of HAProxy's HTTP log (`option httplog`) tells of a request. A time is absent where
// HAProxy writes -1, because the request did not get that far.
struct HaproxyRequest {
  static constexpr size_t kMaxNameLength = 256;

  std::string backend;
  std::string server;                        // empty: none was chosen (`<NOSRV>`)
  std::optional<absl::Duration> receiving;   // TR: until the client had sent its request
  std::optional<absl::Duration> queueing;    // Tw
  std::optional<absl::Duration> connecting;  // Tc
  std::optional<absl::Duration> responding;  // Tr: from the request to the response's headers
  std::optional<absl::Duration> total;       // Ta
  bool is_total_partial = false;             // `option logasap`: written before the end
  std::optional<int32_t> status;             // absent: -1
  std::string termination_state;             // 4 characters; the first says who ended it
};

// Reads a line with any of HAProxy's log headers (`format local`, rfc3164, rfc5424, priority,
// short, timed, iso, raw), with or without a newline. The header is not looked into: times in it
// and in the line are the balancer's, and in its local time zone.
// Errors: NOT_FOUND when it is no line of a request (other messages go to the same log);
// INVALID_ARGUMENT, naming the field, when it is one and broken, or not of the HTTP format.
// A line that was cut off after the fields that are needed is taken.
[[nodiscard]] absl::StatusOr<HaproxyRequest> ParseHaproxyLogLine(absl::string_view line);

// What a request counts as.
enum class RequestOutcome {
  kServed,       // answered
  kFailed,       // 5xx, or ended by the server or for want of one
  kClientAbort,  // the client went away before the response began: it waited, but nobody failed
  kIgnored,      // never was a server's to answer: refused, redirected or broken requests
};

[[nodiscard]] RequestOutcome OutcomeOf(const HaproxyRequest& request);

// How long the client waited since its request was there, in seconds: until the response began, or
// until it ended with `includes_transfer`. For an aborted request how long it waited in vain, so
// that a server nobody waits for does not look quick. Absent when the line does not tell, or for
// kFailed and kIgnored. At most an hour.
[[nodiscard]] std::optional<double> WaitSeconds(const HaproxyRequest& request,
                                                bool includes_transfer);

}  // namespace cloudscale::sla
