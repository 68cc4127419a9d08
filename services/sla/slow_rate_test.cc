// Objectives over notifications of slow requests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

Objective Rate(double max_per_second) {
  Objective o;
  o.id = "slow";
  o.application = "default";
  o.indicator = SlowRateIndicator{.max_per_second = max_per_second};
  o.window = absl::Seconds(10);
  o.target_ratio = 0.9;
  o.members = {{.vm_uuid = "vm-1", .backend = "", .server = ""}};
  return o;
}

class SlowRateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(engine_.Create(Rate(2), now_, false), IsOk());
    engine_.Step(now_);
  }
  // `seconds` seconds with so many notifications in each.
  std::vector<Violation> Run(int seconds, int64_t per_second) {
    std::vector<Violation> changed;
    for (int i = 0; i < seconds; ++i) {
      now_ += absl::Seconds(1);
      if (per_second > 0) {
        LatencyReport report;
        report.application = "default";
        report.source_id = "udp";
        report.sequence = ++sequence_;
        report.start = now_ - absl::Seconds(1);
        report.duration = absl::Seconds(1);
        report.data = std::vector<double>();
        report.notice_count = per_second;
        EXPECT_EQ(engine_.Report(report, kSourceUdp, now_), ReportOutcome::kAccepted);
      }
      const StepResult step = engine_.Step(now_);
      changed.insert(changed.end(), step.changed.begin(), step.changed.end());
    }
    return changed;
  }
  int64_t JudgedWindows() const {
    return engine_.GetCompliance("", "slow", kStart - absl::Hours(1), now_ + absl::Hours(1))[0]
        .totals.window_count;
  }

  SlaEngine engine_{{}, {}};
  absl::Time now_ = kStart;
  int64_t sequence_ = 0;
};

TEST_F(SlowRateTest, MoreThanAllowedOverTheWindowIsAViolationAndSilenceEndsIt) {
  EXPECT_THAT(Run(30, 2), SizeIs(0)) << "as many as allowed";
  const auto opened = Run(10, 20);
  ASSERT_FALSE(opened.empty());
  EXPECT_TRUE(opened[0].is_open);
  EXPECT_EQ(opened[0].source, "udp");
  EXPECT_DOUBLE_EQ(opened[0].threshold, 2);
  EXPECT_GT(opened[0].observed, 2);
  EXPECT_THAT(opened[0].vm_uuids, ElementsAre("vm-1"));
  const auto ended = Run(30, 0);
  ASSERT_THAT(ended, SizeIs(1));
  EXPECT_FALSE(ended[0].is_open);
  EXPECT_THAT(ended[0].effects.back(), HasSubstr("good again"));
}

TEST_F(SlowRateTest, NothingIsJudgedBeforeTheFirstNotification) {
  Run(60, 0);
  EXPECT_EQ(JudgedWindows(), 0) << "nobody may be telling";
  Run(1, 1);
  Run(9, 0);
  EXPECT_EQ(JudgedWindows(), 10);
}

TEST_F(SlowRateTest, ReportsAndNotificationsAreKindsOfTheirOwn) {
  Objective latency = Rate(2);
  latency.id = "latency";
  latency.indicator =
      LatencyIndicator{.threshold = absl::Milliseconds(100), .percentile_ratio = 0.9};
  ASSERT_THAT(engine_.Create(latency, now_, false), IsOk());
  Run(20, 50);
  const auto compliances =
      engine_.GetCompliance("", "", kStart - absl::Hours(1), now_ + absl::Hours(1));
  ASSERT_THAT(compliances, SizeIs(2));
  EXPECT_EQ(compliances[0].totals.request_count, 0) << "latency";
  EXPECT_EQ(compliances[1].totals.request_count, 1000) << "slow";
}

TEST_F(SlowRateTest, P14OneRateForAnApplicationAndWindow) {
  Objective other = Rate(5);
  other.id = "other";
  EXPECT_THAT(engine_.Create(other, now_, false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("overlaps 'slow'")));
  other.window = absl::Seconds(20);
  other.indicator = SlowRateIndicator{.max_per_second = -1};
  EXPECT_THAT(engine_.Create(other, now_, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("slow_rate.max_per_second")));
}

}  // namespace
}  // namespace cloudscale::sla
