#include "hypervisor/xen/xen_vm_actuator.h"

#include <limits>
#include <memory>
#include <string>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/xen/xen_test_host.h"

namespace cloudscale::hypervisor::xen {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

constexpr char kUuid[] = "aaaaaaaa-0000-4000-8000-000000000001";
constexpr char kOther[] = "bbbbbbbb-0000-4000-8000-000000000002";

class XenVmActuatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    domain_ = &host_.AddDomain(7, kUuid, "web");
    XenOptions options;
    options.reserve_bytes = 50 * kMiB;
    auto actuator = XenVmActuator::Create(host_.Open(), options);
    ASSERT_THAT(actuator, IsOk());
    actuator_ = *std::move(actuator);
  }

  XenTestHost host_;
  XenTestHost::Domain* domain_ = nullptr;
  std::unique_ptr<XenVmActuator> actuator_;
  const ActuationPermit permit_ = *ActuationPermit::Grant(true, 1, "test");
  const VmTarget vm_{.uuid = kUuid, .incarnation = "7@1000.00"};
};

TEST_F(XenVmActuatorTest, CapIsRoundedUpToAPercentAndKeepsTheWeight) {
  domain_->share.weight = 700;
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.301), IsOk());
  EXPECT_EQ(domain_->share, (XenShare{.cap_percent = 31, .weight = 700}));
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.3), IsOk());
  EXPECT_EQ(domain_->share.cap_percent, 30);
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.0001), IsOk());
  EXPECT_EQ(domain_->share.cap_percent, 1);
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, std::nullopt), IsOk());
  EXPECT_EQ(domain_->share.cap_percent, 0);
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 2.0), IsOk());
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 2.01),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("2 vCPUs")));
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, std::numeric_limits<double>::quiet_NaN()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(XenVmActuatorTest, EveryWeightComesBackAsItWasSet) {
  for (int64_t weight = 1; weight <= 10000; ++weight) {
    const int64_t xen_weight = XenWeightFromWeight(weight);
    ASSERT_GE(xen_weight, 1);
    ASSERT_LE(xen_weight, 65535);
    ASSERT_EQ(WeightFromXenWeight(xen_weight), weight);
  }
  EXPECT_EQ(XenWeightFromWeight(100), 256);
  EXPECT_EQ(WeightFromXenWeight(1), 1);
  EXPECT_EQ(WeightFromXenWeight(65535), 10000);
}

TEST_F(XenVmActuatorTest, SettingWhatHoldsWritesNothing) {
  domain_->share = {.cap_percent = 40, .weight = 257};  // somebody's odd weight that we see as 100
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.4), IsOk());
  EXPECT_THAT(actuator_->SetCpuWeight(permit_, vm_, 100), IsOk());
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 256 * kMiB), IsOk());
  EXPECT_EQ(host_.count_by_call["SetShare"], 0);
  EXPECT_EQ(host_.count_by_call["SetMemoryTarget"], 0);
}

TEST_F(XenVmActuatorTest, ReadsBackWhatHolds) {
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5), IsOk());
  EXPECT_THAT(actuator_->SetCpuWeight(permit_, vm_, 300), IsOk());
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 128 * kMiB + 1), IsOk());
  const auto allocation = actuator_->ReadAllocation(vm_);
  ASSERT_THAT(allocation, IsOk());
  EXPECT_EQ(*allocation, (Allocation{.cpu_cap_cores = 0.5,
                                     .cpu_weight = 300,
                                     .memory_target_bytes = 128 * kMiB + 4096}));
}

TEST_F(XenVmActuatorTest, WorksUnderCredit2WhicheverItWasMadeUnder) {
  host_.pools[0].scheduler = XenScheduler::kCredit2;
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5), IsOk());
  EXPECT_EQ(domain_->share.cap_percent, 50);
}

TEST_F(XenVmActuatorTest, OtherSchedulersHaveNoShares) {
  host_.pools[0].scheduler = XenScheduler::kOther;
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5), StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(actuator_->SetCpuWeight(permit_, vm_, 5), StatusIs(absl::StatusCode::kUnimplemented));
  const auto allocation = actuator_->ReadAllocation(vm_);
  ASSERT_THAT(allocation, IsOk());
  EXPECT_FALSE(allocation->cpu_weight.has_value());
}

