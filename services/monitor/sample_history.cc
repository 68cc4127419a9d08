#include "services/monitor/sample_history.h"

#include <cmath>
#include <limits>
#include <optional>

namespace cloudscale::monitor {
namespace {

double Pack(const std::optional<double>& value) {
  return value.value_or(std::numeric_limits<double>::quiet_NaN());
}
float PackFloat(const std::optional<double>& value) { return static_cast<float>(Pack(value)); }
int64_t Pack(const std::optional<int64_t>& value) { return value.value_or(-1); }

std::optional<double> Unpack(double value) {
  return std::isnan(value) ? std::nullopt : std::optional<double>(value);
}
std::optional<int64_t> Unpack(int64_t value) {
  return value < 0 ? std::nullopt : std::optional<int64_t>(value);
}

HistoryPoint PackSample(const SampleHeader& header, const VmSample& vm) {
  HistoryPoint point;
  point.sequence = header.sequence;
  point.sample_time = header.sample_time;
  point.monotonic_time = header.monotonic_time;
  point.state = vm.state;
  point.cpu_quality = vm.cpu_quality;
  point.memory_quality = vm.memory_quality;
  point.guest_source = vm.guest_source;
  point.is_cpu_demand_lower_bound = vm.is_cpu_demand_lower_bound;
  point.vcpu_count = static_cast<int32_t>(vm.vcpu_count);
  point.cpu_usage_cores = Pack(vm.cpu_usage_cores);
  point.cpu_demand_cores = Pack(vm.cpu_demand_cores);
  point.cpu_throttled_ratio = PackFloat(vm.cpu_throttled_ratio);
  point.cpu_wait_ratio = PackFloat(vm.cpu_wait_ratio);
  point.cpu_cap_cores = Pack(vm.cpu_cap_cores);
  point.cpu_weight = PackFloat(vm.cpu_weight);
  point.memory_pressure_some_ratio = PackFloat(vm.memory_pressure_some_ratio);
  point.memory_pressure_full_ratio = PackFloat(vm.memory_pressure_full_ratio);
  point.memory_target_bytes = Pack(vm.memory_target_bytes);
  point.memory_allocated_bytes = Pack(vm.memory_allocated_bytes);
  point.memory_maximum_bytes = Pack(vm.memory_maximum_bytes);
  point.memory_used_bytes = Pack(vm.memory_used_bytes);
  point.memory_demand_bytes = Pack(vm.memory_demand_bytes);
  point.memory_guest_total_bytes = Pack(vm.memory_guest_total_bytes);
  point.memory_guest_available_bytes = Pack(vm.memory_guest_available_bytes);
  return point;
}

}  // namespace

VmSample HistoryPoint::ToSample(const std::string& uuid) const {
  VmSample vm;
  vm.uuid = uuid;
  vm.state = state;
  vm.vcpu_count = vcpu_count;
  vm.cpu_quality = cpu_quality;
  vm.memory_quality = memory_quality;
  vm.guest_source = guest_source;
  vm.is_cpu_demand_lower_bound = is_cpu_demand_lower_bound;
  vm.cpu_usage_cores = Unpack(cpu_usage_cores);
  vm.cpu_demand_cores = Unpack(cpu_demand_cores);
  vm.cpu_throttled_ratio = Unpack(static_cast<double>(cpu_throttled_ratio));
  vm.cpu_wait_ratio = Unpack(static_cast<double>(cpu_wait_ratio));
  vm.cpu_cap_cores = Unpack(cpu_cap_cores);
  vm.cpu_weight = Unpack(static_cast<double>(cpu_weight));
  vm.memory_pressure_some_ratio = Unpack(static_cast<double>(memory_pressure_some_ratio));
  vm.memory_pressure_full_ratio = Unpack(static_cast<double>(memory_pressure_full_ratio));
  vm.memory_target_bytes = Unpack(memory_target_bytes);
  vm.memory_allocated_bytes = Unpack(memory_allocated_bytes);
  vm.memory_maximum_bytes = Unpack(memory_maximum_bytes);
  vm.memory_used_bytes = Unpack(memory_used_bytes);
  vm.memory_demand_bytes = Unpack(memory_demand_bytes);
  vm.memory_guest_total_bytes = Unpack(memory_guest_total_bytes);
  vm.memory_guest_available_bytes = Unpack(memory_guest_available_bytes);
  return vm;
}

void SampleHistory::Add(MonoTime now, const HostSnapshot& snapshot) {
  for (const VmSample& vm : snapshot.vms) {
    Series& series = series_.try_emplace(vm.uuid, samples_per_vm_).first->second;
    series.points.Push(PackSample(snapshot.header, vm));
    series.last_added = now;
  }
  std::erase_if(series_,
                [&](const auto& entry) { return now - entry.second.last_added > forget_after_; });
}

std::vector<HistoryPoint> SampleHistory::List(const std::string& uuid, int64_t after_sequence,
                                              absl::Time start, absl::Time end,
                                              size_t limit) const {
  std::vector<HistoryPoint> out;
  const auto it = series_.find(uuid);
  if (it == series_.end()) {
    return out;
  }
  const RingBuffer<HistoryPoint>& points = it->second.points;
  for (size_t i = 0; i < points.size() && out.size() < limit; ++i) {
    const HistoryPoint& point = points[i];
    if (point.sequence > after_sequence && point.sample_time >= start && point.sample_time < end) {
      out.push_back(point);
    }
  }
  return out;
}

}  // namespace cloudscale::monitor
