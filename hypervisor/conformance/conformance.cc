#include "hypervisor/conformance/conformance.h"

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "common/testing/status_matchers.h"

namespace cloudscale::hypervisor::conformance {

// In conformance_refusals.cc; the call makes the linker keep its tests.
void KeepRefusalTests();

namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// P11: a permit is demanded by every changing call and nobody can make one but `Grant`.
static_assert(!std::is_default_constructible_v<ActuationPermit>);
static_assert(!std::is_constructible_v<ActuationPermit, int64_t, std::string>);
static_assert(!std::is_invocable_v<decltype(&VmActuator::SetCpuCap), VmActuator&, const VmTarget&,
                                   std::optional<double>>);
static_assert(!std::is_convertible_v<std::nullopt_t, ActuationPermit>);

VmTarget AnyIncarnation(const std::string& uuid) { return {uuid, ""}; }

double Cores(absl::Duration used, absl::Duration elapsed) {
  return absl::FDivDuration(used, elapsed);
}

std::vector<std::string> Uuids(const HostReading& reading) {
  std::vector<std::string> uuids;
  for (const VmReading& vm : reading.vms) {
    uuids.push_back(vm.uuid);
  }
  return uuids;
}

}  // namespace

BackendParam BackendUnderTest(std::string name, BackendFactory make) {
  KeepRefusalTests();
  return {std::move(name), std::move(make)};
}

std::string BackendName(const ::testing::TestParamInfo<BackendParam>& info) {
  return info.param.name;
}

void ConformanceTest::SetUp() {
  absl::StatusOr<std::unique_ptr<Backend>> backend = GetParam().make();
  if (absl::IsUnavailable(backend.status()) || absl::IsFailedPrecondition(backend.status())) {
    GTEST_SKIP() << backend.status().message();
  }
  CS_ASSERT_OK(backend.status());
  backend_ = *std::move(backend);
}

ActuationPermit ConformanceTest::Permit() {
  return *ActuationPermit::Grant(/*acting_allowed=*/true, /*fencing_token=*/1, "conformance");
}

absl::StatusOr<VmReading> ConformanceTest::ReadVm(const std::string& uuid) {
  CS_ASSIGN_OR_RETURN(const HostReading reading, backend_->reader().Read());
  for (const VmReading& vm : reading.vms) {
    if (vm.uuid == uuid) {
      return vm;
    }
  }
  return absl::NotFoundError(absl::StrCat("vm ", uuid, " is not in the reading"));
}

absl::StatusOr<std::vector<ConformanceTest::Usage>> ConformanceTest::Measure(
    const std::vector<std::string>& uuids) {
  struct Point {
    MonoTime time;
    absl::Duration read;
    absl::Duration independent;
  };
  auto sample = [&]() -> absl::StatusOr<std::vector<Point>> {
    CS_ASSIGN_OR_RETURN(const HostReading reading, backend_->reader().Read());
    std::vector<Point> points;
    for (const std::string& uuid : uuids) {
      const auto vm = std::find_if(reading.vms.begin(), reading.vms.end(),
                                   [&](const VmReading& v) { return v.uuid == uuid; });
      if (vm == reading.vms.end() || !vm->cpu_time.has_value()) {
        return absl::NotFoundError(absl::StrCat("no CPU time of vm ", uuid));
      }
      CS_ASSIGN_OR_RETURN(const absl::Duration independent, backend_->IndependentCpuTime(uuid));
      points.push_back({reading.monotonic_time, *vm->cpu_time, independent});
    }
    return points;
  };
  CS_ASSIGN_OR_RETURN(const std::vector<Point> before, sample());
  backend_->Run(backend_->measurement_time());
  CS_ASSIGN_OR_RETURN(const std::vector<Point> after, sample());
  std::vector<Usage> usages;
  for (size_t i = 0; i < uuids.size(); ++i) {
    const absl::Duration elapsed = after[i].time - before[i].time;
    if (elapsed <= absl::ZeroDuration()) {
      return absl::InternalError("monotonic_time did not advance between two readings");
    }
    usages.push_back({Cores(after[i].read - before[i].read, elapsed),
                      Cores(after[i].independent - before[i].independent, elapsed)});
  }
  return usages;
}

