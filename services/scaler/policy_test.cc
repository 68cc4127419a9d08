#include "services/scaler/policy.h"

#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "services/scaler/policy_set.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

PolicyLevel LevelOf(const EffectivePolicy& p, absl::string_view field) {
  for (const ValueSource& s : p.sources) {
    if (s.field == field) {
      return s.level;
    }
  }
  ADD_FAILURE() << "no source for " << field;
  return PolicyLevel::kDefault;
}

TEST(PolicyTest, MoreSpecialLayerWinsAndSourceIsTold) {
  PolicySet set;
  set.defaults.cpu.max = 8;
  set.host.emplace();
  set.host->cpu.max = 4;
  set.host->weight = 2;
  set.vms["vm-1"].cpu.min = 0.5;
  const EffectivePolicy p = Resolve(set.LayersFor("vm-1"), kNow);
  EXPECT_EQ(p.of(Resource::kCpu).max, 4);
  EXPECT_EQ(p.of(Resource::kCpu).min, 0.5);
  EXPECT_EQ(p.weight, 2);
  EXPECT_EQ(LevelOf(p, "cpu.max"), PolicyLevel::kHost);
  EXPECT_EQ(LevelOf(p, "cpu.min"), PolicyLevel::kVm);
  EXPECT_EQ(LevelOf(p, "memory.step_down_ratio"), PolicyLevel::kDefault);
}

TEST(PolicyTest, StoredPolicyHidesTheConfiguredOne) {
  PolicySet set;
  set.configured["vm-1"].weight = 7;
  EXPECT_EQ(Resolve(set.LayersFor("vm-1"), kNow).weight, 7);
  set.vms["vm-1"].cpu.min = 0.5;
  EXPECT_EQ(Resolve(set.LayersFor("vm-1"), kNow).weight, 1);
}

TEST(PolicyTest, HostModeIsUpperLimitAndDefault) {
  PolicySet set;
  set.host_mode = Mode::kAuto;
  set.vms["careful"].mode = Mode::kRecommend;
  EXPECT_EQ(Resolve(set.LayersFor("other"), kNow).mode, Mode::kAuto);
  EXPECT_EQ(Resolve(set.LayersFor("careful"), kNow).mode, Mode::kRecommend);
  set.host_mode = Mode::kObserve;
  EXPECT_EQ(Resolve(set.LayersFor("careful"), kNow).mode, Mode::kObserve);
}

TEST(PolicyTest, NewInstallOnlyRecommends) {
  EXPECT_EQ(Resolve(PolicySet().LayersFor("any"), kNow).mode, Mode::kRecommend);
}

TEST(PolicyTest, PauseOfHostAndVmAddUpAndRunOut) {
  PolicySet set;
  set.host.emplace();
  set.host->pause.shrink = true;
  set.vms["vm"].pause.grow = true;
  set.vms["vm"].pause.until = kNow + absl::Seconds(10);
  const EffectivePolicy during = Resolve(set.LayersFor("vm"), kNow);
  EXPECT_TRUE(during.pause_grow);
  EXPECT_TRUE(during.pause_shrink);
  const EffectivePolicy after = Resolve(set.LayersFor("vm"), kNow + absl::Seconds(11));
  EXPECT_FALSE(after.pause_grow);
  EXPECT_TRUE(after.pause_shrink);
}

TEST(PolicyTest, P14AllFaultsAreReportedAtOnce) {
  PolicyOverlay bad;
  bad.cpu.min = 2;
  bad.cpu.max = 1;
  bad.cpu.step_down_ratio = 1.5;
  bad.memory.cool_down_down = -absl::Seconds(1);
  bad.weight = 1000;
  bad.target_violation_ratio = 0;
  Violations v;
  Validate(bad, v);
  EXPECT_THAT(v.ToStatus(), StatusIs(absl::StatusCode::kInvalidArgument,
                                     AllOf(HasSubstr("cpu.max"), HasSubstr("cpu.step_down_ratio"),
                                           HasSubstr("memory.cool_down_down"), HasSubstr("weight"),
                                           HasSubstr("target_violation_ratio"))));
  EXPECT_EQ(v.kept().size(), 5u);
}

TEST(PolicyTest, ContradictionBetweenLayersIsFound) {
  PolicySet set;
  set.host.emplace();
  set.host->cpu.min = 2;
  set.vms["vm"].cpu.max = 1;
  Violations v;
  ValidateMerged(set.LayersFor("vm"), v);
  ASSERT_EQ(v.kept().size(), 1u);
  EXPECT_EQ(v.kept()[0].field, "cpu.max");
}

TEST(PolicyTest, NotANumberIsRefused) {
  PolicyOverlay bad;
  bad.cpu.min = std::nan("");
  bad.memory.dead_band_ratio = std::nan("");
  Violations v;
  Validate(bad, v);
  EXPECT_EQ(v.kept().size(), 2u);
}

}  // namespace
}  // namespace cloudscale::scaler
