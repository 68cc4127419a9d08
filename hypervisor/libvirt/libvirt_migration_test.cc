// Live migration between two simulated hosts.
#include <cstdlib>
#include <memory>
#include <string>

#include "common/testing/status_matchers.h"
#include "gtest/gtest.h"
#include "hypervisor/libvirt/libvirt_vm_actuator.h"
#include "hypervisor/libvirt/libvirt_vm_migrator.h"
#include "hypervisor/libvirt/test_domains.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

using ::cloudscale::testing::StatusIs;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr absl::Duration kLong = absl::Seconds(120);
constexpr char kSource[] = "qemu+tcp://10.78.0.1/system";
constexpr char kTarget[] = "qemu+tcp://10.78.0.2/system";

class MigrationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("CLOUDSCALE_SECOND_HOST") == nullptr) {
      GTEST_SKIP() << "not inside two simulated hosts (HOSTS=2 tests/hosts/libvirt/with_host)";
    }
    source_ = Connect(kSource, Access::kReadWrite).value();
    target_ = Connect(kTarget, Access::kReadWrite).value();
    auto guest =
        TestGuest::Boot(*clock_, source_.get(), "mover", std::getenv("CLOUDSCALE_GUEST_IMAGE"));
    CS_ASSERT_OK(guest);
    guest_ = *std::move(guest);
    vm_.uuid = guest_->uuid();
  }
  void TearDown() override {
    if (target_ != nullptr && IsRunning(target_.get())) {
      virDomainDestroy(FindActiveDomain(target_.get(), vm_.uuid)->get());
    }
  }

  static MigrationOptions Options() {
    MigrationOptions options;
    options.uri = kSource;
    options.targets["host2"] = {.uri = kTarget, .migration_uri = "tcp://10.78.0.2"};
    options.call_limit = absl::Seconds(20);
    return options;
  }
  static ActuationPermit Permit() { return *ActuationPermit::Grant(true, 1, "migration"); }
  [[nodiscard]] bool IsRunning(virConnectPtr connection) const {
    const auto domain = FindActiveDomain(connection, vm_.uuid);
    int state = VIR_DOMAIN_NOSTATE;
    return domain.ok() && virDomainGetState(domain->get(), &state, nullptr, 0) == 0 &&
           state == VIR_DOMAIN_RUNNING;
  }
  void Rest(absl::Duration duration) {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }
  // Until the move has ended; the last that was told.
  MigrationProgress WaitForEnd(VmMigrator& migrator) {
    const MonoTime deadline = clock_->MonoNow() + kLong;
    MigrationProgress progress;
    do {
      Rest(absl::Milliseconds(50));
      const auto now = migrator.GetMigrationProgress(vm_);
      EXPECT_TRUE(now.ok()) << now.status();
      if (!now.ok()) {
        break;
      }
      progress = *now;
    } while (progress.stage < MigrationStage::kDone && clock_->MonoNow() < deadline);
    return progress;
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  Connection source_;
  Connection target_;
  std::unique_ptr<TestGuest> guest_;
  VmTarget vm_;
};

