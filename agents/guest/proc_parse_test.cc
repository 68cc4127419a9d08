#include "agents/guest/proc_parse.h"

#include <string>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

// Texts captured from a Linux 6.18 guest, shortened where lines say nothing new.
constexpr char kMeminfo[] =
    "MemTotal:       24684100 kB\nMemFree:        24303348 kB\nMemAvailable:   24335208 kB\n"
    "Buffers:            1484 kB\nCached:           211068 kB\nSwapCached:            0 kB\n"
    "SwapTotal:       2097148 kB\nSwapFree:        2097000 kB\nHugePages_Total:       0\n"
    "DirectMap1G:    25165824 kB\n";

TEST(ParseMeminfoTest, GivesBytes) {
  const auto info = ParseMeminfo(kMeminfo);
  CS_ASSERT_OK(info);
  EXPECT_EQ(info->total_bytes, int64_t{24684100} * 1024);
  EXPECT_EQ(info->free_bytes, int64_t{24303348} * 1024);
  EXPECT_EQ(info->available_bytes, int64_t{24335208} * 1024);
  EXPECT_EQ(info->cached_bytes, int64_t{211068} * 1024);
  EXPECT_EQ(info->swap_total_bytes, int64_t{2097148} * 1024);
  EXPECT_EQ(info->swap_free_bytes, int64_t{2097000} * 1024);
}

TEST(ParseMeminfoTest, WhatAnOldKernelDoesNotTellIsAbsent) {
  const auto info = ParseMeminfo("MemTotal: 1024 kB\n");
  CS_ASSERT_OK(info);
  EXPECT_EQ(info->available_bytes, std::nullopt);
  EXPECT_EQ(info->swap_total_bytes, std::nullopt);
}

TEST(ParseMeminfoTest, RefusesBrokenText) {
  for (const char* text :
       {"", "MemFree: 1 kB\n", "MemTotal: 0 kB\n", "MemTotal: -5 kB\n", "MemTotal: 5\n",
        "MemTotal: 5 MB\n", "MemTotal: x kB\n", "MemTotal: 99999999999999999999 kB\n",
        "MemTotal: 9007199254740992 kB\n", "MemTotal: 5 kB\nMemTotal: 5 kB\n",
        "MemTotal: 5 kB\nMemAvailable: 6 kB\n", "MemTotal: 5 kB\nMemFree: 6 kB\n",
        "MemTotal: 5 kB\nSwapTotal: 1 kB\nSwapFree: 2 kB\n", "MemTotal 5 kB"}) {
    EXPECT_THAT(ParseMeminfo(text), StatusIs(kInvalid)) << text;
  }
  EXPECT_THAT(ParseMeminfo("MemTotal: 5 kB\nMemFree: \x01ux kB\n"),
              StatusIs(kInvalid, HasSubstr("MemFree: \\001ux kB")));
}

TEST(ParseVmstatTest, PagesBecomeBytes) {
  const auto counters = ParseVmstat(
      "nr_free_pages 1074737\npgfault 4146730\npgmajfault 1334\npswpin 3\npswpout 5\n"
      "pgalloc_dma 0\noom_kill 2\n",
      4096);
  CS_ASSERT_OK(counters);
  EXPECT_EQ(counters->swap_in_bytes, 3 * 4096);
  EXPECT_EQ(counters->swap_out_bytes, 5 * 4096);
  EXPECT_EQ(counters->major_fault_count, 1334);
  EXPECT_EQ(counters->oom_kill_count, 2);
}

TEST(ParseVmstatTest, MissingCountersAreAbsentAndBrokenOnesRefused) {
  const auto counters = ParseVmstat("pgmajfault 7\n", 4096);
  CS_ASSERT_OK(counters);
  EXPECT_EQ(counters->swap_in_bytes, std::nullopt);
  EXPECT_EQ(counters->oom_kill_count, std::nullopt);
  for (const char* text : {"pswpin x\n", "pswpin\n", "pswpin -1\n", "pswpin 1\npswpin 2\n",
                           "oom_kill 1 2\n", "pswpin 9007199254740992\n"}) {
    EXPECT_THAT(ParseVmstat(text, 4096), StatusIs(kInvalid)) << text;
  }
}

