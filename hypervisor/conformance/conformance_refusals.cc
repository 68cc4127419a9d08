// What a backend must refuse, and with which code.
#include <limits>
#include <string>

#include "common/testing/status_matchers.h"
#include "hypervisor/conformance/conformance.h"

namespace cloudscale::hypervisor::conformance {
namespace {

using ::cloudscale::testing::StatusIs;

constexpr int64_t kMiB = int64_t{1} << 20;

VmTarget AnyIncarnation(const std::string& uuid) { return {uuid, ""}; }

}  // namespace

void KeepRefusalTests();  // called from conformance.cc
void KeepRefusalTests() {}

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
