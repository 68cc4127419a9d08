#include "services/monitor/memory_series.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "services/monitor/demand.h"

namespace cloudscale::monitor {
namespace {

using hypervisor::VmReading;
using hypervisor::VmState;

// Firmware tables and rounding let a guest count slightly more than it was given.
constexpr double kMemoryToleranceRatio = 1.02;
constexpr int64_t kMemoryToleranceBytes = 16LL * 1024 * 1024;
// Of what a VM holds, its kernel manages at least this; the rest is its own image and page tables,
// which are those of its largest size.
constexpr double kLeastKernelShare = 0.7;
constexpr double kBusyLoadAverage = 0.5;
constexpr double kBusyPressureRatio = 0.2;
constexpr size_t kOverheadSamples = 15;
constexpr int64_t kBusyRunQueue = 2;  // the agent itself is one

bool Exceeds(int64_t value, int64_t bound) {
  return static_cast<double>(value) >
         static_cast<double>(bound) * kMemoryToleranceRatio + kMemoryToleranceBytes;
}

// The bound that a guest's total must keep.
std::optional<int64_t> GivenBytes(const VmReading& vm) {
  return vm.memory_maximum_bytes.has_value() ? vm.memory_maximum_bytes : vm.memory_current_bytes;
}

// A process group may be empty, a running VM holds at least its kernel.
bool MustHoldMemory(const SamplingConfig& config, const VmReading& vm) {
  return vm.state == VmState::kRunning && config.backend_memory_source != GuestSource::kCgroup;
}

bool IsImpossible(const SamplingConfig& config, const VmReading& vm) {
  const bool runs = MustHoldMemory(config, vm);
  const auto bad = [&](const std::optional<int64_t>& bytes) {
    return bytes.has_value() &&
           (*bytes < 0 || (*bytes == 0 && runs) ||
            (vm.memory_maximum_bytes.has_value() && Exceeds(*bytes, *vm.memory_maximum_bytes)));
  };
  if (vm.memory_maximum_bytes.has_value() && *vm.memory_maximum_bytes <= 0) {
    return true;
  }
  if (vm.memory_pressure_some_ratio.has_value() &&
      !(*vm.memory_pressure_some_ratio >= 0 && *vm.memory_pressure_some_ratio <= 1)) {
    return true;
  }
  return bad(vm.memory_current_bytes) || bad(vm.memory_used_bytes);
}

// The hypervisor's number where it has one: a guest that shares its kernel with others tells of
// them too, and a counter must not change its source from one sample to the next.
void FillCounters(const VmReading& vm, const GuestReport* report, VmSample& out) {
  if (!out.counters.has_value()) {
    return;
  }
  Counters& counters = *out.counters;
  counters.swap_in_bytes = vm.memory_swap_in_bytes;
  counters.major_fault_count = vm.memory_major_fault_count;
  counters.oom_kill_count = vm.memory_oom_kill_count;
  if (report == nullptr) {
    return;
  }
  counters.swap_out_bytes = report->swap_out_bytes;
  const auto fill = [](std::optional<int64_t>& counter, const std::optional<int64_t>& told) {
    counter = counter.has_value() ? counter : told;
  };
  fill(counters.swap_in_bytes, report->swap_in_bytes);
  fill(counters.major_fault_count, report->major_fault_count);
  fill(counters.oom_kill_count, report->oom_kill_count);
}

// The operator takes a guest's word, this one is new, and the guest sees the memory that the
// hypervisor says it holds. While a balloon moves they differ.
bool IsTrusted(const SamplingConfig& config, MonoTime now, const VmReading& vm,
               const HeldReport* guest) {
  if (!config.is_guest_memory_trusted || guest == nullptr || !vm.memory_current_bytes.has_value() ||
      now - guest->received_at > 2 * config.period) {
    return false;
  }
  const int64_t total = guest->report.memory_total_bytes;
  return !Exceeds(total, *vm.memory_current_bytes) &&
         static_cast<double>(total) >=
             static_cast<double>(*vm.memory_current_bytes) * kLeastKernelShare -
                 kMemoryToleranceBytes;
}

void FillGuest(const GuestReport& report, VmSample& out) {
  if (report.memory_available_bytes.has_value()) {
    out.guest_source = GuestSource::kAgent;
  }
  out.memory_guest_total_bytes = report.memory_total_bytes;
  out.memory_guest_available_bytes = report.memory_available_bytes;
  if (report.memory_pressure.has_value()) {
    out.memory_pressure_some_ratio =
        std::max(out.memory_pressure_some_ratio.value_or(0), report.memory_pressure->some_ratio);
    out.memory_pressure_full_ratio = report.memory_pressure->full_ratio;
  }
}

}  // namespace

bool MemorySeries::TakeLoadEvidence(const HeldReport* guest) {
  if (guest == nullptr || guest->report.sequence == evidence_sequence_) {
    return false;
  }
  evidence_sequence_ = guest->report.sequence;
  const GuestReport& report = guest->report;
  return report.run_queue_length.value_or(0) >= kBusyRunQueue ||
         report.load_average.value_or(0) >= kBusyLoadAverage ||
         (report.cpu_pressure.has_value() && report.cpu_pressure->some_ratio >= kBusyPressureRatio);
}

const HeldReport* MemorySeries::UsableGuest(const SamplingConfig& config,
                                            const MemoryStepContext& context, const VmReading& vm,
                                            bool& is_lie) const {
  const HeldReport* guest = context.guest;
  if (guest == nullptr || context.now - guest->received_at > config.max_guest_age) {
    return nullptr;
  }
  if (incarnation_since_.has_value() && guest->received_at < *incarnation_since_) {
    return nullptr;
  }
  const std::optional<int64_t> given = GivenBytes(vm);
  is_lie = given.has_value() && Exceeds(guest->report.memory_total_bytes, *given);
  return is_lie ? nullptr : guest;
}

bool MemorySeries::NoteOomKills(const std::string& source, const std::optional<int64_t>& count) {
  const bool is_new =
      oom_source_ == source && oom_kill_count_.has_value() && count.value_or(0) > *oom_kill_count_;
  oom_source_ = source;
  oom_kill_count_ = count;
  return is_new;
}

void MemorySeries::NoteOverhead(const SamplingConfig& config, const VmReading& vm,
                                const HeldReport* guest) {
  std::optional<int64_t> total = vm.memory_guest_total_bytes;
  if (!total.has_value() && guest != nullptr) {
    total = guest->report.memory_total_bytes;
  }
  // What a group of processes holds is its use, and there is no kernel of its own.
  if (config.backend_memory_source == GuestSource::kCgroup || !total.has_value() ||
      !vm.memory_current_bytes.has_value()) {
    return;
  }
  if (overheads_.size() == kOverheadSamples) {
    overheads_.pop_front();
  }
  overheads_.push_back(std::max<int64_t>(0, *vm.memory_current_bytes - *total));
}

int64_t MemorySeries::Overhead() const {
  if (overheads_.empty()) {
    return 0;
  }
  std::vector<int64_t> sorted(overheads_.begin(), overheads_.end());
  const auto middle = sorted.begin() + static_cast<int64_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

void MemorySeries::Step(const SamplingConfig& config, const MemoryStepContext& context,
                        const VmReading& vm, VmSample& out) {
  if (vm.allocation.has_value()) {
    out.memory_target_bytes = vm.allocation->memory_target_bytes;
  }
  if (context.guest != nullptr) {
    out.guest_report_age = std::max(absl::ZeroDuration(), context.now - context.guest->received_at);
  }
  if (context.is_new_incarnation) {
    incarnation_since_ = context.now;
    overheads_.clear();
  }
  bool is_lie = false;
  const HeldReport* guest = UsableGuest(config, context, vm, is_lie);
  out.is_guest_refuted = is_lie;
  if (IsImpossible(config, vm) || is_lie) {
    out.memory_quality = Quality::kImpossible;
    return;
  }
  out.memory_allocated_bytes = vm.memory_current_bytes;
  out.memory_maximum_bytes = vm.memory_maximum_bytes;
  out.memory_pressure_some_ratio = vm.memory_pressure_some_ratio;
  MemoryObservation observation;
  std::optional<int64_t> used = vm.memory_used_bytes;
  if (used.has_value()) {
    out.guest_source = config.backend_memory_source;
  }
  FillCounters(vm, guest != nullptr ? &guest->report : nullptr, out);
  if (vm.memory_oom_kill_count.has_value()) {
    observation.has_new_oom_kill = NoteOomKills(vm.incarnation, vm.memory_oom_kill_count);
  } else if (guest != nullptr) {
    observation.has_new_oom_kill =
        NoteOomKills(guest->report.boot_id, guest->report.oom_kill_count);
  }
  if (guest != nullptr) {
    FillGuest(guest->report, out);
    // A guest that does not tell what is available is no witness of its use: were it taken as none,
    // the VM would grow to its maximum.
    if (const auto& available = guest->report.memory_available_bytes; available.has_value()) {
      used = std::max(used.value_or(0), guest->report.memory_total_bytes - *available);
    }
  }
  if (!used.has_value()) {
    Skip(config, context.now, Quality::kMissing, out);
    return;
  }
  if (*used <= 0 && MustHoldMemory(config, vm)) {
    out.memory_quality = Quality::kImpossible;
    return;
  }
  NoteOverhead(config, vm, guest);
  // Of overhead not more than there is room for in what it holds.
  const int64_t needed = *used + Overhead();
  used = std::max(*used, std::min(needed, vm.memory_current_bytes.value_or(needed)));
  observation.used_bytes = *used;
  observation.maximum_bytes = vm.memory_maximum_bytes;
  observation.pressure_some_ratio = out.memory_pressure_some_ratio;
  observation.limit_bytes = out.memory_target_bytes;
  if (observation.limit_bytes.has_value() && vm.memory_current_bytes.has_value()) {
    observation.limit_bytes = std::max(*observation.limit_bytes, *vm.memory_current_bytes);
  }
  last_good_ = context.now;
  if (context.is_new_incarnation || is_reset_pending_) {
    is_reset_pending_ = false;
    out.memory_quality = Quality::kReset;
    return;
  }
  out.memory_used_bytes = used;
  out.memory_demand_bytes = EstimateMemoryDemand(observation);
  // Without the hypervisor's own number it is only the guest's word, and that is not enough to take
  // memory away.
  const bool rests_on_guest =
      !vm.memory_used_bytes.has_value() && !IsTrusted(config, context.now, vm, guest);
  const bool is_old = context.now - context.read_at > config.period || rests_on_guest;
  const bool is_skewed =
      guest != nullptr && absl::AbsDuration(guest->clock_skew) > config.max_clock_skew;
  out.memory_quality = is_old ? Quality::kLate : (is_skewed ? Quality::kSkewed : Quality::kFresh);
}

void MemorySeries::Skip(const SamplingConfig& config, MonoTime now, Quality quality,
                        VmSample& out) {
  if (!last_good_.has_value()) {
    last_good_ = now;
  }
  const bool is_stale = now - *last_good_ > config.period * config.stale_after_periods;
  out.memory_quality = is_stale ? Quality::kStale : quality;
}

}  // namespace cloudscale::monitor