TEST_F(MigrationTest, P9RunsExactlyOnceAndKeepsItsLimits) {
  LibvirtOptions here;
  here.host_id = "host1";
  const auto actuator = LibvirtVmActuator::Create(here);
  CS_ASSERT_OK(actuator);
  CS_ASSERT_OK((*actuator)->SetCpuCap(Permit(), vm_, 0.6));
  CS_ASSERT_OK((*actuator)->SetMemoryTarget(Permit(), vm_, 200 * kMiB));
  LibvirtVmMigrator migrator(Options());

  CS_ASSERT_OK(migrator.StartMigration(Permit(), vm_, "host2"));
  EXPECT_THAT(migrator.StartMigration(Permit(), vm_, "host2"),
              StatusIs(absl::StatusCode::kAlreadyExists));
  const MigrationProgress end = WaitForEnd(migrator);

  EXPECT_EQ(end.stage, MigrationStage::kDone) << end.error;
  EXPECT_FALSE(IsRunning(source_.get()));
  EXPECT_TRUE(IsRunning(target_.get()));
  EXPECT_THAT(migrator.CancelMigration(Permit(), vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  LibvirtOptions there;
  there.uri = kTarget;
  there.host_id = "host2";
  const auto moved = LibvirtVmActuator::Create(there);
  CS_ASSERT_OK(moved);
  const auto allocation = (*moved)->ReadAllocation(vm_);
  CS_ASSERT_OK(allocation);
  EXPECT_EQ(allocation->cpu_cap_cores, 0.6);
  EXPECT_EQ(allocation->memory_target_bytes, 200 * kMiB);

  // One that comes after us finds it there.
  LibvirtVmMigrator successor(Options());
  const auto found = successor.GetMigrationProgress(vm_);
  CS_ASSERT_OK(found);
  EXPECT_EQ(found->stage, MigrationStage::kDone);
}

TEST_F(MigrationTest, P9CancelledMoveLeavesItOnTheSource) {
  MigrationOptions slow = Options();
  slow.bandwidth_bytes_per_second = kMiB;  // would take minutes
  LibvirtVmMigrator migrator(slow);
  CS_ASSERT_OK(guest_->HoldMemory(64 * kMiB));
  CS_ASSERT_OK(migrator.StartMigration(Permit(), vm_, "host2"));
  const MonoTime deadline = clock_->MonoNow() + kLong;
  MigrationProgress progress;
  while (progress.transferred_bytes == 0 && clock_->MonoNow() < deadline) {
    Rest(absl::Milliseconds(50));
    const auto now = migrator.GetMigrationProgress(vm_);
    CS_ASSERT_OK(now);
    progress = *now;
    ASSERT_LT(progress.stage, MigrationStage::kDone) << progress.error;
  }
  EXPECT_GT(progress.remaining_bytes, 0);
  // One that comes after us can watch and cancel it.
  LibvirtVmMigrator successor(slow);
  EXPECT_EQ(successor.GetMigrationProgress(vm_)->stage, MigrationStage::kPreCopy);

  CS_EXPECT_OK(migrator.CancelMigration(Permit(), vm_));
  EXPECT_EQ(WaitForEnd(migrator).stage, MigrationStage::kCancelled);
  CS_EXPECT_OK(migrator.CancelMigration(Permit(), vm_));
  EXPECT_TRUE(IsRunning(source_.get()));
  EXPECT_FALSE(IsRunning(target_.get()));
  CS_EXPECT_OK(guest_->SetLoad(0.1));  // it still obeys
}

TEST_F(MigrationTest, TargetThatIsDownFailsAndLeavesItOnTheSource) {
  MigrationOptions options = Options();
  options.targets["nowhere"] = {.uri = "qemu+tcp://10.78.0.99/system", .migration_uri = ""};
  LibvirtVmMigrator migrator(options);
  EXPECT_THAT(migrator.StartMigration(Permit(), vm_, "unknown"),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  CS_ASSERT_OK(migrator.StartMigration(Permit(), vm_, "nowhere"));
  const MigrationProgress end = WaitForEnd(migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_FALSE(end.error.empty());
  EXPECT_TRUE(IsRunning(source_.get()));
}

TEST_F(MigrationTest, PostCopyEndsAMoveThatWouldNotConverge) {
  MigrationOptions options = Options();
  options.is_post_copy = true;
  LibvirtVmMigrator migrator(options);
  CS_ASSERT_OK(migrator.StartMigration(Permit(), vm_, "host2"));
  EXPECT_EQ(WaitForEnd(migrator).stage, MigrationStage::kDone);
  EXPECT_FALSE(IsRunning(source_.get()));
  EXPECT_TRUE(IsRunning(target_.get()));
}

}  // namespace
}  // namespace cloudscale::hypervisor::libvirt
