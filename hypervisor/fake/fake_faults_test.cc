#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "hypervisor/fake/fake_test_host.h"

namespace cloudscale::hypervisor::fake {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

class FakeFaultsTest : public FakeTestHost {
 protected:
  void SetUp() override { CS_ASSERT_OK(host_.AddVm(Spec("a", 1))); }

  void Inject(ActuationFault fault) { CS_ASSERT_OK(host_.SetActuationFault("a", fault)); }
  absl::Status Cap(std::optional<double> cores) {
    return actuator_.SetCpuCap(Permit(), Any("a"), cores);
  }
  std::optional<double> ToldCap() {
    return actuator_.ReadAllocation(Any("a")).value().cpu_cap_cores;
  }
  std::optional<double> TrueCap() { return host_.TrueAllocation("a").value().cpu_cap_cores; }
};

TEST_F(FakeFaultsTest, RefusesSoManyCallsThenObeys) {
  Inject({.kind = ActuationFault::Kind::kRefuse,
          .calls = 2,
          .status = absl::ResourceExhaustedError("no")});
  EXPECT_THAT(Cap(1), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(Cap(1), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(TrueCap(), std::nullopt);
  CS_EXPECT_OK(Cap(1));
  EXPECT_EQ(TrueCap(), 1.0);
}

TEST_F(FakeFaultsTest, IgnoredChangeIsSeenByReadBack) {
  Inject({.kind = ActuationFault::Kind::kIgnore});
  CS_EXPECT_OK(Cap(1));
  EXPECT_EQ(ToldCap(), std::nullopt);
}

TEST_F(FakeFaultsTest, LieTellsWhatWasAskedWhileNothingHappened) {
  Inject({.kind = ActuationFault::Kind::kLie});
  CS_EXPECT_OK(Cap(0.5));
  EXPECT_EQ(ToldCap(), 0.5);
  EXPECT_EQ(TrueCap(), std::nullopt);
  Run(absl::Seconds(10));
  EXPECT_NEAR(Seconds(ReadVm("a").cpu_time), 20, 1e-6);
  CS_EXPECT_OK(Cap(0.75));
  EXPECT_EQ(ToldCap(), 0.75);
  EXPECT_EQ(TrueCap(), 0.75);
}

TEST_F(FakeFaultsTest, LieAboutMemoryLeavesTheMemoryAlone) {
  Inject({.kind = ActuationFault::Kind::kLie});
  CS_EXPECT_OK(actuator_.SetMemoryTarget(Permit(), Any("a"), 512 * kMiB));
  Run(absl::Seconds(10));
  EXPECT_EQ(ReadVm("a").allocation->memory_target_bytes, 512 * kMiB);
  EXPECT_EQ(ReadVm("a").memory_current_bytes, kGiB);
}

TEST_F(FakeFaultsTest, HalfGoesPartOfTheWay) {
  CS_EXPECT_OK(Cap(1));
  Inject({.kind = ActuationFault::Kind::kHalf, .calls = 2, .fraction = 0.5});
  CS_EXPECT_OK(Cap(2));
  EXPECT_EQ(ToldCap(), 1.5);
  CS_EXPECT_OK(actuator_.SetMemoryTarget(Permit(), Any("a"), 512 * kMiB));
  EXPECT_EQ(host_.TrueAllocation("a")->memory_target_bytes, 768 * kMiB);
}

TEST_F(FakeFaultsTest, LateChangeTakesEffectAfterItsDelay) {
  Inject({.kind = ActuationFault::Kind::kLate, .delay = absl::Seconds(5)});
  CS_EXPECT_OK(Cap(0.5));
  Run(absl::Seconds(4));
  EXPECT_EQ(ToldCap(), std::nullopt);
  Run(absl::Seconds(2));
  EXPECT_EQ(ToldCap(), 0.5);
}

TEST_F(FakeFaultsTest, LaterRequestReplacesOneThatIsStillLate) {
  Inject({.kind = ActuationFault::Kind::kLate, .delay = absl::Seconds(5)});
  CS_EXPECT_OK(Cap(0.5));
  CS_EXPECT_OK(Cap(1.5));
  Run(absl::Seconds(10));
  EXPECT_EQ(ToldCap(), 1.5);
}

TEST_F(FakeFaultsTest, LostAnswerHidesThatItWasApplied) {
  Inject({.kind = ActuationFault::Kind::kAppliedUnknown,
          .status = absl::DeadlineExceededError("no answer")});
  EXPECT_THAT(Cap(0.5), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(ToldCap(), 0.5);
}

TEST_F(FakeFaultsTest, ForeignChangeIsSeenByEverybody) {
  CS_ASSERT_OK(host_.ChangeForeign(
      "a", {.cpu_cap_cores = 0.25, .cpu_weight = 50, .memory_target_bytes = std::nullopt}));
  EXPECT_EQ(ReadVm("a").allocation->cpu_cap_cores, 0.25);
  EXPECT_THAT(host_.Actions(), IsEmpty());
}

TEST_F(FakeFaultsTest, FailingHostAnswersSoManyTimes) {
  host_.FailNextReads(1, absl::UnavailableError("gone"));
  EXPECT_THAT(reader_.Read(), StatusIs(absl::StatusCode::kUnavailable));
  CS_EXPECT_OK(reader_.Read());
  host_.FailNextActions(1, absl::UnavailableError("gone"));
  EXPECT_THAT(Cap(1), StatusIs(absl::StatusCode::kUnavailable));
  CS_EXPECT_OK(Cap(1));
}

TEST_F(FakeFaultsTest, UnreadableVmIsListedAndTheOthersAreRead) {
  CS_ASSERT_OK(host_.AddVm(Spec("b", 1)));
  CS_ASSERT_OK(host_.SetReadFault("a", {.unreadable = "timeout"}));
  const auto reading = reader_.Read();
  CS_ASSERT_OK(reading);
  EXPECT_THAT(reading->unreadable, ElementsAre(Pair("a", "timeout")));
  EXPECT_THAT(reading->vms, SizeIs(1));
  CS_ASSERT_OK(host_.SetReadFault("a", {}));
  EXPECT_TRUE(IsRead("a"));
}

TEST_F(FakeFaultsTest, StuckCountersStandStillWhileTheVmRuns) {
  Run(absl::Seconds(10));
  CS_ASSERT_OK(host_.SetReadFault("a", {.are_counters_stuck = true}));
  const VmReading before = ReadVm("a");
  Run(absl::Seconds(10));
  const VmReading after = ReadVm("a");
  EXPECT_EQ(before.cpu_time, after.cpu_time);
  EXPECT_EQ(before.network_receive_bytes, after.network_receive_bytes);
  EXPECT_NEAR(Truth("a").granted_core_seconds, 40, 1e-6);
}

TEST_F(FakeFaultsTest, ImpossibleValuesAreTold) {
  Run(absl::Seconds(10));
  const VmReading before = ReadVm("a");
  CS_ASSERT_OK(host_.SetReadFault("a", {.impossible = ReadFault::Impossible::kCpuTimeBack}));
  EXPECT_LT(ReadVm("a").cpu_time, before.cpu_time);
  CS_ASSERT_OK(host_.SetReadFault("a", {.impossible = ReadFault::Impossible::kCpuTimeHuge}));
  EXPECT_GT(ReadVm("a").cpu_time, *before.cpu_time + absl::Hours(1000));
  CS_ASSERT_OK(host_.SetReadFault("a", {.impossible = ReadFault::Impossible::kMemoryNegative}));
  EXPECT_LT(ReadVm("a").memory_used_bytes, 0);
}

TEST_F(FakeFaultsTest, ActionsAreRecordedWithWhoAskedAndWhatWasAnswered) {
  CS_EXPECT_OK(Cap(0.5));
  EXPECT_FALSE(actuator_.SetCpuWeight(Permit(), Any("nobody"), 100).ok());
  const std::vector<ActionRecord> actions = host_.Actions();
  ASSERT_THAT(actions, SizeIs(2));
  EXPECT_EQ(actions[0].uuid, "a");
  EXPECT_EQ(actions[0].what, "cpu_cap 0.5");
  EXPECT_EQ(actions[0].fencing_token, 7);
  EXPECT_EQ(actions[0].request_id, "request-1");
  CS_EXPECT_OK(actions[0].status);
  EXPECT_THAT(actions[1].status, StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FakeFaultsTest, ActionsAreBounded) {
  for (size_t i = 0; i < FakeHost::kMaxActions + 5; ++i) {
    CS_ASSERT_OK(Cap(1));
  }
  EXPECT_THAT(host_.Actions(), SizeIs(FakeHost::kMaxActions));
}

using FakeFaultsDeathTest = FakeFaultsTest;

TEST_F(FakeFaultsDeathTest, P11_ForbiddenChangeEndsTheProcess) {
  host_.ForbidChanges();
  CS_EXPECT_OK(actuator_.ReadAllocation(Any("a")));
  EXPECT_DEATH({ (void)Cap(1); }, "forbids_changes_");
}

}  // namespace
}  // namespace cloudscale::hypervisor::fake
