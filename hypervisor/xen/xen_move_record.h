#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor::xen {

// What becomes of a move is written into one file: first line and notes by CloudScale, all else by
// `xl` and, through it, by the target. A process that comes later reads it from there. Pure.

// First line: who moves what.
struct MoveHeader {
  int64_t process_id = 0;     // of `xl`, which leads a session of its own
  int64_t process_start = 0;  // ticks since boot: an id alone is reused
  uint32_t domain_id = 0;     // on the source
  absl::Duration begun;       // monotonic time of the host
  std::string host_id;        // target

  friend bool operator==(const MoveHeader&, const MoveHeader&) = default;
};

struct MoveRecord {
  MoveHeader header;
  // Notes.
  bool is_cancelled = false;
  bool is_out_of_time = false;
  // Of `xl`; 128 and the signal's number when one ended it. Absent while it runs, and when the
  // process that started it was not there to hear it.
  std::optional<int> exit_code;
  // What `xl` said.
  bool is_received = false;   // the target has all of it, and waits for leave to start it
  bool is_permitted = false;  // leave was given, or was about to be: it may run there
  bool is_started = false;    // the target said that it runs there
  std::string complaint;      // the line that tells best why it failed
};

[[nodiscard]] std::string FormatHeader(const MoveHeader& header);
// On lines of their own, whatever stands before.
inline constexpr char kCancelNote[] = "\ncloudscale: cancel\n";
inline constexpr char kTimeNote[] = "\ncloudscale: out of time\n";
[[nodiscard]] std::string FormatExit(int exit_code);

// `text` is the file's beginning. When more follows that was not read, the worst is assumed: that
// the target was given leave. INVALID_ARGUMENT when the first line is not ours or not whole: then
// nothing was begun.
[[nodiscard]] absl::StatusOr<MoveRecord> ParseMove(absl::string_view text, bool is_whole);

// The domain that was to move, on the source.
enum class SourceDomain {
  kAbsent,
  kRuns,       // or is paused: it is the one copy
  kSuspended,  // stopped by the move
  kEnded,      // shut down or crashed by itself
};

// Where the move stands. The domain list decides, never the exit code alone.
[[nodiscard]] MigrationProgress JudgeMove(const MoveRecord& record, bool is_xl_running,
                                          SourceDomain source);

// A domain that the move left suspended, and that no target was ever allowed to start, may run on
// where it is.
[[nodiscard]] bool MayResume(const MoveRecord& record, bool is_xl_running, SourceDomain source);

// One word of a shell command that stands for exactly `word`.
[[nodiscard]] std::string ShellQuoted(absl::string_view word);

// A host name or address that is one word for shell and ssh and no option: letters, digits, '.',
// '-', ':' and '_', at most 253, beginning with a letter, a digit or ':'.
[[nodiscard]] bool IsHostAddress(absl::string_view address);

}  // namespace cloudscale::hypervisor::xen
