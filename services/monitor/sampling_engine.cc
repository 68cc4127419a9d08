#include "services/monitor/sampling_engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <utility>

namespace cloudscale::monitor {
namespace {

using hypervisor::HostReading;
using hypervisor::VmReading;

constexpr double kNormalWeight = 100.0;

Counters ReadCounters(const VmReading& vm, absl::Time since, bool is_reset) {
  Counters counters;
  counters.start_time = since;
  counters.is_reset = is_reset;
  counters.cpu_time = vm.cpu_time;
  counters.cpu_throttled_time = vm.cpu_throttled_time;
  counters.cpu_wait_time = vm.cpu_wait_time;
  counters.network_received_bytes = vm.network_receive_bytes;
  counters.network_transmitted_bytes = vm.network_transmit_bytes;
  counters.disk_read_bytes = vm.disk_read_bytes;
  counters.disk_written_bytes = vm.disk_write_bytes;
  return counters;
}

// What could not be read is as it was, but not fresh.
void Hold(const VmSample& known, VmSample& sample) {
  sample.cpu_cap_cores = known.cpu_cap_cores;
  sample.cpu_weight = known.cpu_weight;
  sample.memory_target_bytes = known.memory_target_bytes;
}

void MarkHeld(Quality& quality) {
  if (IsTrusted(quality)) {
    quality = Quality::kLate;
  }
}

void Skew(Quality& quality) {
  if (quality == Quality::kFresh) {
    quality = Quality::kSkewed;
  }
}

}  // namespace

bool SamplingEngine::NoteWallJump(const Tick& tick) {
  bool has_jumped = false;
  if (last_tick_.has_value()) {
    const absl::Duration drift = (tick.wall - last_tick_->wall) - (tick.mono - last_tick_->mono);
    has_jumped = absl::AbsDuration(drift) > config_.max_clock_skew;
  }
  last_tick_ = tick;
  stats_.wall_jump_count += has_jumped ? 1 : 0;
  return has_jumped;
}

SamplingEngine::ReadingContext SamplingEngine::Admit(const Tick& tick, const HostReading& reading) {
  ReadingContext context;
  if (!boot_id_.empty() && reading.boot_id != boot_id_) {
    ++stats_.host_restart_count;
    last_read_at_.reset();
    for (auto& [uuid, track] : tracks_) {
      track.cpu.Restart();
      track.memory.Restart();
    }
  }
  boot_id_ = reading.boot_id;
  host_id_ = config_.host_id.empty() ? reading.host_id : config_.host_id;
  context.is_repeated = last_read_at_.has_value() && reading.monotonic_time <= *last_read_at_;
  if (!context.is_repeated) {
    last_read_at_ = reading.monotonic_time;
  }
  context.is_skewed = absl::AbsDuration(reading.sample_time - tick.wall) > config_.max_clock_skew;
  if (std::isfinite(reading.cpu_capacity_cores) && reading.cpu_capacity_cores > 0) {
    last_host_.cpu_capacity_cores = reading.cpu_capacity_cores;
  }
  if (reading.memory_capacity_bytes > 0) {
    last_host_.memory_total_bytes = reading.memory_capacity_bytes;
  }
  // Without any known capacity only the VM's own vCPUs bound what is possible.
  context.capacity_cores = last_host_.cpu_capacity_cores > 0
                               ? last_host_.cpu_capacity_cores
                               : std::numeric_limits<double>::infinity();
  return context;
}

VmSample SamplingEngine::SkipVm(const Tick& tick, Track& track, Quality quality) {
  VmSample sample;
  sample.uuid = track.known.uuid;
  sample.name = track.known.name;
  sample.state = track.known.state;
  sample.vcpu_count = track.known.vcpu_count;
  sample.memory_maximum_bytes = track.known.memory_maximum_bytes;
  Hold(track.known, sample);
  track.cpu.Skip(config_, tick.mono, quality, sample);
  track.memory.Skip(config_, tick.mono, quality, sample);
  track.last_listed = tick.mono;
  return sample;
}

VmSample SamplingEngine::StepVm(const Tick& tick, const HostReading& reading,
                                const ReadingContext& context, const VmReading& vm,
                                const HeldReport* guest) {
  Track& track = tracks_[vm.uuid];
  const bool is_new_incarnation = track.was_read && track.incarnation != vm.incarnation;
  if (!track.was_read || is_new_incarnation) {
    track.counters_since = reading.sample_time;
  }
  VmSample sample;
  sample.uuid = vm.uuid;
  sample.name = vm.name;
  sample.state = vm.state;
  sample.vcpu_count = std::max<int64_t>(0, vm.vcpu_count);
  sample.counters = ReadCounters(vm, track.counters_since, is_new_incarnation);
  if (vm.allocation.has_value()) {
    const std::optional<double>& cap = vm.allocation->cpu_cap_cores;
    if (cap.has_value() && std::isfinite(*cap) && *cap > 0) {
      sample.cpu_cap_cores = cap;
    }
    if (vm.allocation->cpu_weight.has_value()) {
      sample.cpu_weight = static_cast<double>(*vm.allocation->cpu_weight) / kNormalWeight;
    }
  }
  if (is_new_incarnation) {
    track.has_allocation = false;
  }
  const bool is_held = !vm.allocation.has_value() && track.has_allocation;
  if (is_held) {
    Hold(track.known, sample);
  }
  track.cpu.Step(config_,
                 {.read_at = reading.monotonic_time,
                  .now = tick.mono,
                  .host_capacity_cores = context.capacity_cores,
                  .is_new_incarnation = is_new_incarnation,
                  .guest_shows_load = track.memory.TakeLoadEvidence(guest)},
                 vm, sample);
  track.memory.Step(config_,
                    {.read_at = reading.monotonic_time,
                     .now = tick.mono,
                     .is_new_incarnation = is_new_incarnation,
                     .guest = guest},
                    vm, sample);
  if (is_held) {
    MarkHeld(sample.cpu_quality);
    MarkHeld(sample.memory_quality);
  }
  if (context.is_skewed) {
    Skew(sample.cpu_quality);
    Skew(sample.memory_quality);
  }
  track.incarnation = vm.incarnation;
  track.was_read = true;
  track.last_listed = tick.mono;
  track.known.uuid = vm.uuid;
  track.known.name = vm.name;
  track.known.state = vm.state;
  track.known.vcpu_count = sample.vcpu_count;
  track.known.memory_maximum_bytes = sample.memory_maximum_bytes;
  Hold(sample, track.known);
  track.has_allocation = track.has_allocation || vm.allocation.has_value();
  return sample;
}

void SamplingEngine::StepAll(const Tick& tick, const HostReading& reading,
                             const ReadingContext& context,
                             const std::map<std::string, HeldReport>& guests, HostSnapshot& out) {
  std::set<std::string> taken;
  out.vms.reserve(reading.vms.size() + reading.unreadable.size());
  for (const VmReading& vm : reading.vms) {
    if (vm.uuid.empty() || out.vms.size() >= kMaxVms || !taken.insert(vm.uuid).second) {
      ++stats_.ignored_vm_count;
      continue;
    }
    const auto it = guests.find(vm.uuid);
    if (context.is_repeated) {
      Track& track = tracks_[vm.uuid];
      track.known.uuid = vm.uuid;
      out.vms.push_back(SkipVm(tick, track, Quality::kRepeated));
      continue;
    }
    out.vms.push_back(
        StepVm(tick, reading, context, vm, it == guests.end() ? nullptr : &it->second));
  }
  for (const auto& [uuid, reason] : reading.unreadable) {
    if (uuid.empty() || out.vms.size() >= kMaxVms || !taken.insert(uuid).second) {
      ++stats_.ignored_vm_count;
      continue;
    }
    Track& track = tracks_[uuid];
    track.known.uuid = uuid;
    out.vms.push_back(SkipVm(tick, track, Quality::kMissing));
  }
  std::ranges::sort(out.vms, {}, &VmSample::uuid);
}

void SamplingEngine::SkipAll(const Tick& tick, HostSnapshot& out) {
  ++stats_.failed_reading_count;
  for (auto& [uuid, track] : tracks_) {
    // One that the last good reading no longer listed is gone, not missing.
    if (track.last_listed == last_tick_->mono && out.vms.size() < kMaxVms) {
      out.vms.push_back(SkipVm(tick, track, Quality::kMissing));
    }
  }
}

void SamplingEngine::FillHost(const HostReading& reading, HostSnapshot& out) {
  out.host.cpu_capacity_cores = last_host_.cpu_capacity_cores;
  out.host.memory_total_bytes = last_host_.memory_total_bytes;
  out.host.memory_free_bytes = reading.memory_free_bytes;
  double usage = 0;
  bool is_known = true;
  for (const VmSample& vm : out.vms) {
    const bool is_off =
        vm.state == hypervisor::VmState::kShutOff || vm.state == hypervisor::VmState::kCrashed;
    is_known = is_known && (is_off || vm.cpu_usage_cores.has_value());
    usage += vm.cpu_usage_cores.value_or(0);
  }
  if (is_known) {
    out.host.cpu_usage_cores = usage;
  }
}

void SamplingEngine::Finish(const Tick& tick, HostSnapshot& out) {
  out.header.host_id = host_id_.empty() ? config_.host_id : host_id_;
  out.header.boot_id = boot_id_;
  out.header.sequence = tick.sequence;
  out.host.sampling_duration = tick.read_duration;
  out.host.sampling_period = config_.period;
  last_host_ = out.host;
  for (const VmSample& vm : out.vms) {
    stats_.cpu.Add(vm.cpu_quality);
    stats_.memory.Add(vm.memory_quality);
  }
  const absl::Duration keep = config_.period * config_.forget_after_periods;
  std::erase_if(tracks_,
                [&](const auto& entry) { return tick.mono - entry.second.last_listed > keep; });
}

HostSnapshot SamplingEngine::Step(const Tick& tick, const absl::StatusOr<HostReading>& reading,
                                  const std::map<std::string, HeldReport>& guests) {
  HostSnapshot out;
  if (!reading.ok()) {
    if (last_tick_.has_value()) {
      SkipAll(tick, out);
    }
    NoteWallJump(tick);
    out.host = last_host_;
    out.host.cpu_usage_cores.reset();
    out.header.sample_time = tick.wall;
    out.header.monotonic_time = tick.mono;
    Finish(tick, out);
    return out;
  }
  ReadingContext context = Admit(tick, *reading);
  if (NoteWallJump(tick)) {
    context.is_skewed = true;
  }
  StepAll(tick, *reading, context, guests, out);
  FillHost(*reading, out);
  out.header.sample_time = reading->sample_time;
  out.header.monotonic_time = reading->monotonic_time;
  out.is_complete = !context.is_repeated;
  Finish(tick, out);
  return out;
}

}  // namespace cloudscale::monitor
