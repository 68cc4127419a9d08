// The conformance suite on real containers and VMs; to be run inside a simulated host.
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "gtest/gtest.h"
#include "hypervisor/bounded/bounded_backend.h"
#include "hypervisor/conformance/conformance.h"
#include "hypervisor/libvirt/libvirt_host_reader.h"
#include "hypervisor/libvirt/libvirt_vm_actuator.h"
#include "hypervisor/libvirt/test_domains.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

using conformance::VmSpec;

constexpr absl::Duration kCallLimit = absl::Seconds(20);

// A file of a domain's group in a v1 tree.
absl::StatusOr<double> GroupNumber(pid_t pid, const std::string& controller,
                                   const std::string& file) {
  CS_ASSIGN_OR_RETURN(const std::string group, CgroupOf(pid, controller));
  const std::string path = absl::StrCat("/sys/fs/cgroup/", controller, group, "/", file);
  double number = 0;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(ReadText(path)), &number)) {
    return absl::NotFoundError(path);
  }
  return number;
}

// What containers and VMs have in common: they are domains of one daemon.
class LibvirtBackend : public conformance::Backend {
 public:
  LibvirtBackend(std::string uri, std::string driver)
      : uri_(std::move(uri)), driver_(std::move(driver)) {}

  absl::Status Open() {
    LibvirtOptions options;
    options.uri = uri_;
    options.host_id = "test-host";
    CS_ASSIGN_OR_RETURN(connection_, Connect(uri_, Access::kReadWrite));
    CS_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseUri(uri_));
    reader_ = std::make_unique<BoundedHostReader>(
        [options] { return LibvirtHostReader::Create(options); }, CapabilitiesOf(endpoint),
        kCallLimit);
    actuator_ = std::make_unique<BoundedVmActuator>(
        [options] { return LibvirtVmActuator::Create(options); }, CapabilitiesOf(endpoint),
        kCallLimit);
    return reader_->Read().status();
  }

  HostReader& reader() override { return *reader_; }
  VmActuator& actuator() override { return *actuator_; }
  void Run(absl::Duration duration) override {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }

  // CPU accounting of the domain's processes, which knows nothing of groups or libvirt.
  absl::StatusOr<absl::Duration> IndependentCpuTime(const std::string& uuid) override {
    CS_ASSIGN_OR_RETURN(const pid_t pid, DomainProcess(driver_, NameOf(uuid)));
    CS_ASSIGN_OR_RETURN(const std::string group, CgroupOf(pid, "cpu"));
    absl::Duration sum;
    for (const pid_t process : ProcessesBelow(group)) {
      CS_ASSIGN_OR_RETURN(const absl::Duration time, ProcessCpuTime(process));
      sum += time;
    }
    return sum;
  }

  // The kernel's own files.
  absl::StatusOr<Allocation> IndependentAllocation(const std::string& uuid) override {
    CS_ASSIGN_OR_RETURN(const pid_t pid, DomainProcess(driver_, NameOf(uuid)));
    Allocation result;
    CS_ASSIGN_OR_RETURN(const double quota, GroupNumber(pid, "cpu", "cpu.cfs_quota_us"));
    CS_ASSIGN_OR_RETURN(const double period, GroupNumber(pid, "cpu", "cpu.cfs_period_us"));
    CS_ASSIGN_OR_RETURN(const double shares, GroupNumber(pid, "cpu", "cpu.shares"));
    if (quota > 0) {
      result.cpu_cap_cores = quota / period;
    }
    result.cpu_weight = std::llround(shares * 100 / 1024);
    CS_ASSIGN_OR_RETURN(result.memory_target_bytes, IndependentMemory(uuid, pid));
    return result;
  }

 protected:
  virtual absl::StatusOr<std::optional<int64_t>> IndependentMemory(const std::string& uuid,
                                                                   pid_t pid) = 0;
  [[nodiscard]] virtual std::string NameOf(const std::string& uuid) const = 0;

  const std::string uri_;
  const std::string driver_;
  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  Connection connection_;
  std::unique_ptr<HostReader> reader_;
  std::unique_ptr<VmActuator> actuator_;
};

class LxcBackend final : public LibvirtBackend {
 public:
  LxcBackend() : LibvirtBackend("lxc:///system", "lxc") {}
  ~LxcBackend() override {
    for (const auto& [uuid, container] : containers_) {
      virDomainDestroy(container.domain.get());
    }
  }
  static absl::StatusOr<std::unique_ptr<conformance::Backend>> Make() {
    if (std::getenv("CLOUDSCALE_TEST_HOST") == nullptr) {
      return absl::UnavailableError("not inside a simulated host (tests/hosts/libvirt/with_host)");
    }
    auto backend = std::make_unique<LxcBackend>();
    // Here everything must work: an error that would skip the test elsewhere fails it.
    if (const absl::Status opened = backend->Open(); !opened.ok()) {
      return absl::InternalError(opened.ToString());
    }
    return backend;
  }

