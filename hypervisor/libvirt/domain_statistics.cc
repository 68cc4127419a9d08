#include "hypervisor/libvirt/domain_statistics.h"

#include <algorithm>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int64_t kKiB = 1024;

std::optional<int64_t> Number(const virTypedParameter& parameter) {
  return FindParameter(&parameter, 1, parameter.field);
}

void Add(std::optional<int64_t>& sum, std::optional<int64_t> value) {
  if (value && *value >= 0) {
    sum = sum.value_or(0) + *value;
  }
}

// The guest's own figures, KiB.
struct GuestMemory {
  std::optional<int64_t> available;
  std::optional<int64_t> usable;
  std::optional<int64_t> swap_in;
  std::optional<int64_t> major_fault;
  std::optional<int64_t> last_update_seconds;
};

// "vcpu.3.time" → 3 and "time"; false for other shapes.
bool SplitIndexed(absl::string_view field, absl::string_view group, int64_t& index,
                  absl::string_view& rest) {
  if (!absl::ConsumePrefix(&field, group)) {
    return false;
  }
  const size_t dot = field.find('.');
  if (dot == absl::string_view::npos || !absl::SimpleAtoi(field.substr(0, dot), &index)) {
    return false;
  }
  rest = field.substr(dot + 1);
  return true;
}

}  // namespace

VmState StateOf(int64_t state, int64_t reason) {
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
      return VmState::kRunning;
    case VIR_DOMAIN_PAUSED:
      return reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_POSTCOPY
                 ? VmState::kMigrating
                 : VmState::kPaused;
    case VIR_DOMAIN_PMSUSPENDED:
      return VmState::kPaused;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF:
      return VmState::kShutOff;
    case VIR_DOMAIN_CRASHED:
      return VmState::kCrashed;
    default:
      return VmState::kUnknown;
  }
}

DomainStatistics ParseStatistics(const virTypedParameter* parameters, int count, absl::Time now) {
  DomainStatistics result;
  VmReading& vm = result.vm;
  GuestMemory guest;
  int64_t state = VIR_DOMAIN_NOSTATE;
  int64_t reason = 0;
  for (int i = 0; i < count; ++i) {
    const virTypedParameter& parameter = parameters[i];
    const absl::string_view field = parameter.field;
    const std::optional<int64_t> value = Number(parameter);
    if (!value) {
      continue;
    }
    int64_t index = 0;
    absl::string_view rest;
    if (SplitIndexed(field, "vcpu.", index, rest)) {
      if (rest == "time") {
        vm.vcpu_times.push_back(absl::Nanoseconds(*value));
      } else if (rest == "delay") {
        result.delay = result.delay.value_or(absl::ZeroDuration()) + absl::Nanoseconds(*value);
      }
    } else if (SplitIndexed(field, "net.", index, rest)) {
      Add(vm.network_receive_bytes, rest == "rx.bytes" ? value : std::nullopt);
      Add(vm.network_transmit_bytes, rest == "tx.bytes" ? value : std::nullopt);
    } else if (SplitIndexed(field, "block.", index, rest)) {
      Add(vm.disk_read_bytes, rest == "rd.bytes" ? value : std::nullopt);
      Add(vm.disk_write_bytes, rest == "wr.bytes" ? value : std::nullopt);
    } else if (field == "state.state") {
      state = *value;
    } else if (field == "state.reason") {
      reason = *value;
    } else if (field == "cpu.time") {
      vm.cpu_time = absl::Nanoseconds(*value);
    } else if (field == "vcpu.current") {
      vm.vcpu_count = *value;
    } else if (field == "balloon.current") {
      vm.memory_current_bytes = *value * kKiB;
    } else if (field == "balloon.maximum") {
      vm.memory_maximum_bytes = *value * kKiB;
    } else if (field == "balloon.available") {
      guest.available = value;
    } else if (field == "balloon.usable") {
      guest.usable = value;
    } else if (field == "balloon.swap_in") {
      guest.swap_in = value;
    } else if (field == "balloon.major_fault") {
      guest.major_fault = value;
    } else if (field == "balloon.last-update") {
      guest.last_update_seconds = value;
    }
  }
  vm.state = StateOf(state, reason);
  if (guest.available && guest.usable && guest.last_update_seconds &&
      now - absl::FromUnixSeconds(*guest.last_update_seconds) <= kMaxGuestFiguresAge &&
      *guest.usable >= 0 && *guest.usable <= *guest.available) {
    vm.memory_used_bytes = (*guest.available - *guest.usable) * kKiB;
    vm.memory_guest_total_bytes = *guest.available * kKiB;
    if (guest.swap_in.has_value() && *guest.swap_in >= 0) {
      vm.memory_swap_in_bytes = *guest.swap_in * kKiB;
    }
    if (guest.major_fault.has_value() && *guest.major_fault >= 0) {
      vm.memory_major_fault_count = guest.major_fault;
    }
  }
  return result;
}

}  // namespace cloudscale::hypervisor::libvirt
