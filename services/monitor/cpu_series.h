#pragma once

#include <cstdint>
#include <optional>

#include "common/time/clock.h"
#include "hypervisor/types.h"
#include "services/monitor/sample.h"
#include "services/monitor/sampling_config.h"

namespace cloudscale::monitor {

// What one step needs beside the reading of the VM.
struct CpuStepContext {
  MonoTime read_at;  // when the reading was taken, on the reader's time line
  MonoTime now;      // when the step runs, on the monitor's time line
  double host_capacity_cores = 0;
  bool is_new_incarnation = false;
  // A guest report received since the last sample shows load.
  bool guest_shows_load = false;
};

// Turns one VM's cumulative CPU counters into usage and demand, and judges each sample.
//
// Rates are counter differences over differences of monotonic time, so that a wall clock that
// somebody sets changes nothing (promise P15). A counter that goes back, by reset or by wrap, gives
// no rate: the two cannot be told apart, and a guess could look like idleness.
//
// A CPU counter that does not move is the hard case: an idle VM is legitimate, a stuck counter must
// never look like one. It is kStuck when
//   * another counter contradicts it in the same interval: throttled time grew, bytes were sent or
//     read from disk (received and written bytes prove nothing: the network and the host's
//     write-back move those without the VM), or the guest itself reports load; or
//   * it stands exactly still directly after a busy sample or a reset, for at most
//     `standing_samples_distrusted` samples: real work tails off, a frozen reader does not.
// After that, without any contradiction, the VM is believed to be idle. That is the limit of what
// one source can tell; where idleness without a nanosecond of use is impossible, the limit is set
// out of reach (see MakeSamplingConfig).
//
// A sample that is not believed does not move the base of the next rate, so the time is covered by
// the next believed one, except for an impossible rate twice in a row, which is taken as a step of
// the counter. Thread safety: thread-compatible.
class CpuSeries {
 public:
  // Fills the CPU fields of `out`.
  void Step(const SamplingConfig& config, const CpuStepContext& context,
            const hypervisor::VmReading& vm, VmSample& out);

  // Nothing new was read. `quality` is kMissing or kRepeated; it becomes kStale with time.
  void Skip(const SamplingConfig& config, MonoTime now, Quality quality, VmSample& out);

  // Forgets the base of rates, e.g. because the host restarted; the next sample is kReset.
  void Restart();

 private:
  struct Base {
    MonoTime read_at;
    absl::Duration cpu_time;
    std::optional<absl::Duration> throttled_time;
    std::optional<absl::Duration> wait_time;
    std::optional<int64_t> sent_bytes;
    std::optional<int64_t> disk_read_bytes;
    std::optional<double> cap_cores;
    int64_t vcpu_count = 0;
  };
  struct Rates {
    double usage = 0;
    std::optional<double> throttled;
    std::optional<double> wait;
    bool has_contradiction = false;
    bool went_back = false;
  };

  static Base MakeBase(MonoTime read_at, const hypervisor::VmReading& vm);
  static Rates Difference(const Base& from, const Base& to);
  Quality Judge(const SamplingConfig& config, const CpuStepContext& context,
                const hypervisor::VmReading& vm, VmSample& out);
  bool IsStanding(const SamplingConfig& config, const CpuStepContext& context,
                  hypervisor::VmState state, const Rates& rates, const Base& current);
  void Publish(const Rates& rates, const Base& before, const Base& current, VmSample& out);

  std::optional<Base> base_;
  bool is_reset_pending_ = false;
  std::optional<double> last_usage_cores_;  // absent after a reset: not known to be idle
  int64_t standing_count_ = 0;
  int64_t held_back_intervals_ = 0;  // in a row
  int64_t impossible_count_ = 0;
  std::optional<MonoTime> last_good_;
};

}  // namespace cloudscale::monitor
