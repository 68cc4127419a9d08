#include "agents/guest/transport/report_wire.h"

#include "common/rpc/time_conversion.h"

namespace cloudscale::guest {
namespace {

void Fill(const std::optional<Pressure>& from, guest::v1::Pressure* (guest::v1::GuestReport::*to)(),
          guest::v1::GuestReport& report) {
  if (!from.has_value()) {
    return;
  }
  guest::v1::Pressure& wire = *(report.*to)();
  wire.set_some_ratio(from->some_ratio);
  *wire.mutable_some_total() = rpc::ToProto(from->some_total);
  if (from->full_ratio.has_value()) {
    wire.set_full_ratio(*from->full_ratio);
  }
  if (from->full_total.has_value()) {
    *wire.mutable_full_total() = rpc::ToProto(*from->full_total);
  }
}

}  // namespace

guest::v1::GuestReport ToWire(const std::string& vm_uuid, const Report& report) {
  guest::v1::GuestReport wire;
  const auto set = [&wire](auto setter, const auto& value) {
    if (value.has_value()) {
      (wire.*setter)(*value);
    }
  };
  using Wire = guest::v1::GuestReport;
  wire.set_vm_uuid(vm_uuid);
  wire.set_boot_id(report.boot_id);
  wire.set_sequence(report.sequence);
  *wire.mutable_sample_time() = rpc::ToProto(report.sample_time);
  *wire.mutable_uptime() = rpc::ToProto(report.uptime);
  wire.set_memory_total_bytes(report.memory.total_bytes);
  set(&Wire::set_memory_available_bytes, report.memory.available_bytes);
  set(&Wire::set_memory_free_bytes, report.memory.free_bytes);
  set(&Wire::set_memory_cached_bytes, report.memory.cached_bytes);
  set(&Wire::set_swap_total_bytes, report.memory.swap_total_bytes);
  set(&Wire::set_swap_free_bytes, report.memory.swap_free_bytes);
  set(&Wire::set_swap_in_bytes, report.paging.swap_in_bytes);
  set(&Wire::set_swap_out_bytes, report.paging.swap_out_bytes);
  set(&Wire::set_major_fault_count, report.paging.major_fault_count);
  set(&Wire::set_oom_kill_count, report.paging.oom_kill_count);
  Fill(report.cpu_pressure, &Wire::mutable_cpu_pressure, wire);
  Fill(report.memory_pressure, &Wire::mutable_memory_pressure, wire);
  Fill(report.io_pressure, &Wire::mutable_io_pressure, wire);
  if (report.load.has_value()) {
    wire.set_run_queue_length(report.load->run_queue_length);
    wire.set_load_average(report.load->load_average);
  }
  set(&Wire::set_cpu_steal_ratio, report.cpu_steal_ratio);
  if (report.vcpu_count.has_value()) {
    wire.set_vcpu_count(static_cast<int32_t>(*report.vcpu_count));
  }
  wire.set_agent_version(kAgentVersion);
  return wire;
}

}  // namespace cloudscale::guest
