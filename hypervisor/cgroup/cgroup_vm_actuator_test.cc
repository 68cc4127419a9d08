#include "hypervisor/cgroup/cgroup_vm_actuator.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/cgroup/fixture_tree.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

std::string Name(const ::testing::TestParamInfo<CgroupVersion>& info) {
  return info.param == CgroupVersion::kV2 ? "V2" : "V1";
}

class CgroupVmActuatorTest : public ::testing::TestWithParam<CgroupVersion> {
 protected:
  void SetUp() override {
    tree_.AddGroup("web");
    auto actuator = CgroupVmActuator::Create(tree_.Options());
    CS_ASSERT_OK(actuator);
    actuator_ = *std::move(actuator);
  }
  [[nodiscard]] bool is_v2() const { return GetParam() == CgroupVersion::kV2; }
  // The quota and period that the files hold, as in cpu.max.
  [[nodiscard]] std::string Quota() const {
    if (is_v2()) {
      return tree_.Read("web", "cpu.max");
    }
    const std::string quota = tree_.Read("web", "cpu.cfs_quota_us");
    return (quota == "-1" ? "max" : quota) + " " + tree_.Read("web", "cpu.cfs_period_us");
  }
  [[nodiscard]] std::string Weight() const {
    return tree_.Read("web", is_v2() ? "cpu.weight" : "cpu.shares");
  }
  [[nodiscard]] std::string MemoryLimit() const {
    return tree_.Read("web", is_v2() ? "memory.max" : "memory.limit_in_bytes");
  }

  FixtureTree tree_{GetParam()};
  const ActuationPermit permit_ = *ActuationPermit::Grant(true, 1, "test");
  const VmTarget web_{UuidFromName("host-1", "vms/web"), ""};
  std::unique_ptr<CgroupVmActuator> actuator_;
};

INSTANTIATE_TEST_SUITE_P(Versions, CgroupVmActuatorTest,
                         ::testing::Values(CgroupVersion::kV1, CgroupVersion::kV2), Name);

TEST_P(CgroupVmActuatorTest, ReadsWhatTheFilesHold) {
  EXPECT_THAT(actuator_->ReadAllocation(web_), IsOkAndHolds(Allocation{1.5, 200, 512 * kMiB}));
}

TEST_P(CgroupVmActuatorTest, CapBecomesQuotaOverTheHundredMillisecondPeriod) {
  tree_.Write("web", is_v2() ? "cpu.max" : "cpu.cfs_period_us", is_v2() ? "9 50000" : "50000");
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, web_, 0.3));
  EXPECT_EQ(Quota(), "30000 100000");
  tree_.Write("web", is_v2() ? "cpu.max" : "cpu.cfs_period_us", is_v2() ? "9 250000" : "250000");
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, web_, 0.4));
  EXPECT_EQ(Quota(), "40000 100000");
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, web_, 0.000001));
  EXPECT_EQ(Quota().substr(0, 5), "1000 ");
}

TEST_P(CgroupVmActuatorTest, LiftedCapIsNoCap) {
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, web_, std::nullopt));
  EXPECT_EQ(Quota().substr(0, 4), "max ");
}

TEST_P(CgroupVmActuatorTest, WeightIsMappedToTheKernelsScale) {
  CS_ASSERT_OK(actuator_->SetCpuWeight(permit_, web_, 50));
  EXPECT_EQ(Weight(), is_v2() ? "50" : "512");
}

TEST_P(CgroupVmActuatorTest, MemoryLimitIsRoundedUpToAPage) {
  CS_ASSERT_OK(actuator_->SetMemoryTarget(permit_, web_, 300 * kMiB - 1));
  EXPECT_EQ(MemoryLimit(), absl::StrCat(300 * kMiB));
  CS_ASSERT_OK(actuator_->SetMemoryTarget(permit_, web_, std::nullopt));
  EXPECT_EQ(MemoryLimit(), is_v2() ? "max" : "-1");
}

