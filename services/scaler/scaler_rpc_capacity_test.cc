// Growth, shrinks and the load balancer: what is told, what waits, and what does not.
#include <optional>
#include <string>

#include "cloudscale/lbctl/v1/balancer_service.pb.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/scaler/testing/scaler_rpc_fixture.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::ScalerRpcTest;
namespace lv1 = cloudscale::lbctl::v1;

class ScalerCapacityTest : public ScalerRpcTest {
 protected:
  void SetUp() override {
    ScalerRpcTest::SetUp();
    config_.set_lbctl_address("peer");
    config_.mutable_capacity_report()->mutable_shrink_wait()->set_seconds(60);
    config_.mutable_client()->mutable_deadline()->set_seconds(1);
  }
  void TearDown() override {
    lbctl_.hangs = false;
    lbctl_.holds_announcements = false;
    ScalerRpcTest::TearDown();
  }
  // Newest report that has come, after waiting for at least one.
  lv1::ReportCapacityRequest NextReport() {
    auto report = lbctl_.seen.PopFor(absl::Seconds(20), {});
    EXPECT_TRUE(report.has_value());
    while (auto newer = lbctl_.seen.TryPop()) {
      report = newer;
    }
    return report.value_or(lv1::ReportCapacityRequest());
  }
  static std::optional<lv1::VmCapacity> In(const lv1::ReportCapacityRequest& report,
                                           const std::string& uuid) {
    for (const auto& vm : report.vms()) {
      if (vm.vm_uuid() == uuid) {
        return vm;
      }
    }
    return std::nullopt;
  }
  // Waits for a condition that another thread brings about, at most 20 s.
  template <typename Condition>
  bool Await(const Condition& condition) {
    const MonoTime deadline = clock_->MonoNow() + absl::Seconds(20);
    while (!condition() && clock_->MonoNow() < deadline) {
      clock_->SleepUntil(clock_->MonoNow() + absl::Milliseconds(5), {});
    }
    return condition();
  }
  // Until the scaler knows that vm-a is followed: then a shrink of it is announced.
  std::optional<lv1::VmCapacity> AwaitAnnouncement(double demand) {
    for (int i = 0; i < 30; ++i) {
      Steps(1, demand, demand);
      const auto vm = In(NextReport(), "vm-a");
      if (vm && vm->has_coming_cores()) {
        return vm;
      }
    }
    return std::nullopt;
  }
};

TEST_F(ScalerCapacityTest, ReportsWhatTheVmsMayUse) {
  StartScaler();
  Steps(1, 1.0);
  const auto report = NextReport();
  EXPECT_EQ(report.host_id(), "host-1");
  EXPECT_EQ(report.time_to_live().seconds(), 30);
  ASSERT_TRUE(In(report, "vm-a"));
  EXPECT_EQ(In(report, "vm-a")->granted_cores(), 4.0);
  EXPECT_FALSE(In(report, "vm-a")->has_coming_cores());
}

TEST_F(ScalerCapacityTest, AShrinkOfAFollowedVmWaitsForTheAnswerAndOthersDoNot) {
  StartScaler();
  lbctl_.holds_announcements = true;
  const auto announced = AwaitAnnouncement(0.5);
  ASSERT_TRUE(announced);
  EXPECT_LT(announced->coming_cores(), announced->granted_cores());
  EXPECT_EQ(CapOf("vm-a"), announced->granted_cores()) << "it has what it had";
  EXPECT_LT(CapOf("vm-b"), 4.0) << "nobody follows vm-b";
  lbctl_.holds_announcements = false;
  EXPECT_TRUE(Await([&] { return CapOf("vm-a") <= announced->coming_cores() + 1e-9; }));
}

TEST_F(ScalerCapacityTest, ABalancerThatIsGoneHoldsAShrinkForTheBoundOnly) {
  config_.mutable_capacity_report()->mutable_shrink_wait()->set_seconds(1);
  StartScaler();
  lbctl_.refuses_announcements = true;
  ASSERT_TRUE(AwaitAnnouncement(0.5));
  const MonoTime announced_at = clock_->MonoNow();
  const double before = CapOf("vm-a");
  ASSERT_TRUE(Await([&] { return CapOf("vm-a") < before; }));
  EXPECT_LT(clock_->MonoNow() - announced_at, absl::Seconds(10));
}

TEST_F(ScalerCapacityTest, P2GrowthNeverWaitsAndTakesBackAShrinkThatDoes) {
  StartScaler();
  Steps(8, 0.5, 0.5);
  const double small = CapOf("vm-a");
  lbctl_.hangs = true;
  Steps(3, 3.0, 3.0);
  EXPECT_GT(CapOf("vm-a"), small);
  EXPECT_GT(CapOf("vm-b"), small);
  const double grown = CapOf("vm-a");
  lbctl_.holds_announcements = true;
  lbctl_.hangs = false;
  ASSERT_TRUE(AwaitAnnouncement(0.5));
  Steps(2, 3.9, 3.9);
  EXPECT_GE(CapOf("vm-a"), grown);
  lbctl_.holds_announcements = false;
  const auto last = [&] { return In(NextReport(), "vm-a"); };
  std::optional<lv1::VmCapacity> vm = last();
  for (int i = 0; i < 10 && vm && vm->has_coming_cores(); ++i) {
    Steps(1, 3.9, 3.9);
    vm = last();
  }
  ASSERT_TRUE(vm);
  EXPECT_FALSE(vm->has_coming_cores()) << "the announcement is taken back";
  EXPECT_GE(CapOf("vm-a"), grown);
}

TEST_F(ScalerCapacityTest, APauseGivesUpAShrinkThatWaits) {
  StartScaler();
  lbctl_.holds_announcements = true;
  ASSERT_TRUE(AwaitAnnouncement(0.5));
  v1::SetModeRequest request;
  request.set_mode(v1::MODE_OBSERVE);
  request.set_request_id(NextId());
  v1::SetModeResponse response;
  CS_ASSERT_OK(Call(&Scaler::SetMode, request, &response));
  const double before = CapOf("vm-a");
  lbctl_.holds_announcements = false;
  Steps(3, 0.5, 0.5);
  EXPECT_EQ(CapOf("vm-a"), before);
}

}  // namespace
}  // namespace cloudscale::scaler
