#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::monitor {

// Pressure stall information as the guest tells it, ratios over 10 s in 0..1.
struct GuestPressure {
  double some_ratio = 0;
  std::optional<double> full_ratio = std::nullopt;
};

// What a VM says of itself. Untrusted: nothing in it has been checked.
struct GuestReport {
  std::string vm_uuid;
  std::string boot_id;
  int64_t sequence = 0;
  absl::Time sample_time;
  absl::Duration uptime;
  int64_t memory_total_bytes = 0;
  std::optional<int64_t> memory_available_bytes;  // old kernels do not tell
  int64_t memory_free_bytes = 0;
  std::optional<int64_t> memory_cached_bytes;
  std::optional<int64_t> swap_total_bytes;
  std::optional<int64_t> swap_free_bytes;
  std::optional<int64_t> swap_in_bytes;
  std::optional<int64_t> swap_out_bytes;
  std::optional<int64_t> major_fault_count;
  std::optional<int64_t> oom_kill_count;
  std::optional<GuestPressure> cpu_pressure;
  std::optional<GuestPressure> memory_pressure;
  std::optional<GuestPressure> io_pressure;
  std::optional<int64_t> run_queue_length;
  std::optional<double> load_average;
  std::optional<double> cpu_steal_ratio;
  std::optional<int64_t> vcpu_count;
};

// The newest accepted report of one VM.
struct HeldReport {
  GuestReport report;
  MonoTime received_at;
  // Guest's wall clock minus the host's at the time of receipt.
  absl::Duration clock_skew;
};

struct GuestReportConfig {
  // Steady rate per VM; a burst of up to `kBurstReports` is let through for a backlog.
  double max_reports_per_second = 10;
};

// Takes reports from guests, who are not trusted (promise P8): each is checked field by field,
// bound to the VM it came from, limited in rate, and only the newest is kept. A report can at most
// change how its own VM is seen; the engine bounds that again by what the VM has.
//
// Memory is bounded by the number of VMs on the host. Thread safety: thread-compatible.
class GuestReportStore {
 public:
  // Two full messages of the protocol.
  static constexpr double kBurstReports = 120;
  // More memory, CPUs or time than any machine has: such a value is a lie or a bug.
  static constexpr int64_t kMaxBytes = int64_t{1} << 50;
  static constexpr int64_t kMaxCount = int64_t{1} << 53;

  explicit GuestReportStore(GuestReportConfig config) : config_(config) {}

  // Replaces the set of VMs that reports are taken from; reports of others are forgotten.
  void SetKnownVms(const std::set<std::string>& uuids);

  // Checks and keeps one report. `bound_uuid` is the VM that the sender is authenticated as or has
  // named first. OK also for a report that was delivered before, which changes nothing.
  // INVALID_ARGUMENT with every fault; PERMISSION_DENIED when it speaks for another VM; NOT_FOUND
  // for a VM that is not on this host (it may become known, so the sender should keep the report);
  // RESOURCE_EXHAUSTED above the rate.
  absl::Status Take(MonoTime now, absl::Time wall_now, absl::string_view bound_uuid,
                    const GuestReport& report);

  // Newest report per VM, whatever its age. Sorted by uuid.
  [[nodiscard]] const std::map<std::string, HeldReport>& held() const { return held_; }

  [[nodiscard]] int64_t refused_count() const { return refused_count_; }

  // True at the first refusal with this code of a VM on this host, to be told once; a VM that
  // leaves the host is forgotten.
  [[nodiscard]] bool NoteRefusal(absl::string_view bound_uuid, absl::StatusCode code);

 private:
  struct Bucket {
    double tokens = kBurstReports;
    MonoTime filled_at;
  };
  absl::Status Check(MonoTime now, absl::string_view bound_uuid, const GuestReport& report);
  bool TakeToken(MonoTime now, const std::string& uuid);

  const GuestReportConfig config_;
  std::set<std::string> known_;
  std::map<std::string, HeldReport> held_;
  std::map<std::string, Bucket> buckets_;
  std::map<std::string, std::set<absl::StatusCode>> refusals_;
  int64_t refused_count_ = 0;
};

// The checks that need nothing but the report; exposed for fuzzing. OK or INVALID_ARGUMENT with all
// faults.
[[nodiscard]] absl::Status ValidateGuestReport(const GuestReport& report);

// True for 8-4-4-4-12 lower-case hexadecimal digits.
[[nodiscard]] bool IsUuid(absl::string_view text);

}  // namespace cloudscale::monitor
