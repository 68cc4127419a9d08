#include "hypervisor/factory/backend.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "hypervisor/bounded/bounded_backend.h"
#include "hypervisor/cgroup/cgroup_host_reader.h"
#include "hypervisor/cgroup/cgroup_options.h"
#include "hypervisor/cgroup/cgroup_vm_actuator.h"
#include "hypervisor/factory/fake_scenario.h"
#include "hypervisor/factory/xen_factory.h"
#include "hypervisor/fake/fake_backend.h"
#include "hypervisor/fake/fake_host.h"
#include "hypervisor/libvirt/libvirt_host_reader.h"
#include "hypervisor/libvirt/libvirt_options.h"
#include "hypervisor/libvirt/libvirt_vm_actuator.h"

namespace cloudscale::hypervisor {
namespace {

constexpr double kDefaultFakeCores = 8;
constexpr int64_t kDefaultFakeMemoryBytes = int64_t{16} << 30;
constexpr absl::Duration kDefaultCallLimit = absl::Seconds(2);
constexpr double kLeastCallSeconds = 0.1;
constexpr double kMostCallSeconds = 60;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + static_cast<double>(duration.nanos()) * 1e-9;
}

// The simulated host's facades, which keep the host alive.
class SharedFakeReader final : public HostReader {
 public:
  SharedFakeReader(std::shared_ptr<fake::FakeHost> host, const Clock& clock)
      : host_(std::move(host)), reader_(*host_, clock) {}
  Capabilities capabilities() const override { return reader_.capabilities(); }
  absl::StatusOr<HostReading> Read() override { return reader_.Read(); }

 private:
  const std::shared_ptr<fake::FakeHost> host_;
  fake::FakeHostReader reader_;
};

class SharedFakeActuator final : public VmActuator {
 public:
  SharedFakeActuator(std::shared_ptr<fake::FakeHost> host, const Clock& clock)
      : host_(std::move(host)), actuator_(*host_, clock) {}
  Capabilities capabilities() const override { return actuator_.capabilities(); }
  absl::StatusOr<Allocation> ReadAllocation(const VmTarget& vm) override {
    return actuator_.ReadAllocation(vm);
  }
  absl::Status SetCpuCap(const ActuationPermit& permit, const VmTarget& vm,
                         std::optional<double> cores) override {
    return actuator_.SetCpuCap(permit, vm, cores);
  }
  absl::Status SetCpuWeight(const ActuationPermit& permit, const VmTarget& vm,
                            int64_t weight) override {
    return actuator_.SetCpuWeight(permit, vm, weight);
  }
  absl::Status SetMemoryTarget(const ActuationPermit& permit, const VmTarget& vm,
                               std::optional<int64_t> bytes) override {
    return actuator_.SetMemoryTarget(permit, vm, bytes);
  }
  absl::Status SetVcpuCount(const ActuationPermit& permit, const VmTarget& vm,
                            int64_t count) override {
    return actuator_.SetVcpuCount(permit, vm, count);
  }

 private:
  const std::shared_ptr<fake::FakeHost> host_;
  fake::FakeVmActuator actuator_;
};

class FakeBackend final : public Backend {
 public:
  static absl::StatusOr<std::unique_ptr<Backend>> Create(const config::v1::FakeConfig& config,
                                                         const std::string& host_id, Clock& clock) {
    fake::FakeHostOptions options;
    options.host_id = host_id;
    options.cpu_capacity_cores =
        config.cpu_capacity_cores() > 0 ? config.cpu_capacity_cores() : kDefaultFakeCores;
    options.memory_capacity_bytes =
        config.memory_bytes() > 0 ? config.memory_bytes() : kDefaultFakeMemoryBytes;
    auto host = std::make_shared<fake::FakeHost>(options, clock.MonoNow());
    CS_ASSIGN_OR_RETURN(std::vector<fake::FakeVmSpec> vms, MakeFakeVms(config));
    for (fake::FakeVmSpec& vm : vms) {
      CS_RETURN_IF_ERROR(host->AddVm(std::move(vm)));
    }
    return std::unique_ptr<Backend>(new FakeBackend(std::move(host), clock));
  }

