#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/sla/compliance_log.h"

namespace cloudscale::sla {
namespace {

using ::testing::SizeIs;

const absl::Time kHour = absl::FromUnixSeconds(1767225600);

ComplianceLog OneWindowEach(absl::Duration step, int count) {
  ComplianceLog log(absl::Hours(24 * 30));
  for (int i = 0; i < count; ++i) {
    log.AddJudgement(kHour + i * step + absl::Seconds(1), i % 2 == 0);
  }
  return log;
}

TEST(ComplianceSeriesTest, GivesMinutesWhileTheyAreKept) {
  const ComplianceLog log = OneWindowEach(absl::Minutes(1), 60);
  absl::Duration length;
  const auto series = log.Series(kHour, kHour + absl::Hours(1), 240, &length);
  EXPECT_EQ(length, absl::Minutes(1));
  ASSERT_THAT(series, SizeIs(60));
  EXPECT_EQ(series[0].first, kHour);
  EXPECT_EQ(series[1].second.window_count, 1);
  EXPECT_EQ(series[1].second.good_window_count, 0);
}

TEST(ComplianceSeriesTest, PutsBucketsTogetherToTheNumberAskedFor) {
  const ComplianceLog log = OneWindowEach(absl::Minutes(1), 60);
  for (const int64_t max : {1, 7, 10, 59}) {
    absl::Duration length;
    const auto series = log.Series(kHour, kHour + absl::Hours(1), max, &length);
    EXPECT_LE(series.size(), static_cast<size_t>(max));
    int64_t windows = 0;
    for (const auto& [start, bucket] : series) {
      windows += bucket.window_count;
    }
    EXPECT_EQ(windows, 60) << "nothing is lost";
  }
}

TEST(ComplianceSeriesTest, GivesHoursForLongerAgoAndLeavesOutEmptyOnes) {
  const ComplianceLog log = OneWindowEach(absl::Hours(6), 10);
  absl::Duration length;
  const auto series = log.Series(kHour, kHour + absl::Hours(60), 240, &length);
  EXPECT_EQ(length, absl::Hours(1));
  EXPECT_THAT(series, SizeIs(10));
  EXPECT_EQ(series[1].first, kHour + absl::Hours(6));
}

}  // namespace
}  // namespace cloudscale::sla
