#include "hypervisor/factory/backend.h"

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/factory/fake_scenario.h"

namespace cloudscale::hypervisor {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using ::testing::SizeIs;
using testing::StatusIs;

TEST(BackendTest, DefaultSimulatedHostHasVmsAndReaderAndActuatorShareIt) {
  SimClock clock;
  config::v1::HypervisorConfig config;
  config.mutable_fake();
  auto backend = MakeBackend(config, "host-a", clock);
  ASSERT_THAT(backend, IsOk());
  auto reader = (*backend)->MakeReader();
  auto actuator = (*backend)->MakeActuator();
  ASSERT_THAT(reader, IsOk());
  ASSERT_THAT(actuator, IsOk());
  auto before = (*reader)->Read();
  ASSERT_THAT(before, IsOk());
  EXPECT_EQ(before->host_id, "host-a");
  ASSERT_THAT(before->vms, SizeIs(DefaultFakeScenario().vms_size()));
  const auto permit = ActuationPermit::Grant(true, 1, "r1");
  const std::string uuid = before->vms[0].uuid;
  ASSERT_THAT((*actuator)->SetCpuCap(*permit, {uuid, ""}, 0.5), IsOk());
  auto after = (*reader)->Read();
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->vms[0].allocation->cpu_cap_cores, 0.5);
}

TEST(BackendTest, SameSeedGivesTheSameVms) {
  config::v1::FakeConfig config;
  auto a = MakeFakeVms(config);
  auto b = MakeFakeVms(config);
  config.set_seed(2);
  auto c = MakeFakeVms(config);
  ASSERT_THAT(a, IsOk());
  EXPECT_EQ((*a)[0].uuid, (*b)[0].uuid);
  EXPECT_NE((*a)[0].uuid, (*c)[0].uuid);
  EXPECT_EQ((*a)[2].cpu_demand->FractionAt(absl::Seconds(77)),
            (*b)[2].cpu_demand->FractionAt(absl::Seconds(77)));
}

TEST(BackendTest, P14ReportsEveryFaultOfAScenarioAtOnce) {
  config::v1::HypervisorConfig config;
  auto* scenario = config.mutable_fake()->mutable_scenario();
  scenario->add_vms()->set_name("a");
  scenario->add_vms()->set_name("a");
  scenario->add_vms()->set_cpu_trace_file("/nonexistent/t.csv");
  scenario->mutable_vms(2)->set_vcpu_count(-1);
  Violations violations;
  ValidateHypervisorConfig(config, "hypervisor", false, &violations);
  EXPECT_THAT(violations.kept(), SizeIs(4));  // twice "a", no name, no file, vcpu_count
  EXPECT_EQ(violations.kept()[0].field, "hypervisor.fake.scenario.vms[1].name");
}

TEST(BackendTest, P14ReportsEveryFaultOfALibvirtConfigurationAtOnce) {
  config::v1::HypervisorConfig config;
  config.mutable_call_timeout()->set_seconds(61);
  config.mutable_libvirt()->set_uri("kvm:///system");
  config.mutable_libvirt()->set_cpu_capacity_cores(-1);
  config.mutable_libvirt()->set_memory_bytes(5);
  Violations violations;
  ValidateHypervisorConfig(config, "hypervisor", false, &violations);
  ASSERT_THAT(violations.kept(), SizeIs(4));
  EXPECT_EQ(violations.kept()[0].field, "hypervisor.call_timeout");
  EXPECT_EQ(violations.kept()[1].field, "hypervisor.libvirt.uri");
  EXPECT_EQ(violations.kept()[1].value, "kvm:///system");
  EXPECT_THAT(violations.kept()[1].allowed, HasSubstr("qemu:///system"));
}

TEST(BackendTest, LibvirtDaemonMayBeDownAtTheStart) {
  SimClock clock;
  config::v1::HypervisorConfig config;
  config.mutable_libvirt()->set_uri("qemu:///system?socket=/nonexistent/libvirt-sock");
  auto backend = MakeBackend(config, "host-a", clock);
  ASSERT_THAT(backend, IsOk());
  auto reader = (*backend)->MakeReader();
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->capabilities().backend, "libvirt-qemu");
  EXPECT_THAT((*reader)->Read(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(BackendTest, RefusesWhatThisVersionCannotDo) {
  config::v1::HypervisorConfig config;
  Violations none;
  ValidateHypervisorConfig(config, "hypervisor", false, &none);
  EXPECT_THAT(none.kept(), SizeIs(1));
  config.mutable_fake();
  Violations alone;
  ValidateHypervisorConfig(config, "hypervisor", true, &alone);
  EXPECT_THAT(alone.ToStatus(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cloudscaled")));
}

TEST(BackendTest, NamesFileAndLineOfABrokenTrace) {
  testing::TempDir dir;
  SimClock clock;
  config::v1::HypervisorConfig config;
  auto* vm = config.mutable_fake()->mutable_scenario()->add_vms();
  vm->set_name("a");
  vm->set_cpu_trace_file(dir.Write("broken.csv", "t_seconds,value\n0,0.5\n1,abc\n"));
  EXPECT_THAT(MakeBackend(config, "h", clock),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("broken.csv:3")));
}

}  // namespace
}  // namespace cloudscale::hypervisor