TEST_P(ConformanceTest, ReadingIsWellFormed) {
  const auto second = backend_->MakeVm({.name = "b"});
  const auto first = backend_->MakeVm({.name = "a"});
  CS_ASSERT_OK(second);
  CS_ASSERT_OK(first);

  const auto reading = backend_->reader().Read();

  CS_ASSERT_OK(reading);
  EXPECT_FALSE(reading->host_id.empty());
  EXPECT_FALSE(reading->boot_id.empty());
  EXPECT_GT(reading->cpu_capacity_cores, 0);
  EXPECT_GT(reading->memory_capacity_bytes, 0);
  const std::vector<std::string> uuids = Uuids(*reading);
  EXPECT_TRUE(std::is_sorted(uuids.begin(), uuids.end()));
  EXPECT_EQ(std::count(uuids.begin(), uuids.end(), *first), 1);
  EXPECT_EQ(std::count(uuids.begin(), uuids.end(), *second), 1);
  EXPECT_FALSE(backend_->reader().capabilities().backend.empty());
  EXPECT_EQ(backend_->reader().capabilities().backend, backend_->actuator().capabilities().backend);
}

TEST_P(ConformanceTest, UsageOfKnownLoadIsSeen) {
  const auto uuid = backend_->MakeVm({.name = "busy", .load_cores = 0.5});
  CS_ASSERT_OK(uuid);

  const auto usage = Measure({*uuid});

  CS_ASSERT_OK(usage);
  EXPECT_GT(usage->front().read_cores, 0.2) << "the load does not run";
  EXPECT_NEAR(usage->front().read_cores, usage->front().independent_cores,
              backend_->usage_tolerance_cores());
}

TEST_P(ConformanceTest, CapHoldsUsageAndCountsThrottling) {
  if (!backend_->actuator().capabilities().cpu_cap) {
    GTEST_SKIP() << "no CPU cap";
  }
  const auto uuid = backend_->MakeVm({.name = "capped", .load_cores = 1.0});
  CS_ASSERT_OK(uuid);

  CS_ASSERT_OK(backend_->actuator().SetCpuCap(Permit(), AnyIncarnation(*uuid), 0.25));
  const auto before = ReadVm(*uuid);
  const auto usage = Measure({*uuid});
  const auto after = ReadVm(*uuid);

  CS_ASSERT_OK(usage);
  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  EXPECT_NEAR(usage->front().read_cores, 0.25, backend_->usage_tolerance_cores());
  EXPECT_NEAR(usage->front().independent_cores, 0.25, backend_->usage_tolerance_cores());
  if (backend_->reader().capabilities().throttled_time) {
    ASSERT_TRUE(before->cpu_throttled_time.has_value());
    ASSERT_TRUE(after->cpu_throttled_time.has_value());
    EXPECT_GT(*after->cpu_throttled_time, *before->cpu_throttled_time);
  }
}

TEST_P(ConformanceTest, LiftedCapLetsUsageRiseAgain) {
  if (!backend_->actuator().capabilities().cpu_cap) {
    GTEST_SKIP() << "no CPU cap";
  }
  const auto uuid = backend_->MakeVm({.name = "lifted", .load_cores = 1.0});
  CS_ASSERT_OK(uuid);
  CS_ASSERT_OK(backend_->actuator().SetCpuCap(Permit(), AnyIncarnation(*uuid), 0.2));
  backend_->Run(backend_->measurement_time());

  CS_ASSERT_OK(backend_->actuator().SetCpuCap(Permit(), AnyIncarnation(*uuid), std::nullopt));
  const auto usage = Measure({*uuid});

  CS_ASSERT_OK(usage);
  EXPECT_GT(usage->front().independent_cores, 0.4);
}

TEST_P(ConformanceTest, WeightsDivideContendedCore) {
  if (!backend_->actuator().capabilities().cpu_weight) {
    GTEST_SKIP() << "no CPU weight";
  }
  const auto uuids = backend_->MakeContendingVms();
  CS_ASSERT_OK(uuids);
  ASSERT_EQ(uuids->size(), 2U);

  CS_ASSERT_OK(backend_->actuator().SetCpuWeight(Permit(), AnyIncarnation((*uuids)[0]), 100));
  CS_ASSERT_OK(backend_->actuator().SetCpuWeight(Permit(), AnyIncarnation((*uuids)[1]), 300));
  const auto before = ReadVm((*uuids)[0]);
  const auto usage = Measure(*uuids);
  const auto after = ReadVm((*uuids)[0]);

  CS_ASSERT_OK(usage);
  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  const double sum = (*usage)[0].independent_cores + (*usage)[1].independent_cores;
  ASSERT_GT(sum, 0.1) << "the loads do not run";
  EXPECT_NEAR((*usage)[0].independent_cores / sum, 0.25, 0.25 * backend_->share_tolerance());
  EXPECT_NEAR((*usage)[1].independent_cores / sum, 0.75, 0.75 * backend_->share_tolerance());
  if (backend_->reader().capabilities().wait_time) {
    ASSERT_TRUE(before->cpu_wait_time.has_value());
    ASSERT_TRUE(after->cpu_wait_time.has_value());
    EXPECT_GT(*after->cpu_wait_time, *before->cpu_wait_time);
  }
}

