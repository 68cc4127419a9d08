#include "hypervisor/libvirt/libvirt_vm_actuator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "hypervisor/libvirt/cpu_limits.h"
#include "hypervisor/libvirt/domain_limits.h"
#include "hypervisor/libvirt/memory_note.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

constexpr int64_t kKiB = 1024;
constexpr double kXenCapStep = 0.01;

// libvirt refuses a parameter of another type than its own.
int TypeOf(const std::string& name) {
  if (name == VIR_DOMAIN_SCHEDULER_CPU_SHARES) {
    return VIR_TYPED_PARAM_ULLONG;
  }
  if (name == VIR_DOMAIN_SCHEDULER_WEIGHT || name == VIR_DOMAIN_SCHEDULER_CAP) {
    return VIR_TYPED_PARAM_UINT;
  }
  return VIR_TYPED_PARAM_LLONG;
}

absl::Status OutOfRange(const char* what, const std::string& value, const std::string& allowed) {
  return absl::OutOfRangeError(absl::StrCat(what, ": ", value, "; allowed: ", allowed));
}

}  // namespace

absl::StatusOr<std::unique_ptr<VmActuator>> LibvirtVmActuator::Create(LibvirtOptions options) {
  CS_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseUri(options.uri));
  CS_ASSIGN_OR_RETURN(Connection connection, Connect(options.uri, Access::kReadWrite));
  virNodeInfo node{};
  if (virNodeGetInfo(connection.get(), &node) < 0) {
    return LastError("host information");
  }
  return std::unique_ptr<VmActuator>(new LibvirtVmActuator(
      std::move(options), endpoint, std::move(connection), static_cast<double>(node.cpus)));
}

LibvirtVmActuator::LibvirtVmActuator(LibvirtOptions options, Endpoint endpoint,
                                     Connection connection, double host_cpu_count)
    : options_(std::move(options)),
      endpoint_(endpoint),
      connection_(std::move(connection)),
      host_cpu_count_(host_cpu_count),
      local_(options_, endpoint_),
      capabilities_(CapabilitiesOf(endpoint_)) {
  local_.Refine(capabilities_);
}

absl::StatusOr<Domain> LibvirtVmActuator::Find(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(Domain domain, FindActiveDomain(connection_.get(), vm.uuid));
  const std::string incarnation = local_.Incarnation(
      vm.uuid, virDomainGetName(domain.get()), static_cast<int>(virDomainGetID(domain.get())));
  if (!vm.incarnation.empty() && vm.incarnation != incarnation) {
    return absl::AbortedError(absl::StrCat("vm ", vm.uuid, " was started again: incarnation ",
                                           incarnation, ", decided on ", vm.incarnation));
  }
  return domain;
}

absl::StatusOr<Allocation> LibvirtVmActuator::ReadAllocation(const VmTarget& vm) {
  CS_ASSIGN_OR_RETURN(const Domain domain, Find(vm));
  CS_ASSIGN_OR_RETURN(const DomainSize size, ReadSize(domain.get()));
  CS_ASSIGN_OR_RETURN(
      const DomainSettings settings,
      ReadSettings(domain.get(), endpoint_.driver, size.vcpu_count, local_.version()));
  return AllocationOf(settings, endpoint_.driver, size);
}

absl::Status LibvirtVmActuator::SetParameter(virDomainPtr domain, const std::string& name,
                                             int64_t value) const {
  virTypedParameterPtr raw = nullptr;
  int count = 0;
  int capacity = 0;
  int added = -1;
  switch (TypeOf(name)) {
    case VIR_TYPED_PARAM_ULLONG:
      added = virTypedParamsAddULLong(&raw, &count, &capacity, name.c_str(),
                                      static_cast<unsigned long long>(value));
      break;
    case VIR_TYPED_PARAM_UINT:
      added = virTypedParamsAddUInt(&raw, &count, &capacity, name.c_str(),
                                    static_cast<unsigned>(value));
      break;
    default:
      added = virTypedParamsAddLLong(&raw, &count, &capacity, name.c_str(), value);
  }
  const Parameters parameters(raw, count);
  if (added < 0) {
    return LastError(name);
  }
  // libvirt's Xen driver takes no flags at all.
  const unsigned flags = endpoint_.driver == Driver::kXen ? 0 : VIR_DOMAIN_AFFECT_LIVE;
  if (virDomainSetSchedulerParametersFlags(domain, raw, count, flags) < 0) {
    return LastError(absl::StrCat("set ", name, " to ", value));
  }
  return absl::OkStatus();
}

absl::Status LibvirtVmActuator::SetCpuCap(const ActuationPermit& /*permit*/, const VmTarget& vm,
                                          std::optional<double> cores) {
  if (cores && (!std::isfinite(*cores) || *cores <= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("cap ", *cores, " cores; allowed: above 0"));
  }
  CS_ASSIGN_OR_RETURN(const Domain domain, Find(vm));
  if (cores && *cores > host_cpu_count_) {
    return OutOfRange("cap in cores", absl::StrCat(*cores),
                      absl::StrCat("at most ", host_cpu_count_, ", the host's CPUs"));
  }
  CS_ASSIGN_OR_RETURN(const DomainSize size, ReadSize(domain.get()));
  CS_ASSIGN_OR_RETURN(const SchedulerState state,
                      ReadScheduler(domain.get(), endpoint_.driver, size.vcpu_count));
  if (endpoint_.driver == Driver::kXen) {
    const int64_t percent =
        cores ? std::max<int64_t>(1, std::llround(std::ceil(*cores / kXenCapStep - 1e-6))) : 0;
    if (state.xen_cap_percent == percent) {
      return absl::OkStatus();
    }
    return SetParameter(domain.get(), VIR_DOMAIN_SCHEDULER_CAP, percent);
  }
  for (const ParameterWrite& write : PlanCap(state.limits, cores)) {
    CS_RETURN_IF_ERROR(SetParameter(domain.get(), write.name, write.value));
  }
  return absl::OkStatus();
}

