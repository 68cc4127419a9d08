#include "hypervisor/fake/fake_host.h"

#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "hypervisor/fake/fake_test_host.h"

namespace cloudscale::hypervisor::fake {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

using FakeHostTest = FakeTestHost;

TEST_F(FakeHostTest, UsageFollowsDemandWhenNothingHoldsItBack) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  Run(absl::Seconds(10));
  const VmReading vm = ReadVm("a");
  EXPECT_NEAR(Seconds(vm.cpu_time), 10, 1e-9);
  EXPECT_NEAR(Seconds(vm.cpu_throttled_time), 0, 1e-9);
  EXPECT_NEAR(Seconds(vm.cpu_wait_time), 0, 1e-9);
  EXPECT_EQ(Truth("a").violation_time, absl::ZeroDuration());
}

TEST_F(FakeHostTest, CapHidesDemandAndCountsAsThrottled) {
  FakeVmSpec spec = Spec("a", 0.75);
  spec.allocation.cpu_cap_cores = 0.5;
  CS_ASSERT_OK(host_.AddVm(spec));
  Run(absl::Seconds(10));
  const VmReading vm = ReadVm("a");
  EXPECT_NEAR(Seconds(vm.cpu_time), 5, 1e-9);
  EXPECT_NEAR(Seconds(vm.cpu_throttled_time), 10, 1e-9);
  EXPECT_NEAR(Seconds(vm.cpu_wait_time), 0, 1e-9);
  const GroundTruth truth = Truth("a");
  EXPECT_DOUBLE_EQ(truth.demand_cores, 1.5);
  EXPECT_DOUBLE_EQ(truth.granted_cores, 0.5);
  EXPECT_NEAR(truth.lost_core_seconds, 10, 1e-9);
  EXPECT_NEAR(truth.allocated_core_seconds, 5, 1e-9);
  EXPECT_EQ(truth.violation_time, absl::Seconds(10));
  EXPECT_EQ(truth.cap_violation_time, absl::Seconds(10));
}

TEST_F(FakeHostTest, ContentionCountsAsWaitNotAsThrottled) {
  for (const char* uuid : {"a", "b", "c"}) {
    CS_ASSERT_OK(host_.AddVm(Spec(uuid, 1)));
  }
  CS_ASSERT_OK(actuator_.SetCpuWeight(Permit(), Any("a"), 200));
  Run(absl::Seconds(10));
  // 4 cores by weights 2:1:1; "a" may use no more than its two vCPUs.
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 20, 1e-6);
  EXPECT_NEAR(Seconds(ReadVm("b").cpu_time), 10, 1e-6);
  EXPECT_NEAR(Seconds(ReadVm("b").cpu_wait_time), 10, 1e-6);
  EXPECT_NEAR(Seconds(ReadVm("b").cpu_throttled_time), 0, 1e-6);
  EXPECT_EQ(Truth("b").violation_time, absl::Seconds(10));
  EXPECT_EQ(Truth("b").cap_violation_time, absl::ZeroDuration());
}

TEST_F(FakeHostTest, EveryWantedCoreSecondIsUsedThrottledOrWaited) {
  FakeVmSpec capped = Spec("a", 0.9);
  capped.allocation.cpu_cap_cores = 1.2;
  CS_ASSERT_OK(host_.AddVm(capped));
  CS_ASSERT_OK(host_.AddVm(Spec("b", 0.8)));
  CS_ASSERT_OK(host_.AddVm(Spec("c", 1)));
  Run(absl::Seconds(100));
  for (const auto& [uuid, demand] : {std::pair{"a", 1.8}, {"b", 1.6}, {"c", 2.0}}) {
    const VmReading vm = ReadVm(uuid);
    EXPECT_NEAR(Seconds(vm.cpu_time) + Seconds(vm.cpu_throttled_time) + Seconds(vm.cpu_wait_time),
                demand * 100, 1e-5)
        << uuid;
  }
}

TEST_F(FakeHostTest, BacklogIsDoneLaterUpToItsLimit) {
  FakeVmSpec spec = Spec("a", 0.5);
  spec.backlog_limit_core_seconds = 3;
  spec.allocation.cpu_cap_cores = 0.5;
  CS_ASSERT_OK(host_.AddVm(spec));
  Run(absl::Seconds(10));
  EXPECT_NEAR(Truth("a").backlog_core_seconds, 3, 1e-9);
  EXPECT_NEAR(Truth("a").lost_core_seconds, 2, 1e-9);
  CS_ASSERT_OK(actuator_.SetCpuCap(Permit(), Any("a"), std::nullopt));
  Run(absl::Seconds(10));
  EXPECT_NEAR(Truth("a").backlog_core_seconds, 0, 1e-9);
  EXPECT_NEAR(Truth("a").lost_core_seconds, 2, 1e-9);
  EXPECT_NEAR(Truth("a").granted_core_seconds, 5 + 10 + 3, 1e-6);
}

