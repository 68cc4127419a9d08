#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/time/clock.h"
#include "common/timeseries/ring_buffer.h"
#include "services/monitor/sample.h"

namespace cloudscale::monitor {

// The measured part of one sample of one VM, packed for keeping: NaN and -1 stand for "absent".
// About 170 bytes, so that an hour of 100 VMs at 1 Hz takes some 60 MB.
struct HistoryPoint {
  int64_t sequence = 0;
  absl::Time sample_time;
  MonoTime monotonic_time;
  hypervisor::VmState state = hypervisor::VmState::kUnknown;
  Quality cpu_quality = Quality::kMissing;
  Quality memory_quality = Quality::kMissing;
  GuestSource guest_source = GuestSource::kNone;
  bool is_cpu_demand_lower_bound = false;
  int32_t vcpu_count = 0;
  double cpu_usage_cores = 0;
  double cpu_demand_cores = 0;
  float cpu_throttled_ratio = 0;
  float cpu_wait_ratio = 0;
  double cpu_cap_cores = 0;
  float cpu_weight = 0;
  float memory_pressure_some_ratio = 0;
  float memory_pressure_full_ratio = 0;
  int64_t memory_target_bytes = -1;
  int64_t memory_allocated_bytes = -1;
  int64_t memory_maximum_bytes = -1;
  int64_t memory_used_bytes = -1;
  int64_t memory_demand_bytes = -1;
  int64_t memory_guest_total_bytes = -1;
  int64_t memory_guest_available_bytes = -1;

  // Back to a sample; without counters, name and report age, which are not kept.
  [[nodiscard]] VmSample ToSample(const std::string& uuid) const;
};

// The newest samples of each VM. Bounded: `samples_per_vm` points for each VM that was in a
// snapshot within the last `forget_after`. Thread safety: thread-compatible.
class SampleHistory {
 public:
  // `samples_per_vm` must be > 0.
  SampleHistory(size_t samples_per_vm, absl::Duration forget_after)
      : samples_per_vm_(samples_per_vm), forget_after_(forget_after) {}

  // `now` is the monitor's own time; a snapshot of a failed reading is kept as well, so that gaps
  // are visible.
  void Add(MonoTime now, const HostSnapshot& snapshot);

  [[nodiscard]] bool Knows(const std::string& uuid) const { return series_.contains(uuid); }

  // Up to `limit` points with sequence > `after_sequence` and start <= sample time < end, oldest
  // first; empty for an unknown VM.
  [[nodiscard]] std::vector<HistoryPoint> List(const std::string& uuid, int64_t after_sequence,
                                               absl::Time start, absl::Time end,
                                               size_t limit) const;

 private:
  struct Series {
    explicit Series(size_t capacity) : points(capacity) {}
    RingBuffer<HistoryPoint> points;
    MonoTime last_added;
  };
  const size_t samples_per_vm_;
  const absl::Duration forget_after_;
  std::map<std::string, Series> series_;
};

}  // namespace cloudscale::monitor
