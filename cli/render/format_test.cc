#include "cli/render/format.h"

#include <limits>

#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

TEST(FormatTest, CoresHaveTwoDecimalsAndNoNegativeZero) {
  EXPECT_EQ(FormatCores(1.257), "1.26");
  EXPECT_EQ(FormatCores(-0.001), "0.00");
  EXPECT_EQ(FormatCores(std::nullopt), "-");
  EXPECT_EQ(FormatCores(std::numeric_limits<double>::quiet_NaN()), "-");
}

TEST(FormatTest, BytesTakeTheLargestUnitBelowThem) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(512.0 * 1024 * 1024), "512 MiB");
  EXPECT_EQ(FormatBytes(-2.0 * 1024 * 1024 * 1024), "-2.0 GiB");
}

TEST(FormatTest, SmallRatiosKeepTwoDecimals) {
  EXPECT_EQ(FormatPercent(0.382), "38.2 %");
  EXPECT_EQ(FormatPercent(0.0042), "0.42 %");
  EXPECT_EQ(FormatPercent(0.0), "0.0 %");
  EXPECT_EQ(FormatPercent(std::nullopt), "-");
}

TEST(FormatTest, DurationsNameTheirTwoLargestUnits) {
  EXPECT_EQ(DurationText(absl::Milliseconds(850)), "850ms");
  EXPECT_EQ(DurationText(absl::Milliseconds(1500)), "1.5s");
  EXPECT_EQ(DurationText(absl::Seconds(12)), "12s");
  EXPECT_EQ(DurationText(absl::Seconds(200)), "3m20s");
  EXPECT_EQ(DurationText(absl::Minutes(125)), "2h05m");
  EXPECT_EQ(DurationText(absl::Hours(99)), "4d03h");
  EXPECT_EQ(DurationText(-absl::Seconds(5)), "-5s");
  EXPECT_EQ(DurationText(absl::InfiniteDuration()), "forever");
}

TEST(FormatTest, CoreTimeIsInHoursFromOneHourOn) {
  EXPECT_EQ(FormatCoreTime(90.4), "90 core-seconds");
  EXPECT_EQ(FormatCoreTime(5400.0), "1.50 core-hours");
}

TEST(FormatTest, RatioOfNothingIsAbsent) {
  EXPECT_EQ(RatioOf(1.0, 3.0), 0.25);
  EXPECT_EQ(RatioOf(0.0, 0.0), std::nullopt);
  EXPECT_EQ(RatioOf(-2.0, 1.0), std::nullopt);
}

}  // namespace
}  // namespace cloudscale::cli