  absl::StatusOr<std::unique_ptr<HostReader>> MakeReader() override {
    return std::make_unique<SharedFakeReader>(host_, clock_);
  }
  absl::StatusOr<std::unique_ptr<VmActuator>> MakeActuator() override {
    return std::make_unique<SharedFakeActuator>(host_, clock_);
  }

 private:
  FakeBackend(std::shared_ptr<fake::FakeHost> host, Clock& clock)
      : host_(std::move(host)), clock_(clock) {}
  const std::shared_ptr<fake::FakeHost> host_;
  Clock& clock_;
};

class CgroupBackend final : public Backend {
 public:
  CgroupBackend(const config::v1::CgroupConfig& config, const std::string& host_id, Clock& clock,
                absl::Duration call_limit)
      : clock_(clock), call_limit_(call_limit) {
    if (!config.root().empty()) {
      options_.root = config.root();
    }
    if (!config.parent_group().empty()) {
      options_.parent_group = config.parent_group();
    }
    options_.host_id = host_id;
    switch (config.version()) {
      case config::v1::CGROUP_VERSION_V1:
        options_.version = cgroup::CgroupVersion::kV1;
        break;
      case config::v1::CGROUP_VERSION_V2:
        options_.version = cgroup::CgroupVersion::kV2;
        break;
      default:
        options_.version = cgroup::CgroupVersion::kAuto;
    }
    if (config.has_cpu_capacity_cores()) {
      options_.cpu_capacity_cores = config.cpu_capacity_cores();
    }
    if (config.has_memory_bytes()) {
      options_.memory_capacity_bytes = config.memory_bytes();
    }
  }

  // The first one is made here, so that a host that cannot be read at all is refused at the start.
  absl::StatusOr<std::unique_ptr<HostReader>> MakeReader() override {
    CS_ASSIGN_OR_RETURN(const auto first, cgroup::CgroupHostReader::Create(clock_, options_));
    return std::make_unique<BoundedHostReader>(
        [&clock = clock_, options = options_]() -> absl::StatusOr<std::unique_ptr<HostReader>> {
          return cgroup::CgroupHostReader::Create(clock, options);
        },
        first->capabilities(), call_limit_);
  }
  absl::StatusOr<std::unique_ptr<VmActuator>> MakeActuator() override {
    CS_ASSIGN_OR_RETURN(const auto first, cgroup::CgroupVmActuator::Create(options_));
    return std::make_unique<BoundedVmActuator>(
        [options = options_]() -> absl::StatusOr<std::unique_ptr<VmActuator>> {
          return cgroup::CgroupVmActuator::Create(options);
        },
        first->capabilities(), call_limit_);
  }

 private:
  Clock& clock_;
  const absl::Duration call_limit_;
  cgroup::CgroupOptions options_;
};

// The daemon may come later, go and come back: nothing is asked here.
class LibvirtBackend final : public Backend {
 public:
  LibvirtBackend(const config::v1::LibvirtConfig& config, const std::string& host_id,
                 absl::Duration call_limit)
      : call_limit_(call_limit) {
    if (!config.uri().empty()) {
      options_.uri = config.uri();
    }
    options_.host_id = host_id;
    if (config.has_cpu_capacity_cores()) {
      options_.cpu_capacity_cores = config.cpu_capacity_cores();
    }
    if (config.has_memory_bytes()) {
      options_.memory_capacity_bytes = config.memory_bytes();
    }
  }

  absl::StatusOr<std::unique_ptr<HostReader>> MakeReader() override {
    CS_ASSIGN_OR_RETURN(const libvirt::Endpoint endpoint, libvirt::ParseUri(options_.uri));
    return std::make_unique<BoundedHostReader>(
        [options = options_] { return libvirt::LibvirtHostReader::Create(options); },
        libvirt::CapabilitiesOf(endpoint), call_limit_);
  }
  absl::StatusOr<std::unique_ptr<VmActuator>> MakeActuator() override {
    CS_ASSIGN_OR_RETURN(const libvirt::Endpoint endpoint, libvirt::ParseUri(options_.uri));
    return std::make_unique<BoundedVmActuator>(
        [options = options_] { return libvirt::LibvirtVmActuator::Create(options); },
        libvirt::CapabilitiesOf(endpoint), call_limit_);
  }

