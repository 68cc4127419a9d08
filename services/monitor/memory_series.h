#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "common/time/clock.h"
#include "hypervisor/types.h"
#include "services/monitor/guest_reports.h"
#include "services/monitor/sample.h"
#include "services/monitor/sampling_config.h"

namespace cloudscale::monitor {

// What one step needs beside the reading of the VM.
struct MemoryStepContext {
  MonoTime read_at;
  MonoTime now;
  bool is_new_incarnation = false;
  const HeldReport* guest = nullptr;  // newest report of the VM, whatever its age; may be null
};

// Merges what the hypervisor and the guest say of one VM's memory, and judges it.
//
//   used = the larger of the hypervisor's number and the guest's (total - available). A guest may
//   err or lie in either direction: it can raise its own number up to what it has, and cannot
//   hide what the hypervisor sees. To it comes what the guest's kernel keeps for itself: what the
//   VM holds without what its kernel manages (`total`), since the VM is given both together.
//
// kImpossible: zero (except of a process group) or negative use while running, more than the VM's
// maximum, a guest that claims more memory than the VM has. kSkewed: the guest's wall clock is off.
// kLate: only the guest tells, so that nothing confirms its word (unless it is trusted, see
// SamplingConfig). kMissing, later
// kStale: nobody tells, or only a report older than `max_guest_age` is left. Gauges may
// legitimately stand still, so there is no kStuck. Thread safety: thread-compatible.
class MemorySeries {
 public:
  // Fills the memory fields of `out`, and the counters of memory when `out.counters` is set.
  void Step(const SamplingConfig& config, const MemoryStepContext& context,
            const hypervisor::VmReading& vm, VmSample& out);

  // Nothing new was read; as CpuSeries::Skip.
  void Skip(const SamplingConfig& config, MonoTime now, Quality quality, VmSample& out);

  // The host restarted; the next sample is kReset.
  void Restart() { is_reset_pending_ = last_good_.has_value() || is_reset_pending_; }

  // True when a report that came in since the last call shows that the guest is at work. For
  // CpuSeries, as a second witness.
  [[nodiscard]] bool TakeLoadEvidence(const HeldReport* guest);

 private:
  // The guest's report if it may be used now, else null; sets `is_lie` when it claims more than the
  // VM has.
  const HeldReport* UsableGuest(const SamplingConfig& config, const MemoryStepContext& context,
                                const hypervisor::VmReading& vm, bool& is_lie) const;
  // True when more processes were killed for memory than this source told before.
  bool NoteOomKills(const std::string& source, const std::optional<int64_t>& count);
  void NoteOverhead(const SamplingConfig& config, const hypervisor::VmReading& vm,
                    const HeldReport* guest);
  [[nodiscard]] int64_t Overhead() const;

  std::optional<MonoTime> incarnation_since_;  // reports from before belong to the previous boot
  bool is_reset_pending_ = false;
  std::optional<MonoTime> last_good_;
  std::string oom_source_;  // incarnation, or the guest's boot
  std::optional<int64_t> oom_kill_count_;
  int64_t evidence_sequence_ = 0;
  // Newest differences of what the VM held and what its kernel managed. While a balloon moves, one
  // of the two numbers is older than the other; the median is of times when it stood still.
  std::deque<int64_t> overheads_;
};

}  // namespace cloudscale::monitor