  absl::StatusOr<std::string> MakeVm(const VmSpec& spec) override {
    return MakeVm(spec, std::nullopt);
  }
  absl::StatusOr<std::vector<std::string>> MakeContendingVms() override {
    std::vector<std::string> uuids;
    for (const char* name : {"rival-1", "rival-2"}) {
      CS_ASSIGN_OR_RETURN(const std::string uuid, MakeVm({.name = name, .load_cores = 1}, 0));
      uuids.push_back(uuid);
    }
    return uuids;
  }
  absl::Status RemoveVm(const std::string& uuid) override {
    if (virDomainDestroy(containers_.at(uuid).domain.get()) < 0) {
      return LastError("end a container");
    }
    containers_.erase(uuid);
    return absl::OkStatus();
  }
  absl::Status RestartVm(const std::string& uuid) override {
    const VmSpec spec = containers_.at(uuid).spec;
    CS_RETURN_IF_ERROR(RemoveVm(uuid));
    return MakeVm(spec).status();
  }

 protected:
  absl::StatusOr<std::optional<int64_t>> IndependentMemory(const std::string& uuid,
                                                           pid_t pid) override {
    CS_ASSIGN_OR_RETURN(const double limit, GroupNumber(pid, "memory", "memory.limit_in_bytes"));
    const auto bytes = static_cast<int64_t>(limit);
    if (bytes >= containers_.at(uuid).spec.memory_maximum_bytes) {
      return std::nullopt;
    }
    return bytes;
  }
  [[nodiscard]] std::string NameOf(const std::string& uuid) const override {
    const auto it = containers_.find(uuid);
    return it == containers_.end() ? "none" : it->second.spec.name;
  }

 private:
  struct Container {
    VmSpec spec;
    Domain domain;
  };
  absl::StatusOr<std::string> MakeVm(const VmSpec& spec, std::optional<int> on_cpu) {
    const std::string uuid = TestUuid(spec.name);
    const std::string program = CLOUDSCALE_GUEST_PROGRAM;
    Container container{.spec = spec, .domain = nullptr};
    container.domain.reset(
        virDomainCreateXML(connection_.get(),
                           ContainerXml(spec.name, uuid, program, spec.load_cores,
                                        spec.memory_bytes, spec.memory_maximum_bytes, on_cpu)
                               .c_str(),
                           0));
    if (container.domain == nullptr) {
      return LastError("start a container");
    }
    containers_[uuid] = std::move(container);
    return uuid;
  }

  std::map<std::string, Container> containers_;  // by uuid
};

// VMs take seconds to boot, so that test cases share them: one that a case is done with goes to
// the next with its load and limits taken off.
class GuestPool {
 public:
  absl::StatusOr<TestGuest*> Take(virConnectPtr connection) {
    for (const std::unique_ptr<TestGuest>& guest : guests_) {
      if (taken_.insert(guest.get()).second) {
        return guest.get();
      }
    }
    CS_RETURN_IF_ERROR(boot_failure_);  // once is enough: the next would take as long to fail
    absl::StatusOr<std::unique_ptr<TestGuest>> guest =
        TestGuest::Boot(*clock_, connection, absl::StrCat("guest-", ++count_),
                        std::getenv("CLOUDSCALE_GUEST_IMAGE"));
    if (!guest.ok()) {
      boot_failure_ = guest.status();
      return boot_failure_;
    }
    taken_.insert(guest->get());
    guests_.push_back(*std::move(guest));
    return guests_.back().get();
  }
  void GiveBack(TestGuest* guest) { taken_.erase(guest); }
  void End(TestGuest* guest) {
    taken_.erase(guest);
    std::erase_if(guests_, [&](const auto& g) { return g.get() == guest; });
  }
  void EndAll() { guests_.clear(); }

 private:
  std::vector<std::unique_ptr<TestGuest>> guests_;
  std::set<TestGuest*> taken_;
  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  int count_ = 0;
  absl::Status boot_failure_;
};

GuestPool& Pool() {
  static auto* pool = new GuestPool;
  return *pool;
}

class QemuBackend final : public LibvirtBackend {
 public:
  QemuBackend() : LibvirtBackend("qemu:///system", "qemu") {}
  ~QemuBackend() override {
    for (const auto& [uuid, guest] : guests_) {
      if (CleanUp(uuid, *guest).ok()) {
        Pool().GiveBack(guest);
      } else {
        Pool().End(guest);
      }
    }
  }
  static absl::StatusOr<std::unique_ptr<conformance::Backend>> Make() {
    if (std::getenv("CLOUDSCALE_TEST_HOST") == nullptr ||
        std::getenv("CLOUDSCALE_GUEST_IMAGE") == nullptr) {
      return absl::UnavailableError(
          "not inside a simulated host with a guest (GUEST_IMAGE=1 tests/hosts/libvirt/with_host)");
    }
    auto backend = std::make_unique<QemuBackend>();
    // Here everything must work: an error that would skip the test elsewhere fails it.
    if (const absl::Status opened = backend->Open(); !opened.ok()) {
      return absl::InternalError(opened.ToString());
    }
    return backend;
  }

