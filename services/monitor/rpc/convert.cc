#include "services/monitor/rpc/convert.h"

#include <optional>

#include "common/rpc/time_conversion.h"

namespace cloudscale::monitor {
namespace {

using cloudscale::rpc::FromProto;
using cloudscale::rpc::ToProto;

v1::GuestSource ToWireSource(GuestSource source) {
  switch (source) {
    case GuestSource::kNone:
      return v1::GUEST_SOURCE_UNSPECIFIED;
    case GuestSource::kAgent:
      return v1::GUEST_SOURCE_AGENT;
    case GuestSource::kBalloon:
      return v1::GUEST_SOURCE_BALLOON;
    case GuestSource::kCgroup:
      return v1::GUEST_SOURCE_CGROUP;
  }
  return v1::GUEST_SOURCE_UNSPECIFIED;
}

// Calls `setter` of `out` with the value, if there is one.
template <typename Message, typename T, typename U>
void SetIf(Message* out, void (Message::*setter)(U), const std::optional<T>& value) {
  if (value.has_value()) {
    (out->*setter)(*value);
  }
}

void SetDurationIf(const std::optional<absl::Duration>& value,
                   google::protobuf::Duration* (*get)(v1::CumulativeCounters*),
                   v1::CumulativeCounters* out) {
  if (value.has_value()) {
    *get(out) = ToProto(*value);
  }
}

void ToWireCounters(const Counters& counters, v1::CumulativeCounters* out) {
  using C = v1::CumulativeCounters;
  *out->mutable_start_time() = ToProto(counters.start_time);
  out->set_is_reset(counters.is_reset);
  SetIf(out, &C::set_network_received_bytes, counters.network_received_bytes);
  SetIf(out, &C::set_network_transmitted_bytes, counters.network_transmitted_bytes);
  SetIf(out, &C::set_disk_read_bytes, counters.disk_read_bytes);
  SetIf(out, &C::set_disk_written_bytes, counters.disk_written_bytes);
  SetIf(out, &C::set_swap_in_bytes, counters.swap_in_bytes);
  SetIf(out, &C::set_swap_out_bytes, counters.swap_out_bytes);
  SetIf(out, &C::set_major_fault_count, counters.major_fault_count);
  SetIf(out, &C::set_oom_kill_count, counters.oom_kill_count);
  SetDurationIf(counters.cpu_time, [](C* c) { return c->mutable_cpu_time(); }, out);
  SetDurationIf(
      counters.cpu_throttled_time, [](C* c) { return c->mutable_cpu_throttled_time(); }, out);
  SetDurationIf(counters.cpu_wait_time, [](C* c) { return c->mutable_cpu_wait_time(); }, out);
}

void ToWireTelemetry(const VmSample& vm, predictor::v1::TelemetrySample* out) {
  using T = predictor::v1::TelemetrySample;
  out->set_vm_uuid(vm.uuid);
  SetIf(out, &T::set_cpu_usage_cores, vm.cpu_usage_cores);
  if (vm.cpu_demand_cores != vm.cpu_usage_cores) {
    SetIf(out, &T::set_cpu_demand_cores, vm.cpu_demand_cores);
  }
  SetIf(out, &T::set_cpu_limit_cores, vm.cpu_cap_cores);
  if (vm.cpu_throttled_ratio.value_or(0) > 0) {
    out->set_cpu_throttled_ratio(*vm.cpu_throttled_ratio);
  }
  out->set_cpu_quality(ToWire(vm.cpu_quality));
  SetIf(out, &T::set_memory_usage_bytes, vm.memory_used_bytes);
  if (vm.memory_demand_bytes != vm.memory_used_bytes) {
    SetIf(out, &T::set_memory_demand_bytes, vm.memory_demand_bytes);
  }
  SetIf(out, &T::set_memory_limit_bytes, vm.memory_target_bytes);
  SetIf(out, &T::set_memory_pressure_ratio, vm.memory_pressure_full_ratio);
  out->set_memory_quality(ToWire(vm.memory_quality));
  out->set_vcpu_count(static_cast<int32_t>(vm.vcpu_count));
}

std::optional<GuestPressure> FromWirePressure(bool present, const guest::v1::Pressure& pressure) {
  if (!present) {
    return std::nullopt;
  }
  GuestPressure out;
  out.some_ratio = pressure.some_ratio();
  if (pressure.has_full_ratio()) {
    out.full_ratio = pressure.full_ratio();
  }
  return out;
}

}  // namespace

common::v1::SampleQuality ToWire(Quality quality) {
  switch (quality) {
    case Quality::kFresh:
      return common::v1::SAMPLE_QUALITY_FRESH;
    case Quality::kLate:
      return common::v1::SAMPLE_QUALITY_LATE;
    case Quality::kMissing:
      return common::v1::SAMPLE_QUALITY_MISSING;
    case Quality::kStale:
      return common::v1::SAMPLE_QUALITY_STALE;
    case Quality::kRepeated:
      return common::v1::SAMPLE_QUALITY_REPEATED;
    case Quality::kStuck:
      return common::v1::SAMPLE_QUALITY_STUCK;
    case Quality::kImpossible:
      return common::v1::SAMPLE_QUALITY_IMPOSSIBLE;
    case Quality::kReset:
      return common::v1::SAMPLE_QUALITY_RESET;
    case Quality::kSkewed:
      return common::v1::SAMPLE_QUALITY_SKEWED;
    case Quality::kWarming:
      return common::v1::SAMPLE_QUALITY_WARMING;
  }
  return common::v1::SAMPLE_QUALITY_UNSPECIFIED;
}

v1::VmState ToWire(hypervisor::VmState state) {
  using hypervisor::VmState;
  switch (state) {
    case VmState::kUnknown:
      return v1::VM_STATE_UNSPECIFIED;
    case VmState::kRunning:
      return v1::VM_STATE_RUNNING;
    case VmState::kPaused:
      return v1::VM_STATE_PAUSED;
    case VmState::kBooting:
      return v1::VM_STATE_BOOTING;
    case VmState::kMigrating:
      return v1::VM_STATE_MIGRATING_OUT;
    case VmState::kShutOff:
      return v1::VM_STATE_SHUT_OFF;
    case VmState::kCrashed:
      return v1::VM_STATE_CRASHED;
  }
  return v1::VM_STATE_UNSPECIFIED;
}

void ToWire(const SampleHeader& header, common::v1::StreamHeader* out) {
  out->set_host_id(header.host_id);
  out->set_boot_id(header.boot_id);
  out->set_sequence(header.sequence);
  *out->mutable_sample_time() = ToProto(header.sample_time);
  *out->mutable_monotonic_time() = ToProto(header.monotonic_time.since_start());
}

void ToWire(const VmSample& sample, v1::VmSample* out) {
  using S = v1::VmSample;
  out->set_vm_uuid(sample.uuid);
  out->set_name(sample.name);
  out->set_state(ToWire(sample.state));
  out->set_vcpu_count(static_cast<int32_t>(sample.vcpu_count));
  SetIf(out, &S::set_cpu_usage_cores, sample.cpu_usage_cores);
  SetIf(out, &S::set_cpu_demand_cores, sample.cpu_demand_cores);
  SetIf(out, &S::set_cpu_throttled_ratio, sample.cpu_throttled_ratio);
  SetIf(out, &S::set_cpu_wait_ratio, sample.cpu_wait_ratio);
  SetIf(out, &S::set_cpu_cap_cores, sample.cpu_cap_cores);
  SetIf(out, &S::set_cpu_weight, sample.cpu_weight);
  SetIf(out, &S::set_memory_target_bytes, sample.memory_target_bytes);
  SetIf(out, &S::set_memory_allocated_bytes, sample.memory_allocated_bytes);
  SetIf(out, &S::set_memory_max_bytes, sample.memory_maximum_bytes);
  SetIf(out, &S::set_memory_used_bytes, sample.memory_used_bytes);
  SetIf(out, &S::set_memory_demand_bytes, sample.memory_demand_bytes);
  SetIf(out, &S::set_memory_guest_total_bytes, sample.memory_guest_total_bytes);
  SetIf(out, &S::set_memory_guest_available_bytes, sample.memory_guest_available_bytes);
  SetIf(out, &S::set_memory_pressure_some_ratio, sample.memory_pressure_some_ratio);
  SetIf(out, &S::set_memory_pressure_full_ratio, sample.memory_pressure_full_ratio);
  if (sample.counters.has_value()) {
    ToWireCounters(*sample.counters, out->mutable_counters());
  }
  out->set_cpu_quality(ToWire(sample.cpu_quality));
  out->set_memory_quality(ToWire(sample.memory_quality));
  if (sample.guest_report_age.has_value()) {
    *out->mutable_guest_report_age() = ToProto(*sample.guest_report_age);
  }
  out->set_guest_source(ToWireSource(sample.guest_source));
}

void ToWire(const HostSnapshot& snapshot, v1::HostSnapshot* out) {
  ToWire(snapshot.header, out->mutable_header());
  v1::HostSample* host = out->mutable_host();
  host->set_cpu_capacity_cores(snapshot.host.cpu_capacity_cores);
  host->set_memory_total_bytes(snapshot.host.memory_total_bytes);
  SetIf(host, &v1::HostSample::set_memory_free_bytes, snapshot.host.memory_free_bytes);
  SetIf(host, &v1::HostSample::set_cpu_usage_cores, snapshot.host.cpu_usage_cores);
  host->set_vm_count(static_cast<int64_t>(snapshot.vms.size()));
  *host->mutable_sampling_duration() = ToProto(snapshot.host.sampling_duration);
  *host->mutable_sampling_period() = ToProto(snapshot.host.sampling_period);
  out->mutable_vms()->Reserve(static_cast<int>(snapshot.vms.size()));
  for (const VmSample& vm : snapshot.vms) {
    ToWire(vm, out->add_vms());
  }
}

void ToWire(const HostSnapshot& snapshot, predictor::v1::TelemetryBatch* out) {
  ToWire(snapshot.header, out->mutable_header());
  out->mutable_samples()->Reserve(static_cast<int>(snapshot.vms.size()));
  for (const VmSample& vm : snapshot.vms) {
    ToWireTelemetry(vm, out->add_samples());
  }
  out->mutable_host()->set_cpu_capacity_cores(snapshot.host.cpu_capacity_cores);
  out->mutable_host()->set_memory_total_bytes(snapshot.host.memory_total_bytes);
  *out->mutable_sampling_period() = ToProto(snapshot.host.sampling_period);
}

GuestReport FromWire(const guest::v1::GuestReport& report) {
  GuestReport out;
  out.vm_uuid = report.vm_uuid();
  out.boot_id = report.boot_id();
  out.sequence = report.sequence();
  out.sample_time = FromProto(report.sample_time());
  out.uptime = FromProto(report.uptime());
  out.memory_total_bytes = report.memory_total_bytes();
  if (report.has_memory_available_bytes()) {
    out.memory_available_bytes = report.memory_available_bytes();
  }
  out.memory_free_bytes = report.memory_free_bytes();
  if (report.has_memory_cached_bytes()) {
    out.memory_cached_bytes = report.memory_cached_bytes();
  }
  if (report.has_swap_total_bytes()) {
    out.swap_total_bytes = report.swap_total_bytes();
  }
  if (report.has_swap_free_bytes()) {
    out.swap_free_bytes = report.swap_free_bytes();
  }
  if (report.has_swap_in_bytes()) {
    out.swap_in_bytes = report.swap_in_bytes();
  }
  if (report.has_swap_out_bytes()) {
    out.swap_out_bytes = report.swap_out_bytes();
  }
  if (report.has_major_fault_count()) {
    out.major_fault_count = report.major_fault_count();
  }
  if (report.has_oom_kill_count()) {
    out.oom_kill_count = report.oom_kill_count();
  }
  out.cpu_pressure = FromWirePressure(report.has_cpu_pressure(), report.cpu_pressure());
  out.memory_pressure = FromWirePressure(report.has_memory_pressure(), report.memory_pressure());
  out.io_pressure = FromWirePressure(report.has_io_pressure(), report.io_pressure());
  if (report.has_run_queue_length()) {
    out.run_queue_length = report.run_queue_length();
  }
  if (report.has_load_average()) {
    out.load_average = report.load_average();
  }
  if (report.has_cpu_steal_ratio()) {
    out.cpu_steal_ratio = report.cpu_steal_ratio();
  }
  if (report.has_vcpu_count()) {
    out.vcpu_count = report.vcpu_count();
  }
  return out;
}

}  // namespace cloudscale::monitor
