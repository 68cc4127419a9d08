#include "hypervisor/bounded/bounded_backend.h"

#include <utility>

#include "common/status/macros.h"

namespace cloudscale::hypervisor {

BoundedHostReader::BoundedHostReader(BoundedCalls<HostReader>::Make make, Capabilities expected,
                                     absl::Duration limit)
    : capabilities_(std::move(expected)), calls_("reading the host", std::move(make), limit) {}

absl::StatusOr<HostReading> BoundedHostReader::Read() {
  struct Answer {
    HostReading reading;
    Capabilities capabilities;
  };
  CS_ASSIGN_OR_RETURN(Answer answer, calls_.Call<absl::StatusOr<Answer>>(
                                         [](HostReader& reader) -> absl::StatusOr<Answer> {
                                           Answer answer;
                                           CS_ASSIGN_OR_RETURN(answer.reading, reader.Read());
                                           answer.capabilities = reader.capabilities();
                                           return answer;
                                         }));
  capabilities_ = std::move(answer.capabilities);
  return std::move(answer.reading);
}

BoundedVmActuator::BoundedVmActuator(BoundedCalls<VmActuator>::Make make, Capabilities expected,
                                     absl::Duration limit)
    : capabilities_(std::move(expected)), calls_("changing a VM", std::move(make), limit) {}

absl::StatusOr<Allocation> BoundedVmActuator::ReadAllocation(const VmTarget& vm) {
  struct Answer {
    Allocation allocation;
    Capabilities capabilities;
  };
  CS_ASSIGN_OR_RETURN(
      Answer answer,
      calls_.Call<absl::StatusOr<Answer>>([vm](VmActuator& actuator) -> absl::StatusOr<Answer> {
        Answer answer;
        CS_ASSIGN_OR_RETURN(answer.allocation, actuator.ReadAllocation(vm));
        answer.capabilities = actuator.capabilities();
        return answer;
      }));
  capabilities_ = std::move(answer.capabilities);
  return answer.allocation;
}

absl::Status BoundedVmActuator::SetCpuCap(const ActuationPermit& permit, const VmTarget& vm,
                                          std::optional<double> cores) {
  return calls_.Call<absl::Status>(
      [permit, vm, cores](VmActuator& actuator) { return actuator.SetCpuCap(permit, vm, cores); });
}

absl::Status BoundedVmActuator::SetCpuWeight(const ActuationPermit& permit, const VmTarget& vm,
                                             int64_t weight) {
  return calls_.Call<absl::Status>([permit, vm, weight](VmActuator& actuator) {
    return actuator.SetCpuWeight(permit, vm, weight);
  });
}

absl::Status BoundedVmActuator::SetMemoryTarget(const ActuationPermit& permit, const VmTarget& vm,
                                                std::optional<int64_t> bytes) {
  return calls_.Call<absl::Status>([permit, vm, bytes](VmActuator& actuator) {
    return actuator.SetMemoryTarget(permit, vm, bytes);
  });
}

absl::Status BoundedVmActuator::SetVcpuCount(const ActuationPermit& permit, const VmTarget& vm,
                                             int64_t count) {
  return calls_.Call<absl::Status>([permit, vm, count](VmActuator& actuator) {
    return actuator.SetVcpuCount(permit, vm, count);
  });
}

}  // namespace cloudscale::hypervisor