absl::Status LibvirtVmActuator::SetCpuWeight(const ActuationPermit& /*permit*/, const VmTarget& vm,
                                             int64_t weight) {
  if (weight < 1 || weight > 10000) {
    return absl::InvalidArgumentError(absl::StrCat("weight ", weight, "; allowed: 1 to 10000"));
  }
  CS_ASSIGN_OR_RETURN(const Domain domain, Find(vm));
  if (endpoint_.driver == Driver::kXen) {
    return SetParameter(domain.get(), VIR_DOMAIN_SCHEDULER_WEIGHT, XenWeightFromOurs(weight));
  }
  const std::optional<cgroup::CgroupVersion> version = local_.version();
  if (!version) {
    return absl::UnimplementedError(
        "weights need the version of the host's control groups, which a remote daemon does not "
        "tell");
  }
  return SetParameter(
      domain.get(), VIR_DOMAIN_SCHEDULER_CPU_SHARES,
      *version == cgroup::CgroupVersion::kV2 ? weight : cgroup::SharesFromWeight(weight));
}

absl::Status LibvirtVmActuator::CheckContainerFits(const VmTarget& vm, int64_t bytes) {
  const std::optional<cgroup::MemoryUse> use = local_.Measure(vm.uuid).memory;
  if (use && bytes < use->used_bytes) {
    return absl::FailedPreconditionError(absl::StrCat("memory target ", bytes,
                                                      " bytes is below the ", use->used_bytes,
                                                      " bytes in use without idle cache"));
  }
  return absl::OkStatus();
}

absl::Status LibvirtVmActuator::SetMemoryTarget(const ActuationPermit& /*permit*/,
                                                const VmTarget& vm, std::optional<int64_t> bytes) {
  if (bytes && *bytes <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory target ", *bytes, " bytes; allowed: above 0"));
  }
  CS_ASSIGN_OR_RETURN(const Domain domain, Find(vm));
  CS_ASSIGN_OR_RETURN(const DomainSize size, ReadSize(domain.get()));
  if (bytes && *bytes > size.memory_maximum_bytes) {
    return OutOfRange("memory target in bytes", absl::StrCat(*bytes),
                      absl::StrCat("at most ", size.memory_maximum_bytes));
  }
  const int64_t target_kib = (bytes.value_or(size.memory_maximum_bytes) + kKiB - 1) / kKiB;
  CS_ASSIGN_OR_RETURN(
      const DomainSettings settings,
      ReadSettings(domain.get(), endpoint_.driver, size.vcpu_count, local_.version()));
  const Allocation now = AllocationOf(settings, endpoint_.driver, size);
  const int64_t held = now.memory_target_bytes.value_or(size.memory_maximum_bytes);
  if (held == target_kib * kKiB) {
    return absl::OkStatus();
  }
  if (endpoint_.driver == Driver::kLxc) {
    CS_RETURN_IF_ERROR(CheckContainerFits(vm, target_kib * kKiB));
  }
  if (virDomainSetMemoryFlags(domain.get(), static_cast<unsigned long>(target_kib),
                              VIR_DOMAIN_AFFECT_LIVE) < 0) {
    return LastError(absl::StrCat("set memory to ", target_kib, " KiB"));
  }
  if (endpoint_.driver == Driver::kLxc) {
    return absl::OkStatus();
  }
  // After the call, not before: a note of what was never asked for would be believed.
  const std::string note = ToXml({target_kib * kKiB, size.memory_current_bytes});
  if (virDomainSetMetadata(domain.get(), VIR_DOMAIN_METADATA_ELEMENT, note.c_str(), kNotePrefix,
                           kNoteNamespace, VIR_DOMAIN_AFFECT_LIVE) < 0) {
    const absl::Status status = LastError("note of the memory target");
    return absl::IsUnimplemented(status) ? absl::OkStatus() : status;
  }
  return absl::OkStatus();
}

absl::Status LibvirtVmActuator::SetVcpuCount(const ActuationPermit& /*permit*/, const VmTarget& vm,
                                             int64_t count) {
  if (!capabilities_.vcpu_count) {
    return absl::UnimplementedError("a container has no vCPUs to switch");
  }
  if (count < 1) {
    return absl::InvalidArgumentError(absl::StrCat("vCPUs ", count, "; allowed: at least 1"));
  }
  CS_ASSIGN_OR_RETURN(const Domain domain, Find(vm));
  const int most =
      virDomainGetVcpusFlags(domain.get(), VIR_DOMAIN_VCPU_LIVE | VIR_DOMAIN_VCPU_MAXIMUM);
  if (most < 0) {
    return LastError("most vCPUs");
  }
  if (count > most) {
    return OutOfRange("vCPUs", absl::StrCat(count), absl::StrCat("at most ", most));
  }
  CS_ASSIGN_OR_RETURN(const DomainSize size, ReadSize(domain.get()));
  if (size.vcpu_count == count) {
    return absl::OkStatus();
  }
  if (virDomainSetVcpusFlags(domain.get(), static_cast<unsigned>(count), VIR_DOMAIN_AFFECT_LIVE) <
      0) {
    return LastError(absl::StrCat("set vCPUs to ", count));
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::hypervisor::libvirt
