#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agents/guest/report.h"

namespace cloudscale::guest {

// What the monitor said to one message. Untrusted.
struct ReportAnswer {
  int64_t acknowledged_sequence = 0;     // the highest taken
  std::optional<absl::Duration> period;  // the monitor wants another
  int64_t refused_count = 0;             // on this stream, since it began
  std::string refused_reason;            // why the last one was
};

// One way to the monitor, with one stream at a time: a message goes out, its answer comes back.
// Knows nothing of buffers, repeats and waits; those are the client's. Thread safety: one thread,
// except for `Cancel`.
class ReportTransport {
 public:
  virtual ~ReportTransport() = default;

  // Begins a stream; one that is open must be closed before. Does not wait for the peer: that it
  // cannot be reached shows at the first `Exchange`.
  virtual void Open() = 0;

  // Sends `reports` (not empty) as one message and waits for the answer, however long it takes. An
  // error ends the stream: only `Close` may follow. CANCELLED after `Cancel`; UNAVAILABLE when the
  // peer is not there or went away; else what the peer ended the stream with.
  virtual absl::StatusOr<ReportAnswer> Exchange(const std::vector<Report>& reports) = 0;

  // Serves the connection while there is nothing to send, such as the peer's pings. Never waits.
  // An error ends the stream, as above.
  virtual absl::Status Tend() = 0;

  virtual void Close() = 0;

  // Makes the present stream's `Exchange`, under way or to come, return soon. From any thread,
  // between `Open` and `Close`.
  virtual void Cancel() = 0;
};

}  // namespace cloudscale::guest