TEST_P(ConformanceTest, MemoryIsSeenAndTargetHolds) {
  if (!backend_->actuator().capabilities().memory_target) {
    GTEST_SKIP() << "no memory target";
  }
  const int64_t target = backend_->obeyable_memory_target();
  const auto uuid = backend_->MakeVm({.name = "memory", .memory_bytes = 64 * kMiB});
  CS_ASSERT_OK(uuid);
  backend_->Run(backend_->measurement_time());

  CS_ASSERT_OK(backend_->actuator().SetMemoryTarget(Permit(), AnyIncarnation(*uuid), target));
  backend_->Run(backend_->measurement_time());
  auto vm = ReadVm(*uuid);
  for (absl::Duration waited;
       vm.ok() && vm->memory_current_bytes > target && waited < backend_->memory_settling_time();
       waited += absl::Seconds(1)) {
    backend_->Run(absl::Seconds(1));
    vm = ReadVm(*uuid);
  }

  CS_ASSERT_OK(vm);
  ASSERT_EQ(vm->memory_used_bytes.has_value(), backend_->tells_memory_used());
  if (vm->memory_used_bytes.has_value()) {
    EXPECT_GE(*vm->memory_used_bytes, 60 * kMiB);
    EXPECT_LE(*vm->memory_used_bytes, 100 * kMiB);
  }
  ASSERT_TRUE(vm->memory_current_bytes.has_value());
  EXPECT_LE(*vm->memory_current_bytes, target);
  ASSERT_TRUE(vm->allocation.has_value());
  EXPECT_EQ(vm->allocation->memory_target_bytes, target);
  if (backend_->reader().capabilities().memory_pressure) {
    EXPECT_TRUE(vm->memory_pressure_some_ratio.has_value());
  }
}

TEST_P(ConformanceTest, AllMemoryThatTheVmMayHaveIsNoLimit) {
  if (!backend_->actuator().capabilities().memory_target) {
    GTEST_SKIP() << "no memory target";
  }
  const auto uuid = backend_->MakeVm({.name = "all"});
  CS_ASSERT_OK(uuid);
  const VmTarget vm = AnyIncarnation(*uuid);
  const auto before = ReadVm(*uuid);
  CS_ASSERT_OK(before);
  ASSERT_TRUE(before->memory_maximum_bytes.has_value());
  const int64_t maximum = before->memory_maximum_bytes.value_or(0);
  CS_ASSERT_OK(backend_->actuator().SetMemoryTarget(Permit(), vm, maximum - 8 * kMiB));
  EXPECT_TRUE(backend_->actuator().ReadAllocation(vm)->memory_target_bytes.has_value());

  CS_ASSERT_OK(backend_->actuator().SetMemoryTarget(Permit(), vm, maximum));

  const auto actuator = backend_->actuator().ReadAllocation(vm);
  const auto reader = ReadVm(*uuid);
  CS_ASSERT_OK(actuator);
  CS_ASSERT_OK(reader);
  EXPECT_EQ(actuator->memory_target_bytes, std::nullopt);
  EXPECT_EQ(reader->allocation->memory_target_bytes, std::nullopt);
  EXPECT_EQ(reader->memory_maximum_bytes, before->memory_maximum_bytes);
}

