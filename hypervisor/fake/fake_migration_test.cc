#include <string>

#include "gmock/gmock.h"
#include "hypervisor/fake/fake_test_host.h"

namespace cloudscale::hypervisor::fake {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

class FakeMigrationTest : public FakeTestHost {
 protected:
  static FakeHostOptions Named(const std::string& host_id) {
    FakeHostOptions options = Options();
    options.host_id = host_id;
    return options;
  }
  // 1 GiB at 100 MiB/s takes about ten seconds.
  static FakeHostOptions Source() {
    FakeHostOptions options = Named("source");
    options.migration_bytes_per_second = 100.0 * static_cast<double>(kMiB);
    options.migration_downtime_limit = absl::Seconds(2);
    return options;
  }
  void SetUp() override {
    FakeVmSpec spec = Spec("a", 0.5);
    spec.dirty_bytes_per_second = 10.0 * static_cast<double>(kMiB);
    CS_ASSERT_OK(source_.AddVm(spec));
  }
  absl::Status Start() { return migrator_.StartMigration(Permit(), Any("a"), "target"); }
  MigrationStage Stage() { return migrator_.GetMigrationProgress(Any("a"))->stage; }

  // Copies that execute now, on either host.
  int Running() {
    int running = 0;
    for (FakeHost* host : {&source_, &target_}) {
      host->AdvanceTo(clock_.MonoNow());
    }
    for (FakeHost* host : {&source_, &target_}) {
      const HostReading reading = host->Read(clock_.WallNow()).value();
      for (const VmReading& vm : reading.vms) {
        running += vm.state == VmState::kRunning || vm.state == VmState::kMigrating ? 1 : 0;
      }
    }
    return running;
  }
  bool IsOn(FakeHost& host) {
    host.AdvanceTo(clock_.MonoNow());
    return host.Truth("a").ok();
  }

  FakeHost source_{Source(), clock_.MonoNow()};
  FakeHost target_{Named("target"), clock_.MonoNow()};
  FakeVmMigrator migrator_{source_, {{"target", &target_}, {"source", &source_}}, clock_};
};

TEST_F(FakeMigrationTest, P9_ExactlyOneCopyRunsFromStartToEndButForThePause) {
  CS_ASSERT_OK(Start());
  bool was_paused = false;
  absl::Duration pause;
  for (int i = 0; i < 3000 && Stage() != MigrationStage::kDone; ++i) {
    const int running = Running();
    ASSERT_LE(running, 1);
    if (running == 0) {
      ASSERT_EQ(Stage(), MigrationStage::kStopAndCopy);
      was_paused = true;
      pause += absl::Milliseconds(10);
    }
    clock_.Advance(absl::Milliseconds(10));
  }
  EXPECT_TRUE(was_paused);
  EXPECT_EQ(Running(), 1);
  EXPECT_TRUE(IsOn(target_));
  EXPECT_FALSE(IsOn(source_));
  const auto progress = migrator_.GetMigrationProgress(Any("a"));
  CS_ASSERT_OK(progress);
  EXPECT_GT(progress->transferred_bytes, kGiB);
  ASSERT_TRUE(progress->downtime.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*progress->downtime), absl::ToDoubleSeconds(pause), 0.03);
}

