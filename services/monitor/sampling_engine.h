#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/time/clock.h"
#include "hypervisor/types.h"
#include "services/monitor/cpu_series.h"
#include "services/monitor/guest_reports.h"
#include "services/monitor/memory_series.h"
#include "services/monitor/quality.h"
#include "services/monitor/sample.h"
#include "services/monitor/sampling_config.h"

namespace cloudscale::monitor {

// One tick of the sampling loop.
struct Tick {
  int64_t sequence = 0;  // see TickSchedule
  MonoTime mono;
  absl::Time wall;
  absl::Duration read_duration;  // how long the reading took
};

// What the engine has seen since its start.
struct SamplingStats {
  QualityCounts cpu;
  QualityCounts memory;
  int64_t failed_reading_count = 0;
  int64_t wall_jump_count = 0;
  int64_t host_restart_count = 0;
  int64_t ignored_vm_count = 0;  // doubled or above the bound of one snapshot
};

// Turns readings of the hypervisor and reports of the guests into snapshots in which every series
// carries a quality. Bad, late, repeated or missing data is marked, counted and left without a
// value; it never appears as small usage (promise P1).
//
// VMs are followed by uuid and incarnation. One that could not be read stays in the snapshot as
// kMissing, then kStale; one that the hypervisor no longer knows leaves it at once, and is
// forgotten after `forget_after_periods`.
//
// Pure: no clock, no threads, no I/O. Cost of a step is linear in the VMs. Memory is bounded by the
// VMs seen within `forget_after_periods`, of which a snapshot holds at most `kMaxVms`.
// Thread safety: thread-compatible.
class SamplingEngine {
 public:
  static constexpr size_t kMaxVms = 4096;

  explicit SamplingEngine(SamplingConfig config) : config_(std::move(config)) {}

  // `guests` holds the newest report per VM, see GuestReportStore::held.
  [[nodiscard]] HostSnapshot Step(const Tick& tick,
                                  const absl::StatusOr<hypervisor::HostReading>& reading,
                                  const std::map<std::string, HeldReport>& guests);

  [[nodiscard]] const SamplingStats& stats() const { return stats_; }
  [[nodiscard]] const SamplingConfig& config() const { return config_; }

 private:
  struct Track {
    VmSample known;               // name, vCPUs, maximum and allocation as last read
    bool has_allocation = false;  // of the present incarnation
    std::string incarnation;
    bool was_read = false;
    absl::Time counters_since;
    CpuSeries cpu;
    MemorySeries memory;
    MonoTime last_listed;
  };
  // Facts about the whole reading that colour every sample of it.
  struct ReadingContext {
    bool is_repeated = false;
    bool is_skewed = false;
    double capacity_cores = 0;
  };

  ReadingContext Admit(const Tick& tick, const hypervisor::HostReading& reading);
  bool NoteWallJump(const Tick& tick);
  VmSample StepVm(const Tick& tick, const hypervisor::HostReading& reading,
                  const ReadingContext& context, const hypervisor::VmReading& vm,
                  const HeldReport* guest);
  VmSample SkipVm(const Tick& tick, Track& track, Quality quality);
  void StepAll(const Tick& tick, const hypervisor::HostReading& reading,
               const ReadingContext& context, const std::map<std::string, HeldReport>& guests,
               HostSnapshot& out);
  void SkipAll(const Tick& tick, HostSnapshot& out);
  void FillHost(const hypervisor::HostReading& reading, HostSnapshot& out);
  void Finish(const Tick& tick, HostSnapshot& out);

  const SamplingConfig config_;
  SamplingStats stats_;
  std::map<std::string, Track> tracks_;
  HostSample last_host_;
  std::string host_id_;
  std::string boot_id_;
  std::optional<MonoTime> last_read_at_;
  std::optional<Tick> last_tick_;
};

}  // namespace cloudscale::monitor