TEST_P(CgroupVmActuatorTest, MemoryLimitBelowUseWithoutCacheIsRefusedAndNothingWritten) {
  // 200 MiB of which 80 MiB are cache.
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, web_, 119 * kMiB),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("125829120")));
  EXPECT_EQ(MemoryLimit(), "536870912\n");
  CS_EXPECT_OK(actuator_->SetMemoryTarget(permit_, web_, 120 * kMiB));
}

TEST_P(CgroupVmActuatorTest, IllegalValuesAreRefusedAndNothingWritten) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double cores : {0.0, -1.0, nan, std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(actuator_->SetCpuCap(permit_, web_, cores),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(actuator_->SetCpuCap(permit_, web_, 4.01), StatusIs(absl::StatusCode::kOutOfRange));
  for (const int64_t weight : {0, -1, 10001}) {
    EXPECT_THAT(actuator_->SetCpuWeight(permit_, web_, weight),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, web_, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, web_, std::numeric_limits<int64_t>::max()),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(actuator_->SetVcpuCount(permit_, web_, 2),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(actuator_->ReadAllocation(web_), IsOkAndHolds(Allocation{1.5, 200, 512 * kMiB}));
}

TEST_P(CgroupVmActuatorTest, UnknownAndVanishedGroupsAreNotFound) {
  EXPECT_THAT(actuator_->SetCpuCap(permit_, {UuidFromName("host-1", "vms/no"), ""}, 1.0),
              StatusIs(absl::StatusCode::kNotFound));
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, web_, 1.0));
  tree_.RemoveGroup("web");
  EXPECT_THAT(actuator_->SetCpuCap(permit_, web_, 0.5), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(CgroupVmActuatorTest, DecisionAboutAnEarlierIncarnationAborts) {
  const auto hierarchy = CgroupHierarchy::Open(tree_.Options());
  CS_ASSERT_OK(hierarchy);
  const auto parent = hierarchy->OpenParent();
  CS_ASSERT_OK(parent);
  const auto group = hierarchy->OpenGroup(*parent, "web");
  CS_ASSERT_OK(group);
  const VmTarget before{group->uuid, group->incarnation};
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, before, 1.0));

  tree_.RemoveGroup("web");
  tree_.AddGroup("web");

  EXPECT_THAT(actuator_->SetCpuCap(permit_, before, 0.5), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(actuator_->ReadAllocation(before), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(Quota().substr(0, 6), "150000");
}

TEST_P(CgroupVmActuatorTest, GroupMadeLaterIsFound) {
  CS_ASSERT_OK(actuator_->SetCpuCap(permit_, web_, 1.0));
  tree_.AddGroup("other");
  const VmTarget other{UuidFromName("host-1", "vms/other"), ""};
  CS_ASSERT_OK(actuator_->SetCpuWeight(permit_, other, 300));
  EXPECT_EQ(tree_.Read("other", is_v2() ? "cpu.weight" : "cpu.shares"), is_v2() ? "300" : "3072");
}

TEST_P(CgroupVmActuatorTest, BrokenFileIsInternalAndNamed) {
  tree_.Write("web", is_v2() ? "cpu.weight" : "cpu.shares", "zzz");
  EXPECT_THAT(actuator_->ReadAllocation(web_),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("zzz")));
}

TEST(StatusFromErrnoTest, MapsWhatTheKernelAnswers) {
  EXPECT_THAT(StatusFromErrno(EBUSY, "w"), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(StatusFromErrno(ENODEV, "w"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(StatusFromErrno(EROFS, "w"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(StatusFromErrno(ERANGE, "w"), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(StatusFromErrno(EINTR, "w"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(StatusFromErrno(EMFILE, "w"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(StatusFromErrno(EIO, "write x"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("write x")));
}

}  // namespace
}  // namespace cloudscale::hypervisor::cgroup
