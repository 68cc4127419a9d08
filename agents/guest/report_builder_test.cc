#include "agents/guest/report_builder.h"

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1795347000);

ProcTexts Texts() {
  ProcTexts texts;
  texts.boot_id = "0af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11\n";
  texts.uptime = "2150.52 4171.02\n";
  texts.meminfo = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 400 kB\n";
  texts.vmstat = "pswpin 1\npswpout 2\npgmajfault 3\noom_kill 4\n";
  texts.pressure_cpu = "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n";
  texts.pressure_memory = "some avg10=2.00 avg60=0.00 avg300=0.00 total=6\n";
  texts.pressure_io = "some avg10=3.00 avg60=0.00 avg300=0.00 total=7\n";
  texts.loadavg = "0.41 0.16 0.05 3/96 8227\n";
  texts.stat = "cpu  100 0 0 100 0 0 0 0 0 0\ncpu0 100 0 0 100 0 0 0 0 0 0\n";
  return texts;
}

TEST(ReportBuilderTest, FillsEveryField) {
  ReportBuilder builder;
  const auto built = builder.Build(Texts(), kNow);
  CS_ASSERT_OK(built);
  const Report& report = built->report;
  EXPECT_EQ(report.boot_id, "0af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11");
  EXPECT_EQ(report.sequence, 1);
  EXPECT_EQ(report.sample_time, kNow);
  EXPECT_EQ(report.uptime, absl::Seconds(2150.52));
  EXPECT_EQ(report.memory.total_bytes, 1024000);
  EXPECT_EQ(report.memory.available_bytes, 409600);
  EXPECT_EQ(report.paging.oom_kill_count, 4);
  EXPECT_EQ(report.cpu_pressure->some_ratio, 0.01);
  EXPECT_EQ(report.memory_pressure->some_ratio, 0.02);
  EXPECT_EQ(report.io_pressure->some_ratio, 0.03);
  EXPECT_EQ(report.load->run_queue_length, 3);
  EXPECT_EQ(report.vcpu_count, 1);
  EXPECT_EQ(report.cpu_steal_ratio, std::nullopt);  // nothing to compare with yet
  EXPECT_THAT(built->faults, IsEmpty());
}

TEST(ReportBuilderTest, StealIsTheShareSinceTheLastReport) {
  ReportBuilder builder;
  ProcTexts texts = Texts();
  CS_ASSERT_OK(builder.Build(texts, kNow));
  texts.stat = "cpu  130 0 0 140 0 0 0 30 0 0\ncpu0 130 0 0 140 0 0 0 30 0 0\n";
  const auto second = builder.Build(texts, kNow);
  CS_ASSERT_OK(second);
  EXPECT_EQ(second->report.sequence, 2);
  EXPECT_EQ(second->report.cpu_steal_ratio, 0.3);
}

TEST(ReportBuilderTest, StealAfterARebootOrBackwardCountersIsAbsent) {
  ReportBuilder builder;
  ProcTexts texts = Texts();
  CS_ASSERT_OK(builder.Build(texts, kNow));
  texts.stat = "cpu  90 0 0 100 0 0 0 0 0 0\ncpu0 90 0 0 100 0 0 0 0 0 0\n";
  EXPECT_EQ(builder.Build(texts, kNow)->report.cpu_steal_ratio, std::nullopt);
  texts.boot_id = "1af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11\n";
  texts.stat = "cpu  190 0 0 200 0 0 0 0 0 0\ncpu0 190 0 0 200 0 0 0 0 0 0\n";
  EXPECT_EQ(builder.Build(texts, kNow)->report.cpu_steal_ratio, std::nullopt);
}

TEST(ReportBuilderTest, MissingAndBrokenOptionalFilesLeaveTheirFieldsAbsent) {
  ReportBuilder builder;
  ProcTexts texts = Texts();
  texts.pressure_io = std::nullopt;
  texts.pressure_cpu = "Operation not supported";
  texts.vmstat = "pswpin lots\n";
  texts.stat = "";
  const auto built = builder.Build(texts, kNow);
  CS_ASSERT_OK(built);
  EXPECT_FALSE(built->report.io_pressure.has_value());
  EXPECT_FALSE(built->report.cpu_pressure.has_value());
  EXPECT_TRUE(built->report.memory_pressure.has_value());
  EXPECT_EQ(built->report.paging.swap_in_bytes, std::nullopt);
  EXPECT_EQ(built->report.vcpu_count, std::nullopt);
  EXPECT_THAT(built->faults,
              ElementsAre(HasSubstr("vmstat: "), HasSubstr("pressure/cpu: "), HasSubstr("stat: ")));
}

TEST(ReportBuilderTest, NoMemoryNoReportAndNoGapInTheNumbers) {
  ReportBuilder builder;
  CS_ASSERT_OK(builder.Build(Texts(), kNow));
  ProcTexts broken = Texts();
  broken.meminfo = "MemTotal: many kB\n";
  EXPECT_THAT(builder.Build(broken, kNow),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("meminfo")));
  broken = Texts();
  broken.boot_id = std::nullopt;
  EXPECT_THAT(builder.Build(broken, kNow),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("boot_id")));
  EXPECT_EQ(builder.Build(Texts(), kNow)->report.sequence, 2);
}

}  // namespace
}  // namespace cloudscale::guest
