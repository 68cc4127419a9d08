#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::scaler::testing {

// A hypervisor in a map, which records every changing call and can refuse, lie or forget.
class RecordingActuator : public hypervisor::VmActuator {
 public:
  std::map<std::string, hypervisor::Allocation> vms;
  std::vector<std::string> calls;      // changing calls, "cap vm 1.5"
  absl::Status set_status;             // answer of changing calls
  bool applies_when_failing = false;   // does it although it answers an error
  int ignored_sets = 0;                // so many next sets answer OK and do nothing
  std::optional<double> half_way_cap;  // the next cap set ends up here instead
  absl::Status read_status;
  std::map<std::string, absl::Status> read_status_of;  // by VM, after `read_status`
  int failed_reads = 0;                                // so many next reads fail

  hypervisor::Capabilities capabilities() const override {
    return {.backend = "recording", .cpu_cap = true, .cpu_weight = true, .memory_target = true};
  }
  absl::StatusOr<hypervisor::Allocation> ReadAllocation(const hypervisor::VmTarget& vm) override {
    if (!read_status.ok()) {
      return read_status;
    }
    if (failed_reads > 0) {
      --failed_reads;
      return absl::UnavailableError("read failed");
    }
    if (const auto sick = read_status_of.find(vm.uuid); sick != read_status_of.end()) {
      return sick->second;
    }
    const auto it = vms.find(vm.uuid);
    return it == vms.end() ? absl::StatusOr<hypervisor::Allocation>(absl::NotFoundError(vm.uuid))
                           : it->second;
  }
  absl::Status SetCpuCap(const hypervisor::ActuationPermit&, const hypervisor::VmTarget& vm,
                         std::optional<double> cores) override {
    return Set(absl::StrCat("cap ", vm.uuid, " ", cores ? absl::StrCat(*cores) : "none"), vm,
               [&](hypervisor::Allocation& a) {
                 a.cpu_cap_cores = half_way_cap ? half_way_cap : cores;
                 half_way_cap.reset();
               });
  }
  absl::Status SetCpuWeight(const hypervisor::ActuationPermit&, const hypervisor::VmTarget& vm,
                            int64_t weight) override {
    return Set(absl::StrCat("weight ", vm.uuid, " ", weight), vm,
               [&](hypervisor::Allocation& a) { a.cpu_weight = weight; });
  }
  absl::Status SetMemoryTarget(const hypervisor::ActuationPermit&, const hypervisor::VmTarget& vm,
                               std::optional<int64_t> bytes) override {
    return Set(absl::StrCat("memory ", vm.uuid, " ", bytes ? absl::StrCat(*bytes) : "none"), vm,
               [&](hypervisor::Allocation& a) { a.memory_target_bytes = bytes; });
  }
  absl::Status SetVcpuCount(const hypervisor::ActuationPermit&, const hypervisor::VmTarget&,
                            int64_t) override {
    return absl::UnimplementedError("vcpu count");
  }

 private:
  absl::Status Set(std::string call, const hypervisor::VmTarget& vm,
                   const std::function<void(hypervisor::Allocation&)>& change) {
    calls.push_back(std::move(call));
    if (vms.count(vm.uuid) == 0) {
      return absl::NotFoundError(vm.uuid);
    }
    if (ignored_sets > 0) {
      --ignored_sets;
      return absl::OkStatus();
    }
    if (set_status.ok() || applies_when_failing) {
      change(vms[vm.uuid]);
    }
    return set_status;
  }
};

}  // namespace cloudscale::scaler::testing
