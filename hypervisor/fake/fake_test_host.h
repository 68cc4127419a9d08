#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "gtest/gtest.h"
#include "hypervisor/fake/fake_backend.h"
#include "hypervisor/fake/fake_host.h"

namespace cloudscale::hypervisor::fake {

// One host of 4 cores with its faces on a simulated clock, for the tests of this folder.
class FakeTestHost : public ::testing::Test {
 protected:
  static FakeHostOptions Options() {
    FakeHostOptions options;
    options.cpu_capacity_cores = 4;
    options.memory_capacity_bytes = 8 * kGiB;
    return options;
  }
  // Two vCPUs and 1 GiB; demand as fractions of them.
  static FakeVmSpec Spec(const std::string& uuid, double cpu, double memory = 0.25) {
    FakeVmSpec spec;
    spec.uuid = uuid;
    spec.name = "name-" + uuid;
    spec.vcpu_count = 2;
    spec.memory_maximum_bytes = kGiB;
    spec.cpu_demand = workload::MakeConstantDemand(cpu);
    spec.memory_demand = workload::MakeConstantDemand(memory);
    return spec;
  }
  static ActuationPermit Permit() { return *ActuationPermit::Grant(true, 7, "request-1"); }
  static VmTarget Any(const std::string& uuid) { return {uuid, ""}; }

  void Run(absl::Duration d) {
    clock_.Advance(d);
    host_.AdvanceTo(clock_.MonoNow());
  }
  // The VM in a new reading; fails the test when it is not there.
  VmReading ReadVm(const std::string& uuid) {
    const auto reading = reader_.Read();
    EXPECT_THAT(reading, testing::IsOk());
    if (reading.ok()) {
      for (const VmReading& vm : reading->vms) {
        if (vm.uuid == uuid) {
          return vm;
        }
      }
    }
    ADD_FAILURE() << "vm " << uuid << " is not in the reading";
    return {};
  }
  bool IsRead(const std::string& uuid) {
    const HostReading reading = reader_.Read().value();
    for (const VmReading& vm : reading.vms) {
      if (vm.uuid == uuid) {
        return true;
      }
    }
    return false;
  }
  GroundTruth Truth(const std::string& uuid) { return host_.Truth(uuid).value(); }
  static double Seconds(std::optional<absl::Duration> d) {
    return absl::ToDoubleSeconds(d.value());
  }

  SimClock clock_;
  FakeHost host_{Options(), clock_.MonoNow()};
  FakeHostReader reader_{host_, clock_};
  FakeVmActuator actuator_{host_, clock_};
};

}  // namespace cloudscale::hypervisor::fake
