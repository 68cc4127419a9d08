#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/macros.h"
#include "common/time/sim_clock.h"
#include "gtest/gtest.h"
#include "hypervisor/conformance/conformance.h"
#include "hypervisor/fake/fake_backend.h"
#include "hypervisor/fake/fake_host.h"

namespace cloudscale::hypervisor::fake {
namespace {

using conformance::BackendName;
using conformance::BackendUnderTest;
using conformance::ConformanceTest;
using conformance::VmSpec;

class FakeUnderTest final : public conformance::Backend {
 public:
  explicit FakeUnderTest(FakeHostOptions options)
      : host_(std::move(options), clock_.MonoNow()),
        reader_(host_, clock_),
        actuator_(host_, clock_) {}

  absl::StatusOr<std::string> MakeVm(const VmSpec& spec) override {
    FakeVmSpec vm;
    vm.uuid = "uuid-" + spec.name;
    vm.name = spec.name;
    vm.vcpu_count = spec.vcpu_count;
    vm.memory_maximum_bytes = spec.memory_maximum_bytes;
    vm.cpu_demand =
        workload::MakeConstantDemand(spec.load_cores / static_cast<double>(spec.vcpu_count));
    vm.memory_demand = workload::MakeConstantDemand(static_cast<double>(spec.memory_bytes) /
                                                    static_cast<double>(spec.memory_maximum_bytes));
    CS_RETURN_IF_ERROR(host_.AddVm(vm));
    return vm.uuid;
  }

  absl::StatusOr<std::vector<std::string>> MakeContendingVms() override {
    // A third VM with nearly all weight leaves one core of the host to the other two.
    FakeVmSpec rest;
    rest.uuid = "uuid-rest";
    rest.vcpu_count = kCores - 1;
    rest.cpu_demand = workload::MakeConstantDemand(1);
    rest.allocation.cpu_weight = 10000;
    CS_RETURN_IF_ERROR(host_.AddVm(rest));
    std::vector<std::string> uuids;
    for (const char* name : {"first", "second"}) {
      CS_ASSIGN_OR_RETURN(uuids.emplace_back(), MakeVm({.name = name, .load_cores = 1}));
    }
    return uuids;
  }

  absl::Status RemoveVm(const std::string& uuid) override { return host_.RemoveVm(uuid); }
  absl::Status RestartVm(const std::string& uuid) override { return host_.RestartVm(uuid); }
  HostReader& reader() override { return reader_; }
  VmActuator& actuator() override { return actuator_; }
  void Run(absl::Duration duration) override { clock_.Advance(duration); }

  absl::StatusOr<absl::Duration> IndependentCpuTime(const std::string& uuid) override {
    host_.AdvanceTo(clock_.MonoNow());
    CS_ASSIGN_OR_RETURN(const GroundTruth truth, host_.Truth(uuid));
    return absl::Seconds(truth.granted_core_seconds);
  }
  absl::StatusOr<Allocation> IndependentAllocation(const std::string& uuid) override {
    CS_ASSIGN_OR_RETURN(Allocation allocation, host_.TrueAllocation(uuid));
    // No weight means the normal one.
    allocation.cpu_weight = allocation.cpu_weight.value_or(100);
    return allocation;
  }
  absl::Duration measurement_time() const override { return absl::Seconds(10); }
  double usage_tolerance_cores() const override { return 1e-6; }
  double share_tolerance() const override { return 1e-6; }

  static constexpr int64_t kCores = 4;

 private:
  SimClock clock_;
  FakeHost host_;
  FakeHostReader reader_;
  FakeVmActuator actuator_;
};

absl::StatusOr<std::unique_ptr<conformance::Backend>> MakeFull() {
  FakeHostOptions options;
  options.cpu_capacity_cores = static_cast<double>(FakeUnderTest::kCores);
  return std::make_unique<FakeUnderTest>(options);
}

// A hypervisor that can only read CPU time: what it lacks must be said, not pretended.
absl::StatusOr<std::unique_ptr<conformance::Backend>> MakePoor() {
  FakeHostOptions options;
  options.cpu_capacity_cores = static_cast<double>(FakeUnderTest::kCores);
  options.capabilities = {};
  options.capabilities.backend = "fake-poor";
  return std::make_unique<FakeUnderTest>(options);
}

INSTANTIATE_TEST_SUITE_P(Fake, ConformanceTest,
                         ::testing::Values(BackendUnderTest("full", &MakeFull),
                                           BackendUnderTest("poor", &MakePoor)),
                         BackendName);

}  // namespace
}  // namespace cloudscale::hypervisor::fake
