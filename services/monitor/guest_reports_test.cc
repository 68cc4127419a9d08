#include "services/monitor/guest_reports.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/random/rng.h"
#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kVm[] = "11111111-1111-1111-1111-111111111111";
constexpr char kOther[] = "22222222-2222-2222-2222-222222222222";
const absl::Time kWall = absl::FromUnixSeconds(1'800'000'000);

MonoTime At(double seconds) { return MonoTime::FromStart(absl::Seconds(seconds)); }

GuestReport Report(int64_t sequence) {
  GuestReport report;
  report.vm_uuid = kVm;
  report.boot_id = "boot-1";
  report.sequence = sequence;
  report.sample_time = kWall;
  report.uptime = absl::Seconds(100 + sequence);
  report.memory_total_bytes = 1 << 30;
  report.memory_available_bytes = 1 << 29;
  report.memory_free_bytes = 1 << 28;
  return report;
}

GuestReportStore Store() {
  GuestReportStore store({.max_reports_per_second = 10});
  store.SetKnownVms({kVm, kOther});
  return store;
}

TEST(GuestReportStoreTest, KeepsTheNewestWithItsClockSkew) {
  GuestReportStore store = Store();
  GuestReport late_clock = Report(2);
  late_clock.sample_time = kWall + absl::Seconds(9);
  CS_ASSERT_OK(store.Take(At(1), kWall, kVm, Report(1)));
  CS_ASSERT_OK(store.Take(At(2), kWall, kVm, late_clock));
  const HeldReport& held = store.held().at(kVm);
  EXPECT_EQ(held.report.sequence, 2);
  EXPECT_EQ(held.received_at, At(2));
  EXPECT_EQ(held.clock_skew, absl::Seconds(9));
}

TEST(GuestReportStoreTest, ARepeatIsTakenButChangesNothing) {
  GuestReportStore store = Store();
  CS_ASSERT_OK(store.Take(At(1), kWall, kVm, Report(5)));
  CS_ASSERT_OK(store.Take(At(9), kWall, kVm, Report(5)));
  EXPECT_EQ(store.held().at(kVm).received_at, At(1)) << "a repeat must not look fresh";
}

TEST(GuestReportStoreTest, ARestartedAgentIsHeardAgain) {
  GuestReportStore store = Store();
  CS_ASSERT_OK(store.Take(At(1), kWall, kVm, Report(50)));
  GuestReport restarted = Report(1);
  restarted.uptime = absl::Seconds(300);
  CS_ASSERT_OK(store.Take(At(2), kWall, kVm, restarted));
  EXPECT_EQ(store.held().at(kVm).report.sequence, 1);
}

TEST(GuestReportStoreTest, P8SpeakingForAnotherVmIsRefused) {
  GuestReportStore store = Store();
  EXPECT_THAT(store.Take(At(1), kWall, kOther, Report(1)),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(kVm)));
  EXPECT_TRUE(store.held().empty());
  EXPECT_EQ(store.refused_count(), 1);
}

TEST(GuestReportStoreTest, P8UnknownVmsCostNoMemory) {
  GuestReportStore store = Store();
  for (int i = 0; i < 1000; ++i) {
    GuestReport report = Report(1);
    report.vm_uuid = absl::StrFormat("%08x-0000-0000-0000-000000000000", i);
    EXPECT_THAT(store.Take(At(1), kWall, report.vm_uuid, report),
                StatusIs(absl::StatusCode::kNotFound));
  }
  EXPECT_TRUE(store.held().empty());
}

