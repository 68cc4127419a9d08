#include "hypervisor/libvirt/cpu_limits.h"

#include <libvirt/libvirt.h>

#include <cmath>

#include "common/random/rng.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor::libvirt {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kGlobal = VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA;
constexpr const char* kVcpu = VIR_DOMAIN_SCHEDULER_VCPU_QUOTA;

CpuQuota Quota(std::optional<int64_t> quota_us, int64_t period_us = 100000) {
  return {.quota_us = quota_us, .period_us = period_us};
}

TEST(CapOfTest, IsTheTightestOfBothLimits) {
  EXPECT_EQ(CapOf({.global = Quota({}), .vcpu = Quota({}), .vcpu_count = 2}), std::nullopt);
  EXPECT_EQ(CapOf({.global = Quota(150000), .vcpu = Quota({}), .vcpu_count = 2}), 1.5);
  EXPECT_EQ(CapOf({.global = Quota({}), .vcpu = Quota(50000), .vcpu_count = 4}), 2.0);
  EXPECT_EQ(CapOf({.global = Quota(150000), .vcpu = Quota(50000), .vcpu_count = 2}), 1.0);
  EXPECT_EQ(CapOf({.global = std::nullopt, .vcpu = Quota(30000), .vcpu_count = 1}), 0.3);
}

TEST(PlanCapTest, OneVcpuMayHaveAllOfTheCap) {
  const CpuLimits free{.global = Quota({}), .vcpu = Quota({}), .vcpu_count = 4};
  EXPECT_THAT(PlanCap(free, 0.5), ElementsAre(ParameterWrite{kGlobal, 50000}));
}

TEST(PlanCapTest, ContainerHasOnlyOneQuota) {
  const CpuLimits container{.global = std::nullopt, .vcpu = Quota({}), .vcpu_count = 1};
  EXPECT_THAT(PlanCap(container, 0.3), ElementsAre(ParameterWrite{kVcpu, 30000}));
}

TEST(PlanCapTest, WhatHoldsAlreadyNeedsNoCall) {
  const CpuLimits limits{.global = Quota(50000), .vcpu = Quota({}), .vcpu_count = 4};
  EXPECT_THAT(PlanCap(limits, 0.5), IsEmpty());
  EXPECT_THAT(PlanCap({.global = Quota({}), .vcpu = Quota({}), .vcpu_count = 1}, std::nullopt),
              IsEmpty());
}

TEST(PlanCapTest, LoweringGoesInsideOutAndRaisingOutsideIn) {
  const CpuLimits both{.global = Quota(100000), .vcpu = Quota(80000), .vcpu_count = 2};
  EXPECT_THAT(PlanCap(both, 0.5),
              ElementsAre(ParameterWrite{kVcpu, 50000}, ParameterWrite{kGlobal, 50000}));
  const CpuLimits low{.global = Quota(50000), .vcpu = Quota(50000), .vcpu_count = 2};
  EXPECT_THAT(PlanCap(low, 1.8),
              ElementsAre(ParameterWrite{kGlobal, 180000}, ParameterWrite{kVcpu, 90000}));
  EXPECT_THAT(PlanCap(both, std::nullopt),
              ElementsAre(ParameterWrite{kGlobal, -1}, ParameterWrite{kVcpu, -1}));
}

// The rule of cgroup v1, as the kernel checks it at every write.
bool IsAccepted(const CpuLimits& limits) {
  const auto is_quota = [](const CpuQuota& q) { return !q.quota_us || *q.quota_us >= 1000; };
  if (!is_quota(limits.vcpu) || (limits.global && !is_quota(*limits.global))) {
    return false;
  }
  return !limits.global || !limits.global->quota_us || !limits.vcpu.quota_us ||
         *limits.vcpu.cores() <= *limits.global->cores();
}

TEST(PlanCapTest, AnyCapIsReachedFromAnyLimitsByWritesThatTheKernelAccepts) {
  Rng rng(7);
  const auto quota = [&](bool may_be_unset) {
    const int64_t period = rng.Uniform() < 0.5 ? 100000 : 20000;
    if (may_be_unset && rng.Uniform() < 0.4) {
      return Quota(std::nullopt, period);
    }
    return Quota(1000 + static_cast<int64_t>(rng.Uniform() * 4e5), period);
  };
  for (int i = 0; i < 20000; ++i) {
    CpuLimits limits;
    limits.vcpu_count = 1 + static_cast<int64_t>(rng.Uniform() * 8);
    limits.vcpu = quota(true);
    if (rng.Uniform() < 0.8) {
      limits.global = quota(true);
    } else {
      limits.vcpu_count = 1;
    }
    if (!IsAccepted(limits)) {
      continue;
    }
    std::optional<double> cores;
    if (rng.Uniform() < 0.9) {
      cores = 0.01 * static_cast<double>(limits.vcpu_count) + rng.Uniform() * 3;
    }
    const auto writes = PlanCap(limits, cores);
    for (const ParameterWrite& write : writes) {
      CpuQuota& target = write.name == kGlobal ? *limits.global : limits.vcpu;
      target.quota_us = write.value < 0 ? std::nullopt : std::make_optional(write.value);
      ASSERT_TRUE(IsAccepted(limits)) << "try " << i << ": " << write.name << "=" << write.value;
    }
    const std::optional<double> cap = CapOf(limits);
    ASSERT_EQ(cap.has_value(), cores.has_value()) << "try " << i;
    if (cores) {
      // Periods of 20 ms have a least quota of 5 %; each vCPU's is rounded up by itself.
      const double grain = 5e-5 * static_cast<double>(limits.vcpu_count) + 1e-9;
      const double least = 0.05 * static_cast<double>(limits.vcpu_count);
      ASSERT_GE(*cap, *cores - grain) << "try " << i;
      ASSERT_LE(*cap, std::max(*cores + grain, least + 1e-9)) << "try " << i;
    }
    ASSERT_THAT(PlanCap(limits, cores), IsEmpty()) << "not settled, try " << i;
  }
}

}  // namespace
}  // namespace cloudscale::hypervisor::libvirt
