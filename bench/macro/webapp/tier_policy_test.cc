#include "bench/macro/webapp/tier_policy.h"

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::bench {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

std::unique_ptr<TierPolicy> Make(const std::string& name) {
  auto policy = MakeTierPolicy(name, predictor::Resource::kCpu, absl::Seconds(1),
                               {.floor = 0.1, .ceiling = 1});
  CS_EXPECT_OK(policy);
  return *std::move(policy);
}

TEST(TierPolicyTest, ReactiveGrowsAtOnceAndShrinksAfterFiveIdleSteps) {
  const auto policy = Make("reactive");
  EXPECT_DOUBLE_EQ(policy->Step(0.45, 0.5), 0.75);
  EXPECT_DOUBLE_EQ(policy->Step(0.45, 0.75), 0.75) << "60 % busy is what it aims at";
  for (int i = 0; i < 4; ++i) {
    EXPECT_DOUBLE_EQ(policy->Step(0.2, 0.75), 0.75);
  }
  EXPECT_DOUBLE_EQ(policy->Step(0.2, 0.75), 0.675);
}

TEST(TierPolicyTest, StaysWithinItsBounds) {
  for (const char* name : {"reactive", "vpa", "cloudscale"}) {
    const auto policy = Make(name);
    double cap = 1;
    for (int i = 0; i < 200; ++i) {
      cap = policy->Step(0, cap);
      EXPECT_GE(cap, 0.1) << name;
    }
    for (int i = 0; i < 50; ++i) {
      cap = policy->Step(cap, cap);
      EXPECT_LE(cap, 1) << name;
    }
  }
}

TEST(TierPolicyTest, AFullCapMakesEveryPolicyGrow) {
  for (const char* name : {"reactive", "vpa", "cloudscale"}) {
    const auto policy = Make(name);
    double cap = 0.3;
    for (int i = 0; i < 30; ++i) {
      cap = policy->Step(0.2, 0.3);
    }
    const double before = cap;
    for (int i = 0; i < 10; ++i) {
      cap = policy->Step(cap, cap);
    }
    EXPECT_GT(cap, before) << name;
  }
}

TEST(TierPolicyTest, AnUnknownNameIsRefusedWithThoseThatExist) {
  EXPECT_THAT(MakeTierPolicy("best", predictor::Resource::kCpu, absl::Seconds(1), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reactive, ")));
}

}  // namespace
}  // namespace cloudscale::bench
