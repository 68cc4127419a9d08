// The conformance suite on the Xen host that it runs on: in Dom-0, with real guests.
// tests/hosts/xen/run brings it there; anywhere else its cases are skipped.
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "gtest/gtest.h"
#include "hypervisor/conformance/conformance.h"
#include "hypervisor/xen/xen_host_reader.h"
#include "hypervisor/xen/xen_module.h"
#include "hypervisor/xen/xen_test_guests.h"
#include "hypervisor/xen/xen_vm_actuator.h"

namespace cloudscale::hypervisor::xen {
namespace {

using conformance::VmSpec;

// Guests outlive a test case: one takes more than ten seconds to be up under emulation.
class GuestPool final : public ::testing::Environment {
 public:
  // The framework's, which ends the guests before the process ends.
  static GuestPool& Instance() {
    static auto* pool = static_cast<GuestPool*>(
        ::testing::AddGlobalTestEnvironment(std::make_unique<GuestPool>().release()));
    return *pool;
  }

  void TearDown() override {
    free_.clear();
    store_ = nullptr;
  }

  absl::StatusOr<std::unique_ptr<TestGuest>> Take() {
    if (store_ == nullptr) {
      CS_ASSIGN_OR_RETURN(store_, OpenXen());
      // Two, as many as a case takes: they come up together.
      for (int i = 0; i < 2; ++i) {
        CS_ASSIGN_OR_RETURN(std::unique_ptr<TestGuest> guest, Start());
        free_.push_back(std::move(guest));
      }
    }
    if (free_.empty()) {
      return Start();
    }
    std::unique_ptr<TestGuest> guest = std::move(free_.back());
    free_.pop_back();
    return guest;
  }

  void GiveBack(std::unique_ptr<TestGuest> guest) {
    if (guest->Reset().ok()) {
      free_.push_back(std::move(guest));
    }
  }

  Clock& clock() { return *clock_; }

 private:
  absl::StatusOr<std::unique_ptr<TestGuest>> Start() {
    return TestGuest::Start(*clock_, *store_, absl::StrCat("conformance-", ++made_), {});
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  std::unique_ptr<XenCalls> store_;
  std::vector<std::unique_ptr<TestGuest>> free_;
  int made_ = 0;
};

GuestPool& pool = GuestPool::Instance();  // before the framework runs

class XenBackend final : public conformance::Backend {
 public:
  static absl::StatusOr<std::unique_ptr<conformance::Backend>> Make() {
    auto backend = std::make_unique<XenBackend>();
    XenOptions options;
    options.host_id = "dom0";
    CS_ASSIGN_OR_RETURN(std::unique_ptr<XenCalls> reading, OpenXen());
    CS_ASSIGN_OR_RETURN(std::unique_ptr<XenCalls> changing, OpenXen());
    CS_RETURN_IF_ERROR(TestGuest::CheckPossible());
    CS_ASSIGN_OR_RETURN(backend->reader_,
                        XenHostReader::Create(pool.clock(), std::move(reading), options));
    CS_ASSIGN_OR_RETURN(backend->actuator_, XenVmActuator::Create(std::move(changing), options));
    return backend;
  }

  XenBackend() = default;
  ~XenBackend() override {
    for (auto& [uuid, guest] : guests_) {
      pool.GiveBack(std::move(guest));
    }
  }
  XenBackend(const XenBackend&) = delete;
  XenBackend& operator=(const XenBackend&) = delete;

  absl::StatusOr<std::string> MakeVm(const VmSpec& spec) override {
    CS_ASSIGN_OR_RETURN(std::unique_ptr<TestGuest> guest, pool.Take());
    GuestWork work;
    work.load_percent = std::llround(spec.load_cores * 100);
    work.hold_mib = spec.memory_bytes >> 20;
    CS_RETURN_IF_ERROR(guest->Work(work));
    const std::string uuid = guest->uuid();
    guests_[uuid] = std::move(guest);
    return uuid;
  }

  // The host has one CPU.
  absl::StatusOr<std::vector<std::string>> MakeContendingVms() override {
    CS_ASSIGN_OR_RETURN(const std::string first, MakeVm({.name = "rival-1", .load_cores = 1}));
    CS_ASSIGN_OR_RETURN(const std::string second, MakeVm({.name = "rival-2", .load_cores = 1}));
    return std::vector<std::string>{first, second};
  }

  absl::Status RemoveVm(const std::string& uuid) override {
    guests_.erase(uuid);
    return absl::OkStatus();
  }

  absl::Status RestartVm(const std::string& uuid) override { return guests_.at(uuid)->Restart(); }

  HostReader& reader() override { return *reader_; }
  VmActuator& actuator() override { return *actuator_; }

  void Run(absl::Duration duration) override {
    pool.clock().SleepUntil(pool.clock().MonoNow() + duration, std::stop_token());
  }

  absl::StatusOr<absl::Duration> IndependentCpuTime(const std::string& uuid) override {
    return guests_.at(uuid)->CpuTime();
  }

  absl::StatusOr<Allocation> IndependentAllocation(const std::string& uuid) override {
    return guests_.at(uuid)->ReadAllocation();
  }

  // The credit scheduler evens out over periods that emulation stretches.
  [[nodiscard]] absl::Duration measurement_time() const override { return absl::Seconds(10); }
  [[nodiscard]] double usage_tolerance_cores() const override { return 0.08; }
  [[nodiscard]] double share_tolerance() const override { return 0.3; }
  // The guest's kernel holds some 70 MiB itself.
  [[nodiscard]] int64_t obeyable_memory_target() const override { return int64_t{160} << 20; }
  [[nodiscard]] bool tells_memory_used() const override { return false; }

 private:
  std::unique_ptr<XenHostReader> reader_;
  std::unique_ptr<XenVmActuator> actuator_;
  std::map<std::string, std::unique_ptr<TestGuest>> guests_;
};

}  // namespace
}  // namespace cloudscale::hypervisor::xen

namespace cloudscale::hypervisor::conformance {

INSTANTIATE_TEST_SUITE_P(Xen, ConformanceTest,
                         ::testing::Values(BackendUnderTest("xen", &xen::XenBackend::Make)),
                         BackendName);

}  // namespace cloudscale::hypervisor::conformance