 private:
  const absl::Duration call_limit_;
  libvirt::LibvirtOptions options_;
};

void ValidateLibvirtConfig(const config::v1::LibvirtConfig& config, absl::string_view prefix,
                           Violations* violations) {
  Violations v;
  if (!config.uri().empty() && !libvirt::ParseUri(config.uri()).ok()) {
    v.Add("uri", config.uri(),
          "driver qemu, lxc or xen, e.g. qemu:///system, lxc:///system, qemu+ssh://host/system");
  }
  if (config.has_cpu_capacity_cores()) {
    RequireInRange(v, "cpu_capacity_cores", config.cpu_capacity_cores(), 0.01, 4096);
  }
  if (config.has_memory_bytes()) {
    RequireInRange(v, "memory_bytes", static_cast<double>(config.memory_bytes()), 1 << 20, 1e16);
  }
  violations->AddAll(prefix, v);
}

void ValidateCgroupConfig(const config::v1::CgroupConfig& config, absl::string_view prefix,
                          Violations* violations) {
  Violations v;
  if (config.has_cpu_capacity_cores()) {
    RequireInRange(v, "cpu_capacity_cores", config.cpu_capacity_cores(), 0.01, 4096);
  }
  if (config.has_memory_bytes()) {
    RequireInRange(v, "memory_bytes", static_cast<double>(config.memory_bytes()), 1 << 20, 1e16);
  }
  violations->AddAll(prefix, v);
}

}  // namespace

void ValidateHypervisorConfig(const config::v1::HypervisorConfig& config, absl::string_view prefix,
                              bool needs_actuator_alone, Violations* violations) {
  using Config = config::v1::HypervisorConfig;
  if (config.has_call_timeout()) {
    Violations v;
    RequireInRange(v, "call_timeout", Seconds(config.call_timeout()), kLeastCallSeconds,
                   kMostCallSeconds);
    violations->AddAll(prefix, v);
  }
  switch (config.backend_case()) {
    case Config::kFake:
      if (needs_actuator_alone) {
        violations->Add(absl::StrCat(prefix, ".fake"), "fake",
                        "cgroup or libvirt: a simulated host lives inside one process, use "
                        "cloudscaled");
      }
      ValidateFakeConfig(config.fake(), absl::StrCat(prefix, ".fake"), violations);
      return;
    case Config::kCgroup:
      ValidateCgroupConfig(config.cgroup(), absl::StrCat(prefix, ".cgroup"), violations);
      return;
    case Config::kLibvirt:
      ValidateLibvirtConfig(config.libvirt(), absl::StrCat(prefix, ".libvirt"), violations);
      return;
    case Config::kXen:
      ValidateXenConfig(config.xen(), absl::StrCat(prefix, ".xen"), violations);
      return;
    case Config::BACKEND_NOT_SET:
      violations->Add(prefix, "not set", "fake, cgroup, libvirt or xen");
      return;
  }
}

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const config::v1::HypervisorConfig& config,
                                                     const std::string& host_id, Clock& clock) {
  const absl::Duration call_limit =
      config.has_call_timeout() ? absl::Seconds(Seconds(config.call_timeout())) : kDefaultCallLimit;
  switch (config.backend_case()) {
    case config::v1::HypervisorConfig::kFake:
      return FakeBackend::Create(config.fake(), host_id, clock);
    case config::v1::HypervisorConfig::kCgroup:
      return std::make_unique<CgroupBackend>(config.cgroup(), host_id, clock, call_limit);
    case config::v1::HypervisorConfig::kLibvirt:
      return std::make_unique<LibvirtBackend>(config.libvirt(), host_id, call_limit);
    case config::v1::HypervisorConfig::kXen:
      return MakeXenBackend(config.xen(), host_id, clock, call_limit);
    default:
      return absl::InvalidArgumentError("no hypervisor is configured");
  }
}

}  // namespace cloudscale::hypervisor