TEST_F(XenVmActuatorTest, OtherIncarnationAbortsBeforeAnythingIsWritten) {
  host_.RemoveDomain(7);
  domain_ = &host_.AddDomain(7, kUuid, "web", "2000.00");  // restarted under its old id
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(actuator_->SetCpuWeight(permit_, vm_, 5), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 128 * kMiB),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(actuator_->SetVcpuCount(permit_, vm_, 1), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(actuator_->ReadAllocation(vm_), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(domain_->share, XenShare({.cap_percent = 0, .weight = 256}));
  EXPECT_THAT(actuator_->SetCpuCap(permit_, {kUuid, ""}, 0.5), IsOk());
}

TEST_F(XenVmActuatorTest, NeverTouchesTheDomainThatGotTheId) {
  host_.RemoveDomain(7);
  domain_ = &host_.AddDomain(7, kOther, "db");
  EXPECT_THAT(actuator_->SetCpuCap(permit_, {kUuid, ""}, 0.5),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(domain_->share.cap_percent, 0);
}

TEST_F(XenVmActuatorTest, DomainThatVanishesBeforeTheWriteIsNotFound) {
  host_.before = [&](const std::string& call) {
    if (call == "SetShare") {
      host_.before = nullptr;
      host_.RemoveDomain(7);
    }
  };
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(XenVmActuatorTest, Dom0AndOtherPoolsAreNoVms) {
  EXPECT_THAT(actuator_->SetCpuCap(permit_, {host_.domains.at(0).facts.uuid, ""}, 0.5),
              StatusIs(absl::StatusCode::kNotFound));
  domain_->facts.pool_id = 1;
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(XenVmActuatorTest, ShutDownDomainIsLeftAlone) {
  domain_->facts.is_shut_down = true;
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 128 * kMiB),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(XenVmActuatorTest, MemoryStaysWithinMaximumAndWhatTheHostHas) {
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 513 * kMiB),
              StatusIs(absl::StatusCode::kOutOfRange));
  // 256 MiB more are wanted; 300 are free, of which 50 are Xen's.
  host_.memory.free_bytes = 300 * kMiB;
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, std::nullopt),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(host_.count_by_call["SetMemoryTarget"], 0);
  host_.memory.free_bytes = 306 * kMiB;
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, std::nullopt), IsOk());
  EXPECT_EQ(host_.store["/local/domain/7/memory/target"], std::to_string(512 * kMibKib));
}

TEST_F(XenVmActuatorTest, MemoryGrantedToOthersIsNotGrantedTwice) {
  host_.memory.free_bytes = 306 * kMiB;
  host_.AddDomain(8, kOther, "db").facts.limit_kib = (256 + 10 + 1) * kMibKib;
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, std::nullopt),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(XenVmActuatorTest, ShrinkingNeedsNoFreeMemory) {
  host_.memory.free_bytes = 0;
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 128 * kMiB), IsOk());
  // The guest has not followed yet: going back takes nothing from the host.
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 256 * kMiB), IsOk());
}

TEST_F(XenVmActuatorTest, VcpusAreAskedForWithinTheMaximum) {
  EXPECT_THAT(actuator_->SetVcpuCount(permit_, vm_, 1), IsOk());
  EXPECT_EQ(domain_->facts.online_vcpus, 1);
  EXPECT_THAT(actuator_->SetVcpuCount(permit_, vm_, 0),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(actuator_->SetVcpuCount(permit_, vm_, 3), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(XenVmActuatorTest, PassesOnWhatXenRefuses) {
  host_.refusals = {{"SetShare", {XenErrorCode::kDenied, "no rights"}},
                    {"SetMemoryTarget", {XenErrorCode::kRefused, "busy"}}};
  EXPECT_THAT(actuator_->SetCpuCap(permit_, vm_, 0.5),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("no rights")));
  EXPECT_THAT(actuator_->SetMemoryTarget(permit_, vm_, 128 * kMiB),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  host_.refusals = {{"ListDomains", {XenErrorCode::kUnavailable, "gone"}}};
  EXPECT_THAT(actuator_->ReadAllocation(vm_), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