TEST_F(FakeMigrationTest, VmGoesOnAtTheTargetWithNewIncarnationAndItsSizes) {
  FakeVmActuator actuator(source_, clock_);
  CS_ASSERT_OK(actuator.SetCpuCap(Permit(), Any("a"), 0.5));
  const std::string before = source_.Read(clock_.WallNow())->vms[0].incarnation;
  CS_ASSERT_OK(Start());
  clock_.Advance(absl::Minutes(1));
  ASSERT_EQ(Stage(), MigrationStage::kDone);
  const VmReading arrived = target_.Read(clock_.WallNow())->vms[0];
  EXPECT_NE(arrived.incarnation, before);
  EXPECT_EQ(arrived.allocation->cpu_cap_cores, 0.5);
  const double done = target_.Truth("a")->granted_core_seconds;
  clock_.Advance(absl::Seconds(10));
  target_.AdvanceTo(clock_.MonoNow());
  EXPECT_NEAR(target_.Truth("a")->granted_core_seconds - done, 5, 1e-6);
  EXPECT_THAT(actuator.SetCpuCap(Permit(), Any("a"), 0.5), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FakeMigrationTest, P9_CancelledOrFailedMoveLeavesTheVmRunningAtTheSource) {
  CS_ASSERT_OK(Start());
  clock_.Advance(absl::Seconds(3));
  CS_ASSERT_OK(migrator_.CancelMigration(Permit(), Any("a")));
  CS_EXPECT_OK(migrator_.CancelMigration(Permit(), Any("a")));
  EXPECT_EQ(Stage(), MigrationStage::kCancelled);
  EXPECT_TRUE(IsOn(source_));
  EXPECT_EQ(Running(), 1);

  CS_ASSERT_OK(Start());
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(Stage(), MigrationStage::kPreCopy);
  CS_ASSERT_OK(source_.FailMigration("a", "link lost"));
  EXPECT_EQ(migrator_.GetMigrationProgress(Any("a"))->error, "link lost");
  EXPECT_TRUE(IsOn(source_));
  EXPECT_FALSE(IsOn(target_));
  EXPECT_EQ(Running(), 1);
  EXPECT_EQ(target_.Read(clock_.WallNow())->memory_free_bytes, 8 * kGiB) << "reservation kept";
}

TEST_F(FakeMigrationTest, CancelIsTooLateWhileSwitchingOverAndAfter) {
  CS_ASSERT_OK(Start());
  for (int i = 0; i < 3000 && Stage() != MigrationStage::kStopAndCopy; ++i) {
    clock_.Advance(absl::Milliseconds(10));
  }
  EXPECT_THAT(migrator_.CancelMigration(Permit(), Any("a")),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(Stage(), MigrationStage::kDone);
  EXPECT_THAT(migrator_.CancelMigration(Permit(), Any("a")),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(FakeMigrationTest, RestartDuringTheMoveFailsIt) {
  CS_ASSERT_OK(Start());
  clock_.Advance(absl::Seconds(3));
  CS_ASSERT_OK(source_.RestartVm("a"));
  EXPECT_EQ(Stage(), MigrationStage::kFailed);
  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(Running(), 1);
  EXPECT_TRUE(IsOn(source_));
}

TEST_F(FakeMigrationTest, RefusesWhatCannotBegin) {
  EXPECT_THAT(migrator_.StartMigration(Permit(), Any("a"), "nowhere"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nowhere")));
  EXPECT_THAT(migrator_.StartMigration(Permit(), Any("a"), "source"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(migrator_.StartMigration(Permit(), Any("nobody"), "target"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(migrator_.StartMigration(Permit(), {"a", "other"}, "target"),
              StatusIs(absl::StatusCode::kAborted));
  FakeVmSpec big = Spec("big", 0);
  big.memory_maximum_bytes = 8 * kGiB;
  CS_ASSERT_OK(target_.AddVm(big));
  EXPECT_THAT(Start(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("lacks room")));
  CS_ASSERT_OK(target_.RemoveVm("big"));
  CS_ASSERT_OK(Start());
  EXPECT_THAT(Start(), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(Stage(), MigrationStage::kPreCopy) << "the running move goes on";
}

TEST_F(FakeMigrationTest, VmThatNeverMovedHasNoProgress) {
  EXPECT_EQ(Stage(), MigrationStage::kNone);
  CS_EXPECT_OK(migrator_.CancelMigration(Permit(), Any("a")));
  EXPECT_THAT(migrator_.GetMigrationProgress(Any("nobody")), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace cloudscale::hypervisor::fake