TEST(GuestReportStoreTest, P8RateIsBoundedAndRecovers) {
  GuestReportStore store = Store();
  int64_t taken = 0;
  for (int i = 1; i <= 1000; ++i) {
    taken += store.Take(At(1), kWall, kVm, Report(i)).ok() ? 1 : 0;
  }
  EXPECT_EQ(taken, static_cast<int64_t>(GuestReportStore::kBurstReports));
  EXPECT_THAT(store.Take(At(1), kWall, kVm, Report(2000)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(store.Take(At(1.11), kWall, kVm, Report(2001)), IsOk());
  EXPECT_THAT(store.Take(At(1.12), kWall, kVm, Report(2002)),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(GuestReportStoreTest, AVanishedVmIsForgotten) {
  GuestReportStore store = Store();
  CS_ASSERT_OK(store.Take(At(1), kWall, kVm, Report(1)));
  store.SetKnownVms({kOther});
  EXPECT_TRUE(store.held().empty());
}

TEST(GuestReportTest, AllFaultsAreNamedAtOnce) {
  GuestReport report = Report(0);
  report.vm_uuid = "VM";
  report.memory_available_bytes = report.memory_total_bytes + 1;
  report.cpu_steal_ratio = std::numeric_limits<double>::quiet_NaN();
  report.memory_pressure = GuestPressure{.some_ratio = 1.5};
  report.swap_free_bytes = 10;
  std::vector<std::string> fields;
  for (const FieldViolation& fault : Violations::FromStatus(ValidateGuestReport(report))) {
    fields.push_back(fault.field);
  }
  EXPECT_THAT(fields, ::testing::UnorderedElementsAre(
                          "vm_uuid", "sequence", "memory_available_bytes", "cpu_steal_ratio",
                          "memory_pressure.some_ratio", "swap_free_bytes"));
}

TEST(GuestReportTest, P8RandomReportsAreRefusedOrInRange) {
  Rng rng(99);
  const auto any = [&]() -> int64_t {
    switch (rng.UniformInt(4)) {
      case 0:
        return static_cast<int64_t>(rng.Next());
      case 1:
        return rng.UniformInt(int64_t{1} << 31);
      case 2:
        return -rng.UniformInt(1000);
      default:
        return rng.UniformInt(100);
    }
  };
  int64_t accepted = 0;
  for (int i = 0; i < 50'000; ++i) {
    GuestReport report = Report(1 + rng.UniformInt(5));
    report.memory_total_bytes = any();
    report.memory_available_bytes = any();
    report.memory_free_bytes = any();
    if (rng.Chance(0.3)) report.oom_kill_count = any();
    if (rng.Chance(0.3)) report.load_average = rng.Uniform(-10, 1e7);
    if (ValidateGuestReport(report).ok()) {
      ++accepted;
      EXPECT_GT(report.memory_total_bytes, 0);
      EXPECT_GE(report.memory_available_bytes, 0);
      EXPECT_LE(report.memory_available_bytes, report.memory_total_bytes);
      EXPECT_GE(report.oom_kill_count.value_or(0), 0);
    }
  }
  EXPECT_GT(accepted, 100) << "the generator must reach the accepting side";
}

TEST(UuidTest, OnlyTheCanonicalLowerCaseForm) {
  EXPECT_TRUE(IsUuid(kVm));
  EXPECT_FALSE(IsUuid(""));
  EXPECT_FALSE(IsUuid("11111111-1111-1111-1111-11111111111A"));
  EXPECT_FALSE(IsUuid("11111111111111111111111111111111-111"));
}

TEST(GuestReportStoreTest, TellsEachKindOfRefusalOncePerVmUntilItIsGone) {
  GuestReportStore store = Store();
  EXPECT_TRUE(store.NoteRefusal(kVm, absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(store.NoteRefusal(kVm, absl::StatusCode::kInvalidArgument));
  EXPECT_TRUE(store.NoteRefusal(kVm, absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(store.NoteRefusal(kOther, absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(store.NoteRefusal("made-up", absl::StatusCode::kInvalidArgument))
      << "made-up names must cost no memory";
  store.SetKnownVms({kOther});
  store.SetKnownVms({kVm, kOther});
  EXPECT_TRUE(store.NoteRefusal(kVm, absl::StatusCode::kInvalidArgument));
}

TEST(GuestReportStoreTest, AReportOfAnOldKernelThatTellsNothingAvailableIsTaken) {
  GuestReportStore store = Store();
  GuestReport report = Report(1);
  report.memory_available_bytes = std::nullopt;
  CS_EXPECT_OK(store.Take(At(1), kWall, kVm, report));
}

}  // namespace
}  // namespace cloudscale::monitor
