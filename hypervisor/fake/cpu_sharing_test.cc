#include "hypervisor/fake/cpu_sharing.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "common/random/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor::fake {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(ShareCoresTest, NobodyIsHeldBackWhenThereIsEnough) {
  EXPECT_THAT(ShareCores(4, {{1, 100}, {2, 1}, {0.5, 10000}}), ElementsAre(1, 2, 0.5));
}

TEST(ShareCoresTest, ContentionIsDividedByWeight) {
  EXPECT_THAT(ShareCores(2, {{4, 100}, {4, 300}}), ElementsAre(0.5, 1.5));
}

TEST(ShareCoresTest, WhatOneLeavesGoesToTheOthers) {
  EXPECT_THAT(ShareCores(3, {{0.2, 100}, {4, 100}, {4, 300}}),
              ElementsAre(0.2, DoubleNear(0.7, 1e-12), DoubleNear(2.1, 1e-12)));
}

TEST(ShareCoresTest, NoClaimsAndNoCapacity) {
  EXPECT_THAT(ShareCores(4, {}), IsEmpty());
  EXPECT_THAT(ShareCores(0, {{1, 100}}), ElementsAre(0));
  EXPECT_THAT(ShareCores(1, {{0, 100}, {0, 100}}), ElementsAre(0, 0));
}

// Properties that define weighted max-min fairness, on random claims.
TEST(ShareCoresTest, IsWorkConservingAndFairForAnyClaims) {
  Rng rng(1);
  for (int round = 0; round < 500; ++round) {
    std::vector<CpuClaim> claims;
    double wanted = 0;
    const int64_t count = 1 + rng.UniformInt(20);
    for (int64_t i = 0; i < count; ++i) {
      claims.push_back({rng.Chance(0.1) ? 0 : rng.Uniform(0, 8), 1 + rng.UniformInt(10000)});
      wanted += claims.back().cores;
    }
    const double capacity = rng.Uniform(0.1, 40);
    const std::vector<double> granted = ShareCores(capacity, claims);
    const double sum = std::accumulate(granted.begin(), granted.end(), 0.0);
    ASSERT_NEAR(sum, std::min(wanted, capacity), 1e-9);
    for (size_t i = 0; i < claims.size(); ++i) {
      ASSERT_LE(granted[i], claims[i].cores);
      if (granted[i] >= claims[i].cores - 1e-9) {
        continue;
      }
      // Who is held back has at least as much per weight as anybody else.
      const double level = granted[i] / static_cast<double>(claims[i].weight);
      for (size_t j = 0; j < claims.size(); ++j) {
        ASSERT_LE(granted[j] / static_cast<double>(claims[j].weight), level + 1e-9);
      }
    }
  }
}

}  // namespace
}  // namespace cloudscale::hypervisor::fake