TEST_F(FakeHostTest, DemandPlaysTheTraceFromWhenTheVmWasMade) {
  Run(absl::Seconds(1000));
  FakeVmSpec spec = Spec("a", 0);
  spec.cpu_demand = workload::MakeTraceDemand({.name = "t",
                                               .resource = "cpu",
                                               .period = absl::Seconds(10),
                                               .values = {0.1, 0.6},
                                               .note = ""});
  CS_ASSERT_OK(host_.AddVm(spec));
  Run(absl::Seconds(10));
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 2, 1e-6);
  Run(absl::Seconds(10));
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 14, 1e-6);
  EXPECT_DOUBLE_EQ(Truth("a").peak_demand_cores, 1.2);
}

TEST_F(FakeHostTest, LongJumpCostsABoundedNumberOfStepsAndStaysRight) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  Run(absl::Hours(24 * 365));
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 24 * 365 * 3600.0, 1e-3);
}

TEST_F(FakeHostTest, SlowGuestGivesMemoryBackByAndByAndRefusingOneNever) {
  FakeVmSpec slow = Spec("slow", 0);
  slow.balloon = BalloonGuest::kSlow;
  slow.balloon_bytes_per_second = 64.0 * static_cast<double>(kMiB);
  FakeVmSpec refusing = Spec("refusing", 0);
  refusing.balloon = BalloonGuest::kRefusing;
  CS_ASSERT_OK(host_.AddVm(slow));
  CS_ASSERT_OK(host_.AddVm(refusing));
  CS_ASSERT_OK(host_.AddVm(Spec("willing", 0)));
  for (const char* uuid : {"slow", "refusing", "willing"}) {
    CS_ASSERT_OK(actuator_.SetMemoryTarget(Permit(), Any(uuid), 512 * kMiB));
  }
  EXPECT_EQ(ReadVm("willing").memory_current_bytes, 512 * kMiB);
  Run(absl::Seconds(4));
  EXPECT_NEAR(static_cast<double>(*ReadVm("slow").memory_current_bytes), 768.0 * kMiB, kMiB);
  Run(absl::Seconds(10));
  EXPECT_EQ(ReadVm("slow").memory_current_bytes, 512 * kMiB);
  EXPECT_EQ(ReadVm("refusing").memory_current_bytes, kGiB);
  CS_ASSERT_OK(actuator_.SetMemoryTarget(Permit(), Any("slow"), std::nullopt));
  EXPECT_EQ(ReadVm("slow").memory_current_bytes, kGiB);
}

TEST_F(FakeHostTest, MemoryBelowTheNeedMakesPressure) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.1, 0.5)));
  Run(absl::Seconds(30));
  EXPECT_EQ(ReadVm("a").memory_used_bytes, 512 * kMiB);
  EXPECT_NEAR(*ReadVm("a").memory_pressure_some_ratio, 0, 1e-9);
  CS_ASSERT_OK(actuator_.SetMemoryTarget(Permit(), Any("a"), 384 * kMiB));
  Run(absl::Minutes(5));
  EXPECT_EQ(ReadVm("a").memory_used_bytes, 384 * kMiB);
  EXPECT_NEAR(*ReadVm("a").memory_pressure_some_ratio, 0.25, 0.01);
  EXPECT_EQ(Truth("a").memory_violation_time, absl::Minutes(5));
}

TEST_F(FakeHostTest, TrafficCountersFollowTheWorkDone) {
  FakeVmSpec spec = Spec("a", 0.5);
  spec.network_receive_bytes_per_core_second = 100;
  spec.disk_write_bytes_per_core_second = 7;
  CS_ASSERT_OK(host_.AddVm(spec));
  Run(absl::Seconds(10));
  EXPECT_EQ(ReadVm("a").network_receive_bytes, 1000);
  EXPECT_EQ(ReadVm("a").disk_write_bytes, 70);
}

TEST_F(FakeHostTest, RestartResetsCountersAndSizesAndBootsForAWhile) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  CS_ASSERT_OK(actuator_.SetCpuCap(Permit(), Any("a"), 0.5));
  Run(absl::Seconds(10));
  const VmReading before = ReadVm("a");
  CS_ASSERT_OK(host_.RestartVm("a"));
  const VmReading after = ReadVm("a");
  EXPECT_EQ(after.state, VmState::kBooting);
  EXPECT_NE(after.incarnation, before.incarnation);
  EXPECT_EQ(after.cpu_time, absl::ZeroDuration());
  EXPECT_EQ(after.allocation->cpu_cap_cores, std::nullopt);
  Run(absl::Seconds(9));
  EXPECT_EQ(ReadVm("a").cpu_time, absl::ZeroDuration());
  Run(absl::Seconds(2));
  EXPECT_EQ(ReadVm("a").state, VmState::kRunning);
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 1, 1e-6);
}