TEST_P(ConformanceTest, WhatWasSetIsReadBackByAllThreeWays) {
  const Capabilities capabilities = backend_->actuator().capabilities();
  const auto uuid = backend_->MakeVm({.name = "readback"});
  CS_ASSERT_OK(uuid);
  const VmTarget vm = AnyIncarnation(*uuid);
  if (capabilities.cpu_cap) {
    CS_ASSERT_OK(backend_->actuator().SetCpuCap(Permit(), vm, 0.5));
  }
  if (capabilities.cpu_weight) {
    CS_ASSERT_OK(backend_->actuator().SetCpuWeight(Permit(), vm, 200));
  }

  const auto actuator = backend_->actuator().ReadAllocation(vm);
  const auto reader = ReadVm(*uuid);
  const auto independent = backend_->IndependentAllocation(*uuid);

  CS_ASSERT_OK(actuator);
  CS_ASSERT_OK(reader);
  CS_ASSERT_OK(independent);
  ASSERT_TRUE(reader->allocation.has_value());
  if (capabilities.cpu_cap) {
    for (const auto& read : {*actuator, *reader->allocation, *independent}) {
      ASSERT_TRUE(read.cpu_cap_cores.has_value());
      EXPECT_NEAR(*read.cpu_cap_cores, 0.5, capabilities.cpu_cap_granularity_cores);
    }
  }
  if (capabilities.cpu_weight) {
    for (const auto& read : {*actuator, *reader->allocation, *independent}) {
      ASSERT_TRUE(read.cpu_weight.has_value());
      EXPECT_NEAR(static_cast<double>(*read.cpu_weight), 200.0, 2.0);
    }
  }
}

TEST_P(ConformanceTest, SettingTheSameTwiceIsOkAndChangesNothing) {
  const Capabilities capabilities = backend_->actuator().capabilities();
  const auto uuid = backend_->MakeVm({.name = "twice"});
  CS_ASSERT_OK(uuid);
  const VmTarget vm = AnyIncarnation(*uuid);
  auto set_all = [&] {
    if (capabilities.cpu_cap) {
      CS_EXPECT_OK(backend_->actuator().SetCpuCap(Permit(), vm, 0.4));
    }
    if (capabilities.cpu_weight) {
      CS_EXPECT_OK(backend_->actuator().SetCpuWeight(Permit(), vm, 150));
    }
    if (capabilities.memory_target) {
      CS_EXPECT_OK(backend_->actuator().SetMemoryTarget(Permit(), vm, 128 * kMiB));
    }
  };
  set_all();
  const auto first = backend_->IndependentAllocation(*uuid);

  set_all();
  const auto second = backend_->IndependentAllocation(*uuid);

  CS_ASSERT_OK(first);
  CS_ASSERT_OK(second);
  EXPECT_EQ(*first, *second);
}

TEST_P(ConformanceTest, OriginalAllocationCanBeRestored) {
  const Capabilities capabilities = backend_->actuator().capabilities();
  const auto uuid = backend_->MakeVm({.name = "restore"});
  CS_ASSERT_OK(uuid);
  const VmTarget vm = AnyIncarnation(*uuid);
  const auto original = backend_->actuator().ReadAllocation(vm);
  const auto untouched = backend_->IndependentAllocation(*uuid);
  CS_ASSERT_OK(original);
  CS_ASSERT_OK(untouched);
  if (capabilities.cpu_cap) {
    CS_ASSERT_OK(backend_->actuator().SetCpuCap(Permit(), vm, 0.3));
  }
  if (capabilities.cpu_weight) {
    CS_ASSERT_OK(backend_->actuator().SetCpuWeight(Permit(), vm, 500));
  }
  if (capabilities.memory_target) {
    CS_ASSERT_OK(backend_->actuator().SetMemoryTarget(Permit(), vm, 128 * kMiB));
  }
  const auto changed = backend_->IndependentAllocation(*uuid);
  CS_ASSERT_OK(changed);

  if (capabilities.cpu_cap) {
    CS_EXPECT_OK(backend_->actuator().SetCpuCap(Permit(), vm, original->cpu_cap_cores));
  }
  if (capabilities.cpu_weight) {
    ASSERT_TRUE(original->cpu_weight.has_value());
    CS_EXPECT_OK(backend_->actuator().SetCpuWeight(Permit(), vm, *original->cpu_weight));
  }
  if (capabilities.memory_target) {
    CS_EXPECT_OK(backend_->actuator().SetMemoryTarget(Permit(), vm, original->memory_target_bytes));
  }

  const auto restored = backend_->IndependentAllocation(*uuid);
  CS_ASSERT_OK(restored);
  EXPECT_EQ(*restored, *untouched);
  if (capabilities.cpu_cap || capabilities.cpu_weight || capabilities.memory_target) {
    EXPECT_NE(*changed, *untouched);
  }
}

}  // namespace cloudscale::hypervisor::conformance
