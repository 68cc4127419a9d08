#include "cli/render/spark.h"

#include <array>
#include <limits>

#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

TEST(SparklineTest, ShowsTheNewestValuesOnTheRight) {
  const std::array<double, 4> values = {4.0, 0.0, 2.0, 4.0};
  EXPECT_EQ(Sparkline(values, 4.0, 3), "▁▅█");
  EXPECT_EQ(Sparkline(values, 4.0, 6), "  █▁▅█");
}

TEST(SparklineTest, MissingValuesAreBlankAndHigherOnesFull) {
  const std::array<double, 2> values = {std::numeric_limits<double>::quiet_NaN(), 9.0};
  EXPECT_EQ(Sparkline(values, 4.0, 2), " █");
  EXPECT_EQ(Sparkline(values, 0.0, 2), " ▁");
}

TEST(LoadBarTest, ShowsUseGrantAndRoom) {
  EXPECT_EQ(LoadBar(2.0, 4.0, 8.0, 8), "██░░····");
  EXPECT_EQ(LoadBar(6.0, 4.0, 8.0, 8), "████▓▓··");
  EXPECT_EQ(LoadBar(9.0, 9.0, 8.0, 4), "████");
  EXPECT_EQ(LoadBar(1.0, 1.0, 0.0, 3), "   ");
}

}  // namespace
}  // namespace cloudscale::cli