TEST_F(FakeHostTest, RestartOfTheHostChangesBootIdAndEveryIncarnation) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  const auto before = reader_.Read();
  host_.Restart();
  const auto after = reader_.Read();
  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  EXPECT_NE(before->boot_id, after->boot_id);
  EXPECT_NE(before->vms[0].incarnation, after->vms[0].incarnation);
}

TEST_F(FakeHostTest, VanishedVmIsNowhereAndDoesNotRunUntilItReappears) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  Run(absl::Seconds(10));
  CS_ASSERT_OK(host_.SetVanished("a", true));
  Run(absl::Seconds(10));
  EXPECT_FALSE(IsRead("a"));
  EXPECT_THAT(actuator_.ReadAllocation(Any("a")), StatusIs(absl::StatusCode::kNotFound));
  CS_ASSERT_OK(host_.SetVanished("a", false));
  Run(absl::Seconds(1));
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 11, 1e-6);
}

TEST_F(FakeHostTest, StoppedVmUsesNothingAndRefusesChanges) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  CS_ASSERT_OK(host_.SetVmState("a", VmState::kShutOff));
  Run(absl::Seconds(10));
  EXPECT_EQ(ReadVm("a").cpu_time, absl::ZeroDuration());
  EXPECT_THAT(actuator_.SetCpuCap(Permit(), Any("a"), 1.0),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(FakeHostTest, VcpuCountLimitsUsageAndIsBounded) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 1)));
  CS_ASSERT_OK(actuator_.SetVcpuCount(Permit(), Any("a"), 1));
  Run(absl::Seconds(10));
  EXPECT_EQ(ReadVm("a").vcpu_count, 1);
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 10, 1e-6);
  EXPECT_THAT(actuator_.SetVcpuCount(Permit(), Any("a"), 3),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(actuator_.SetVcpuCount(Permit(), Any("a"), 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(FakeHostTest, CapIsRoundedUpToTheGranularity) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 1)));
  CS_ASSERT_OK(actuator_.SetCpuCap(Permit(), Any("a"), 0.3));
  EXPECT_NEAR(*ReadVm("a").allocation->cpu_cap_cores, 0.3, 1e-12);
  CS_ASSERT_OK(actuator_.SetCpuCap(Permit(), Any("a"), 0.301));
  EXPECT_NEAR(*ReadVm("a").allocation->cpu_cap_cores, 0.31, 1e-12);
}

TEST_F(FakeHostTest, BadSpecsAreRefusedNamingAllFields) {
  FakeVmSpec bad = Spec("", 0.5);
  bad.vcpu_count = 0;
  bad.memory_maximum_bytes = -1;
  EXPECT_THAT(host_.AddVm(bad),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::AllOf(HasSubstr("uuid"), HasSubstr("vcpu_count"),
                                        HasSubstr("memory_maximum_bytes"))));
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  EXPECT_THAT(host_.AddVm(Spec("a", 0.5)), StatusIs(absl::StatusCode::kAlreadyExists));
}

TEST_F(FakeHostTest, SameCallsGiveTheSameNumbers) {
  auto run = [] {
    SimClock clock;
    FakeHost host(Options(), clock.MonoNow());
    FakeHostReader reader(host, clock);
    for (const char* uuid : {"a", "b", "c"}) {
      EXPECT_THAT(host.AddVm(Spec(uuid, 0.77)), testing::IsOk());
    }
    for (int i = 0; i < 50; ++i) {
      clock.Advance(absl::Milliseconds(733));
      EXPECT_THAT(reader.Read(), testing::IsOk());
    }
    return reader.Read()->vms[1].cpu_time;
  };
  EXPECT_EQ(run(), run());
}

TEST_F(FakeHostTest, ReaderAndActuatorMayBeUsedFromTwoThreads) {
  CS_ASSERT_OK(host_.AddVm(Spec("a", 0.5)));
  std::thread reading([&] {
    for (int i = 0; i < 200; ++i) {
      clock_.Advance(absl::Milliseconds(100));
      EXPECT_THAT(reader_.Read(), testing::IsOk());
    }
  });
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(actuator_.SetCpuCap(Permit(), Any("a"), 1.0 + i * 0.01), testing::IsOk());
  }
  reading.join();
  Run(absl::ZeroDuration());
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 20, 1e-6);
}

}  // namespace
}  // namespace cloudscale::hypervisor::fake