TEST(ParsePressureTest, PercentBecomesRatioAndTotalMicroseconds) {
  const auto pressure = ParsePressure(
      "some avg10=1.50 avg60=0.90 avg300=0.95 total=10315949\n"
      "full avg10=0.25 avg60=0.00 avg300=0.00 total=7\n");
  CS_ASSERT_OK(pressure);
  EXPECT_DOUBLE_EQ(pressure->some_ratio, 0.015);
  EXPECT_EQ(pressure->some_total, absl::Microseconds(10315949));
  EXPECT_EQ(pressure->full_ratio, 0.0025);
  EXPECT_EQ(pressure->full_total, absl::Microseconds(7));
}

TEST(ParsePressureTest, OldKernelsHaveNoFullLineForCpu) {
  const auto pressure = ParsePressure("some avg10=100.40 avg60=0.90 avg300=0.95 total=1\n");
  CS_ASSERT_OK(pressure);
  EXPECT_EQ(pressure->some_ratio, 1.0);
  EXPECT_EQ(pressure->full_ratio, std::nullopt);
  EXPECT_EQ(pressure->full_total, std::nullopt);
}

TEST(ParsePressureTest, RefusesBrokenText) {
  for (const char* text :
       {"", "full avg10=0.00 total=1\n", "some avg10=x total=1\n", "some avg10=nan total=1\n",
        "some avg10=-1 total=1\n", "some avg10=1e3 total=1\n", "some avg10=102 total=1\n",
        "some avg10=1.00\n", "some total=1\n", "some avg10=1.00 total=\n",
        "some avg10=1.00 total=99999999999999999999\n",
        "some avg10=1.00 total=1\nfull avg10=zz total=1\n"}) {
    EXPECT_THAT(ParsePressure(text), StatusIs(kInvalid)) << text;
  }
}

TEST(ParseLoadavgTest, GivesLoadAndRunnableThreads) {
  const auto load = ParseLoadavg("0.41 0.16 0.05 3/96 8227\n");
  CS_ASSERT_OK(load);
  EXPECT_EQ(load->load_average, 0.41);
  EXPECT_EQ(load->run_queue_length, 3);
  for (const char* text :
       {"", "0.41", "x 0.16 0.05 3/96 8227", "0.41 0.16 0.05 -3/96 8227", "0.41 0.16 0.05 /96 8227",
        "inf 0.16 0.05 3/96 8227", "0.41 0.16 0.05 3/96 8227 9"}) {
    EXPECT_THAT(ParseLoadavg(text), StatusIs(kInvalid)) << text;
  }
}

TEST(ParseStatTest, SumsTicksAndCountsCpus) {
  const auto ticks = ParseStat(
      "cpu  100 20 30 1000 5 6 7 40 3 1\ncpu0 50 10 15 500 3 3 3 20 1 1\n"
      "cpu1 50 10 15 500 2 3 4 20 2 0\nintr 12345 0 9\nctxt 5\nbtime 1795347000\n");
  CS_ASSERT_OK(ticks);
  EXPECT_EQ(ticks->total, 1208);
  EXPECT_EQ(ticks->steal, 40);
  EXPECT_EQ(ticks->cpu_count, 2);
  for (const char* text : {"", "intr 5\n", "cpu  1 2 3 4 5 6 7 8\n", "cpu 1 2 3\ncpu0 1 2 3\n",
                           "cpu  1 2 x 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8\n"}) {
    EXPECT_THAT(ParseStat(text), StatusIs(kInvalid)) << text;
  }
}

TEST(ParseUptimeTest, GivesADuration) {
  EXPECT_THAT(ParseUptime("2150.52 4171.02\n"), IsOkAndHolds(absl::Milliseconds(2150520)));
  for (const char* text : {"", "x y", "1.5", "nan 1.0", "-1.0 1.0", "1.0 1.0 1.0"}) {
    EXPECT_THAT(ParseUptime(text), StatusIs(kInvalid)) << text;
  }
}

TEST(ParseUuidTest, LowersCaseAndChecksTheForm) {
  EXPECT_THAT(ParseUuid("9F8D5740-CA74-36DE-A9D3-19B1732FE4D6\n"),
              IsOkAndHolds("9f8d5740-ca74-36de-a9d3-19b1732fe4d6"));
  for (const char* text : {"", "Not Settable", "9f8d5740-ca74-36de-a9d3-19b1732fe4d",
                           "9f8d5740xca74-36de-a9d3-19b1732fe4d6"}) {
    EXPECT_THAT(ParseUuid(text), StatusIs(kInvalid)) << text;
  }
}

}  // namespace
}  // namespace cloudscale::guest