  absl::StatusOr<std::string> MakeVm(const VmSpec& spec) override {
    CS_ASSIGN_OR_RETURN(TestGuest* const guest, Pool().Take(PoolConnection()));
    guests_[guest->uuid()] = guest;
    CS_RETURN_IF_ERROR(guest->HoldMemory(spec.memory_bytes));
    CS_RETURN_IF_ERROR(guest->SetLoad(spec.load_cores));
    return guest->uuid();
  }
  absl::StatusOr<std::vector<std::string>> MakeContendingVms() override {
    std::vector<std::string> uuids;
    for (int i = 0; i < 2; ++i) {
      CS_ASSIGN_OR_RETURN(const std::string uuid, MakeVm({.load_cores = 1}));
      CS_RETURN_IF_ERROR(guests_.at(uuid)->Pin(0));
      uuids.push_back(uuid);
    }
    return uuids;
  }
  absl::Status RemoveVm(const std::string& uuid) override {
    Pool().End(guests_.at(uuid));
    guests_.erase(uuid);
    return absl::OkStatus();
  }
  absl::Status RestartVm(const std::string& uuid) override { return guests_.at(uuid)->Reboot(); }

  // Emulated devices cost some beside the load.
  [[nodiscard]] absl::Duration measurement_time() const override { return absl::Seconds(4); }
  [[nodiscard]] int64_t obeyable_memory_target() const override { return int64_t{160} << 20; }
  [[nodiscard]] absl::Duration memory_settling_time() const override { return absl::Seconds(30); }

 protected:
  // The guest kernel's own view would be a third source; QEMU's monitor is not libvirt's cache.
  absl::StatusOr<std::optional<int64_t>> IndependentMemory(const std::string& uuid,
                                                           pid_t /*pid*/) override {
    virDomainInfo info{};
    if (virDomainGetInfo(guests_.at(uuid)->domain(), &info) < 0) {
      return LastError("domain information");
    }
    // A balloon takes a moment: until it has not moved for 2 s.
    const MonoTime deadline = clock_->MonoNow() + memory_settling_time();
    MonoTime moved = clock_->MonoNow();
    while (clock_->MonoNow() - moved < absl::Seconds(2) && clock_->MonoNow() < deadline) {
      const unsigned long before = info.memory;
      Run(absl::Milliseconds(200));
      if (virDomainGetInfo(guests_.at(uuid)->domain(), &info) < 0) {
        return LastError("domain information");
      }
      if (info.memory != before) {
        moved = clock_->MonoNow();
      }
    }
    if (info.memory >= info.maxMem) {
      return std::nullopt;
    }
    return static_cast<int64_t>(info.memory) * 1024;
  }
  [[nodiscard]] std::string NameOf(const std::string& uuid) const override {
    const auto it = guests_.find(uuid);
    return it == guests_.end() ? "none" : it->second->name();
  }

 private:
  // Outlives the backends, as the pooled guests do.
  static virConnectPtr PoolConnection() {
    static const virConnectPtr connection = virConnectOpen("qemu:///system");
    return connection;
  }
  absl::Status CleanUp(const std::string& uuid, TestGuest& guest) {
    const ActuationPermit permit = *ActuationPermit::Grant(true, 1, "clean-up");
    const VmTarget vm{.uuid = uuid, .incarnation = ""};
    CS_RETURN_IF_ERROR(actuator_->SetCpuCap(permit, vm, std::nullopt));
    CS_RETURN_IF_ERROR(actuator_->SetCpuWeight(permit, vm, 100));
    CS_RETURN_IF_ERROR(actuator_->SetMemoryTarget(permit, vm, std::nullopt));
    CS_RETURN_IF_ERROR(guest.Pin(std::nullopt));
    CS_RETURN_IF_ERROR(guest.HoldMemory(0));
    return guest.SetLoad(0);
  }

  std::map<std::string, TestGuest*> guests_;  // by uuid
};

// Ends the guests before the process does, so that the host goes down clean.
class EndGuests final : public ::testing::Environment {
 public:
  void TearDown() override { Pool().EndAll(); }
};
const ::testing::Environment* const kEndGuests =
    ::testing::AddGlobalTestEnvironment(new EndGuests);  // NOLINT(cert-err58-cpp)

}  // namespace
}  // namespace cloudscale::hypervisor::libvirt

namespace cloudscale::hypervisor::conformance {

INSTANTIATE_TEST_SUITE_P(Lxc, ConformanceTest,
                         ::testing::Values(BackendUnderTest("lxc", &libvirt::LxcBackend::Make)),
                         BackendName);
INSTANTIATE_TEST_SUITE_P(Qemu, ConformanceTest,
                         ::testing::Values(BackendUnderTest("qemu", &libvirt::QemuBackend::Make)),
                         BackendName);

}  // namespace cloudscale::hypervisor::conformance
