#include "services/monitor/cpu_series.h"

#include <algorithm>
#include <cmath>

#include "services/monitor/demand.h"

namespace cloudscale::monitor {
namespace {

using hypervisor::VmReading;
using hypervisor::VmState;

// Usage from which a VM counts as busy: well above the timer ticks of an idle guest.
constexpr double kBusyCores = 0.02;

bool IsNegative(const std::optional<absl::Duration>& time) {
  return time.has_value() && *time < absl::ZeroDuration();
}

bool IsNegative(const std::optional<int64_t>& bytes) { return bytes.has_value() && *bytes < 0; }

bool RunsOrMightRun(VmState state) {
  return state == VmState::kRunning || state == VmState::kUnknown || state == VmState::kMigrating;
}

// Values that no hypervisor can truly hold.
bool IsSane(const VmReading& vm) {
  if (IsNegative(vm.cpu_time) || IsNegative(vm.cpu_throttled_time) ||
      IsNegative(vm.cpu_wait_time) || IsNegative(vm.network_transmit_bytes) ||
      IsNegative(vm.disk_read_bytes) || *vm.cpu_time == absl::InfiniteDuration()) {
    return false;
  }
  if (vm.vcpu_count < 0 || (vm.vcpu_count == 0 && vm.state == VmState::kRunning)) {
    return false;
  }
  if (vm.allocation.has_value() && vm.allocation->cpu_cap_cores.has_value()) {
    const double cap = *vm.allocation->cpu_cap_cores;
    return std::isfinite(cap) && cap > 0;
  }
  return true;
}

template <typename T>
bool Grew(const std::optional<T>& from, const std::optional<T>& to) {
  return from.has_value() && to.has_value() && *to > *from;
}

std::optional<double> SmallerCap(std::optional<double> a, std::optional<double> b) {
  if (a.has_value() && b.has_value()) {
    return std::min(*a, *b);
  }
  return a.has_value() ? a : b;
}

}  // namespace

CpuSeries::Base CpuSeries::MakeBase(MonoTime read_at, const VmReading& vm) {
  Base base;
  base.read_at = read_at;
  base.cpu_time = vm.cpu_time.value_or(absl::ZeroDuration());
  base.throttled_time = vm.cpu_throttled_time;
  base.wait_time = vm.cpu_wait_time;
  base.sent_bytes = vm.network_transmit_bytes;
  base.disk_read_bytes = vm.disk_read_bytes;
  if (vm.allocation.has_value()) {
    base.cap_cores = vm.allocation->cpu_cap_cores;
  }
  base.vcpu_count = vm.vcpu_count;
  return base;
}

CpuSeries::Rates CpuSeries::Difference(const Base& from, const Base& to) {
  const double seconds = absl::ToDoubleSeconds(to.read_at - from.read_at);
  Rates rates;
  rates.usage = absl::ToDoubleSeconds(to.cpu_time - from.cpu_time) / seconds;
  rates.went_back = to.cpu_time < from.cpu_time;
  const auto rate = [&](const std::optional<absl::Duration>& a,
                        const std::optional<absl::Duration>& b) -> std::optional<double> {
    if (!a.has_value() || !b.has_value()) {
      return std::nullopt;
    }
    rates.went_back = rates.went_back || *b < *a;
    return absl::ToDoubleSeconds(*b - *a) / seconds;
  };
  rates.throttled = rate(from.throttled_time, to.throttled_time);
  rates.wait = rate(from.wait_time, to.wait_time);
  rates.has_contradiction = Grew(from.throttled_time, to.throttled_time) ||
                            Grew(from.sent_bytes, to.sent_bytes) ||
                            Grew(from.disk_read_bytes, to.disk_read_bytes);
  return rates;
}

bool CpuSeries::IsStanding(const SamplingConfig& config, const CpuStepContext& context,
                           VmState state, const Rates& rates, const Base& current) {
  if (rates.usage > 0 || !RunsOrMightRun(state)) {
    return false;
  }
  if (rates.has_contradiction || context.guest_shows_load) {
    // Witnesses are heard once: one that trailed behind the CPU counter must not keep an idle VM
    // under suspicion for ever.
    base_->throttled_time = current.throttled_time;
    base_->sent_bytes = current.sent_bytes;
    base_->disk_read_bytes = current.disk_read_bytes;
    standing_count_ = 1;
    return true;
  }
  const bool was_busy = last_usage_cores_.value_or(kBusyCores) >= kBusyCores || standing_count_ > 0;
  if (was_busy && standing_count_ < config.standing_samples_distrusted) {
    ++standing_count_;
    return true;
  }
  return false;
}

Quality CpuSeries::Judge(const SamplingConfig& config, const CpuStepContext& context,
                         const VmReading& vm, VmSample& out) {
  if (!IsSane(vm)) {
    return Quality::kImpossible;
  }
  const Base current = MakeBase(context.read_at, vm);
  if (!base_.has_value() || context.is_new_incarnation) {
    const bool is_reset = context.is_new_incarnation || is_reset_pending_;
    base_ = current;
    is_reset_pending_ = false;
    standing_count_ = 0;
    last_usage_cores_.reset();
    return is_reset ? Quality::kReset : Quality::kWarming;
  }
  const absl::Duration interval = context.read_at - base_->read_at;
  if (interval <= absl::ZeroDuration()) {
    return Quality::kRepeated;
  }
  const Rates rates = Difference(*base_, current);
  if (rates.went_back) {
    base_ = current;
    last_usage_cores_.reset();
    return Quality::kReset;
  }
  if (interval < config.period * config.min_interval_ratio) {
    return Quality::kLate;
  }
  const auto vcpus = static_cast<double>(std::max(base_->vcpu_count, current.vcpu_count));
  const double slack = vcpus * absl::FDivDuration(config.counter_granularity, interval);
  if (rates.usage > vcpus * config.usage_tolerance_ratio + slack ||
      rates.usage > context.host_capacity_cores * config.capacity_tolerance_ratio + slack) {
    if (++impossible_count_ > 1) {
      base_ = current;
      impossible_count_ = 0;
    }
    return Quality::kImpossible;
  }
  impossible_count_ = 0;
  if (IsStanding(config, context, vm.state, rates, current)) {
    return Quality::kStuck;
  }
  standing_count_ = 0;
  last_usage_cores_ = rates.usage;
  Publish(rates, *base_, current, out);
  base_ = current;
  const bool is_old = context.now - context.read_at > config.period;
  const bool is_long = interval > config.period * config.late_interval_ratio;
  return is_old || is_long ? Quality::kLate : Quality::kFresh;
}

void CpuSeries::Publish(const Rates& rates, const Base& before, const Base& current,
                        VmSample& out) {
  const auto vcpus = static_cast<double>(std::max<int64_t>(1, current.vcpu_count));
  CpuObservation observation;
  observation.usage_cores = rates.usage;
  observation.throttled_cores = rates.throttled;
  observation.wait_cores = rates.wait;
  // The cap may have changed at any time within the interval; the smaller one decides whether the
  // VM was held back.
  observation.cap_cores = SmallerCap(before.cap_cores, current.cap_cores);
  observation.vcpu_count = current.vcpu_count;
  observation.held_back_intervals = held_back_intervals_;
  const CpuDemand demand = EstimateCpuDemand(observation);
  held_back_intervals_ = demand.is_held_back ? held_back_intervals_ + 1 : 0;
  out.cpu_usage_cores = rates.usage;
  out.cpu_demand_cores = demand.cores;
  out.is_cpu_demand_lower_bound = demand.is_lower_bound;
  if (rates.throttled.has_value()) {
    out.cpu_throttled_ratio = std::clamp(*rates.throttled / vcpus, 0.0, 1.0);
  }
  if (rates.wait.has_value()) {
    const double wanted = rates.usage + *rates.wait + rates.throttled.value_or(0);
    out.cpu_wait_ratio = wanted > 0 ? std::clamp(*rates.wait / wanted, 0.0, 1.0) : 0.0;
  }
}

void CpuSeries::Step(const SamplingConfig& config, const CpuStepContext& context,
                     const VmReading& vm, VmSample& out) {
  if (!vm.cpu_time.has_value()) {
    if (context.is_new_incarnation) {
      Restart();
    }
    Skip(config, context.now, Quality::kMissing, out);
    return;
  }
  const Quality quality = Judge(config, context, vm, out);
  if (quality == Quality::kRepeated) {
    Skip(config, context.now, quality, out);
    return;
  }
  out.cpu_quality = quality;
  if (IsTrusted(quality) || quality == Quality::kLate || quality == Quality::kWarming ||
      quality == Quality::kReset) {
    last_good_ = context.now;
  }
}

void CpuSeries::Skip(const SamplingConfig& config, MonoTime now, Quality quality, VmSample& out) {
  if (!last_good_.has_value()) {
    last_good_ = now;
  }
  const bool is_stale = now - *last_good_ > config.period * config.stale_after_periods;
  out.cpu_quality = is_stale ? Quality::kStale : quality;
}

void CpuSeries::Restart() {
  is_reset_pending_ = base_.has_value() || is_reset_pending_;
  base_.reset();
  held_back_intervals_ = 0;
}

}  // namespace cloudscale::monitor
