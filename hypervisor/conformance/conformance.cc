#include "hypervisor/conformance/conformance.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "common/testing/status_matchers.h"

namespace cloudscale::hypervisor::conformance {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;

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
  const auto uuid = backend_->MakeVm({.name = "memory", .memory_bytes = 64 * kMiB});
  CS_ASSERT_OK(uuid);
  backend_->Run(backend_->measurement_time());

  CS_ASSERT_OK(backend_->actuator().SetMemoryTarget(Permit(), AnyIncarnation(*uuid), 128 * kMiB));
  backend_->Run(backend_->measurement_time());
  const auto vm = ReadVm(*uuid);

  CS_ASSERT_OK(vm);
  ASSERT_TRUE(vm->memory_used_bytes.has_value());
  EXPECT_GE(*vm->memory_used_bytes, 60 * kMiB);
  EXPECT_LE(*vm->memory_used_bytes, 100 * kMiB);
  ASSERT_TRUE(vm->memory_current_bytes.has_value());
  EXPECT_LE(*vm->memory_current_bytes, 128 * kMiB);
  ASSERT_TRUE(vm->allocation.has_value());
  EXPECT_EQ(vm->allocation->memory_target_bytes, 128 * kMiB);
  if (backend_->reader().capabilities().memory_pressure) {
    EXPECT_TRUE(vm->memory_pressure_some_ratio.has_value());
  }
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

TEST_P(ConformanceTest, VanishedVmIsLeftOutAndAnswersNotFound) {
  const auto gone = backend_->MakeVm({.name = "gone"});
  const auto stays = backend_->MakeVm({.name = "stays"});
  CS_ASSERT_OK(gone);
  CS_ASSERT_OK(stays);
  CS_ASSERT_OK(backend_->reader().Read());

  CS_ASSERT_OK(backend_->RemoveVm(*gone));

  EXPECT_THAT(ReadVm(*gone), StatusIs(absl::StatusCode::kNotFound));
  CS_EXPECT_OK(ReadVm(*stays));
  const VmTarget vm = AnyIncarnation(*gone);
  EXPECT_THAT(backend_->actuator().ReadAllocation(vm), StatusIs(absl::StatusCode::kNotFound));
  const Capabilities capabilities = backend_->actuator().capabilities();
  if (capabilities.cpu_cap) {
    EXPECT_THAT(backend_->actuator().SetCpuCap(Permit(), vm, 0.5),
                StatusIs(absl::StatusCode::kNotFound));
  }
  if (capabilities.memory_target) {
    EXPECT_THAT(backend_->actuator().SetMemoryTarget(Permit(), vm, 128 * kMiB),
                StatusIs(absl::StatusCode::kNotFound));
  }
}

TEST_P(ConformanceTest, IllegalValuesAreRefusedAndChangeNothing) {
  const Capabilities capabilities = backend_->actuator().capabilities();
  const auto uuid = backend_->MakeVm({.name = "illegal"});
  CS_ASSERT_OK(uuid);
  const VmTarget vm = AnyIncarnation(*uuid);
  const auto before = backend_->IndependentAllocation(*uuid);
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();

  if (capabilities.cpu_cap) {
    for (const double cores : {0.0, -1.0, kNan, kInf}) {
      EXPECT_THAT(backend_->actuator().SetCpuCap(Permit(), vm, cores),
                  StatusIs(absl::StatusCode::kInvalidArgument))
          << cores;
    }
  }
  if (capabilities.cpu_weight) {
    for (const int64_t weight : {int64_t{0}, int64_t{-5}, int64_t{10001}}) {
      EXPECT_THAT(backend_->actuator().SetCpuWeight(Permit(), vm, weight),
                  StatusIs(absl::StatusCode::kInvalidArgument))
          << weight;
    }
  }
  if (capabilities.memory_target) {
    EXPECT_THAT(backend_->actuator().SetMemoryTarget(Permit(), vm, 0),
                StatusIs(absl::StatusCode::kInvalidArgument));
    const auto reading = ReadVm(*uuid);
    CS_ASSERT_OK(reading);
    if (reading->memory_maximum_bytes.has_value()) {
      EXPECT_THAT(
          backend_->actuator().SetMemoryTarget(Permit(), vm, *reading->memory_maximum_bytes + kMiB),
          StatusIs(absl::StatusCode::kOutOfRange));
    }
  }

  const auto after = backend_->IndependentAllocation(*uuid);
  CS_ASSERT_OK(before);
  CS_ASSERT_OK(after);
  EXPECT_EQ(*before, *after);
}

TEST_P(ConformanceTest, OtherIncarnationAborts) {
  const auto uuid = backend_->MakeVm({.name = "incarnation"});
  CS_ASSERT_OK(uuid);
  const auto reading = ReadVm(*uuid);
  CS_ASSERT_OK(reading);
  ASSERT_FALSE(reading->incarnation.empty());
  const VmTarget now{.uuid = *uuid, .incarnation = reading->incarnation};
  const VmTarget other{.uuid = *uuid, .incarnation = reading->incarnation + "-other"};
  CS_EXPECT_OK(backend_->actuator().ReadAllocation(now));
  EXPECT_THAT(backend_->actuator().ReadAllocation(other), StatusIs(absl::StatusCode::kAborted));
  if (backend_->actuator().capabilities().cpu_cap) {
    CS_EXPECT_OK(backend_->actuator().SetCpuCap(Permit(), now, 0.5));
    EXPECT_THAT(backend_->actuator().SetCpuCap(Permit(), other, 0.25),
                StatusIs(absl::StatusCode::kAborted));
    const auto held = backend_->actuator().ReadAllocation(now);
    CS_ASSERT_OK(held);
    EXPECT_NEAR(held->cpu_cap_cores.value_or(0), 0.5,
                backend_->actuator().capabilities().cpu_cap_granularity_cores);
  }
}

TEST_P(ConformanceTest, RestartChangesIncarnationAndAbortsOldDecisions) {
  const auto uuid = backend_->MakeVm({.name = "restart", .load_cores = 0.5});
  CS_ASSERT_OK(uuid);
  backend_->Run(backend_->measurement_time());
  const auto before = ReadVm(*uuid);
  CS_ASSERT_OK(before);

  const absl::Status restarted = backend_->RestartVm(*uuid);
  if (absl::IsUnimplemented(restarted)) {
    GTEST_SKIP() << restarted.message();
  }
  CS_ASSERT_OK(restarted);

  const auto after = ReadVm(*uuid);
  CS_ASSERT_OK(after);
  EXPECT_NE(before->incarnation, after->incarnation);
  EXPECT_LT(after->cpu_time, before->cpu_time);
  EXPECT_THAT(
      backend_->actuator().ReadAllocation({.uuid = *uuid, .incarnation = before->incarnation}),
      StatusIs(absl::StatusCode::kAborted));
}

TEST_P(ConformanceTest, WhatCapabilitiesDenyIsUnimplemented) {
  const Capabilities capabilities = backend_->actuator().capabilities();
  const auto uuid = backend_->MakeVm({.name = "truthful"});
  CS_ASSERT_OK(uuid);
  const VmTarget vm = AnyIncarnation(*uuid);
  auto expect = [](bool capable, const absl::Status& status, const char* what) {
    EXPECT_EQ(absl::IsUnimplemented(status), !capable) << what << ": " << status;
  };
  expect(capabilities.cpu_cap, backend_->actuator().SetCpuCap(Permit(), vm, 0.5), "cpu cap");
  expect(capabilities.cpu_weight, backend_->actuator().SetCpuWeight(Permit(), vm, 100), "weight");
  expect(capabilities.memory_target, backend_->actuator().SetMemoryTarget(Permit(), vm, 128 * kMiB),
         "memory target");
  expect(capabilities.vcpu_count, backend_->actuator().SetVcpuCount(Permit(), vm, 1), "vcpus");
  const auto reading = ReadVm(*uuid);
  CS_ASSERT_OK(reading);
  EXPECT_EQ(reading->cpu_throttled_time.has_value(), capabilities.throttled_time);
  EXPECT_EQ(reading->cpu_wait_time.has_value(), capabilities.wait_time);
  EXPECT_EQ(reading->memory_pressure_some_ratio.has_value(), capabilities.memory_pressure);
}

}  // namespace cloudscale::hypervisor::conformance
