// The price of a too small allocation while an objective is missed, and which source counts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/testing/status_matchers.h"
#include "services/sla/sla_engine.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);
constexpr double kSlow = 0.5;
constexpr double kQuick = 0.05;

Objective Web(const std::string& id) {
  Objective o;
  o.id = id;
  o.application = "web";
  o.indicator = LatencyIndicator{.threshold = absl::Milliseconds(200), .percentile_ratio = 0.9};
  o.window = absl::Seconds(10);
  o.target_ratio = 0.9;
  o.members = {{.vm_uuid = "vm-1", .backend = "", .server = ""}};
  return o;
}

class PriceTest : public ::testing::Test {
 protected:
  PriceTest() { Restart({}); }
  void Restart(PriceTerms terms) {
    EngineChanges kept;
    if (engine_ != nullptr) {
      kept = engine_->TakeChanges();
    }
    engine_ = std::make_unique<SlaEngine>(SlaEngine::Limits(), ViolationTracker::Config(), terms);
    EXPECT_THAT(engine_->Create(Web("web-p90"), now_, false), IsOk());
    for (const Violation& violation : kept.violations) {
      engine_->RestoreViolation(violation);
    }
    for (const auto& [vm, price] : kept.prices) {
      engine_->RestorePrice(vm, price);
    }
    engine_->Step(now_);
  }
  ReportOutcome Report(double latency, const char* source = kSourceClient) {
    LatencyReport r;
    r.application = "web";
    r.source_id = source;
    r.sequence = ++sequence_;
    r.start = now_ - absl::Seconds(1);
    r.duration = absl::Seconds(1);
    r.data = std::vector<double>(20, latency);
    return engine_->Report(r, source, now_);
  }
  // The prices asked for in that time.
  std::vector<PriceDecision> Run(absl::Duration time, double latency) {
    std::vector<PriceDecision> prices;
    for (const absl::Time end = now_ + time; now_ < end;) {
      now_ += absl::Seconds(1);
      EXPECT_EQ(Report(latency), ReportOutcome::kAccepted);
      const StepResult step = engine_->Step(now_);
      prices.insert(prices.end(), step.prices.begin(), step.prices.end());
    }
    return prices;
  }
  static auto Price(double factor) {
    return AllOf(Field(&PriceDecision::vm_uuid, "vm-1"), Field(&PriceDecision::factor, factor),
                 Field(&PriceDecision::duration, absl::Minutes(10)));
  }

  std::unique_ptr<SlaEngine> engine_;
  absl::Time now_ = kStart;
  int64_t sequence_ = 0;
};

TEST_F(PriceTest, IsRaisedOnceAndRenewedAfterHalfOfItsTimeUpToABound) {
  EXPECT_THAT(Run(absl::Minutes(1), kQuick), IsEmpty());
  EXPECT_THAT(Run(absl::Minutes(4), kSlow), ElementsAre(Price(2)));
  EXPECT_THAT(Run(absl::Minutes(21), kSlow),
              ElementsAre(Price(3), Price(4.5), Price(6.75), Price(8)));
  EXPECT_THAT(Run(absl::Minutes(4), kSlow), ElementsAre(Price(8))) << "the bound";
}

TEST_F(PriceTest, ExpiresByItselfAndThenBeginsAnew) {
  EXPECT_THAT(Run(absl::Minutes(1), kSlow), SizeIs(1));
  EXPECT_THAT(Run(absl::Minutes(11), kQuick), IsEmpty()) << "nothing takes it back";
  EXPECT_THAT(Run(absl::Minutes(1), kSlow), ElementsAre(Price(2)));
}

TEST_F(PriceTest, AViolationThatComesBackSoonGoesOnFromThePriceInForce) {
  EXPECT_THAT(Run(absl::Minutes(1), kSlow), SizeIs(1));
  EXPECT_THAT(Run(absl::Minutes(1), kQuick), IsEmpty());
  EXPECT_THAT(Run(absl::Minutes(1), kSlow), IsEmpty()) << "the first still holds for long";
  EXPECT_THAT(Run(absl::Minutes(4), kSlow), ElementsAre(Price(3)));
}

TEST_F(PriceTest, TwoObjectivesOfAVmAskOnce) {
  Objective second = Web("web-p50");
  second.indicator =
      LatencyIndicator{.threshold = absl::Milliseconds(100), .percentile_ratio = 0.5};
  ASSERT_THAT(engine_->Create(second, now_, false), IsOk());
  EXPECT_THAT(Run(absl::Minutes(4), kSlow), ElementsAre(Price(2)));
}

TEST_F(PriceTest, IsOffWhereCorrectionsAreOffOrThePriceIs) {
  Objective quiet = Web("web-p90");
  quiet.boost.is_enabled = false;
  ASSERT_THAT(engine_->Update(quiet, std::nullopt, now_, false), IsOk());
  EXPECT_THAT(Run(absl::Minutes(2), kSlow), IsEmpty());
  Restart({.is_enabled = false});
  EXPECT_THAT(Run(absl::Minutes(2), kSlow), IsEmpty());
}

TEST_F(PriceTest, GoesOnOverARestart) {
  EXPECT_THAT(Run(absl::Minutes(6), kSlow), ElementsAre(Price(2), Price(3)));
  Restart({});
  EXPECT_THAT(Run(absl::Minutes(4), kSlow), IsEmpty()) << "not asked again at once";
  EXPECT_THAT(Run(absl::Minutes(2), kSlow), ElementsAre(Price(4.5)));
}

TEST_F(PriceTest, StatisticsCountOnlyWhereNothingTellsOfSingleRequests) {
  now_ += absl::Seconds(1);
  EXPECT_EQ(Report(kQuick, kSourceHaproxyStatistics), ReportOutcome::kAccepted);
  EXPECT_EQ(Report(kQuick, kSourceHaproxyLog), ReportOutcome::kAccepted);
  EXPECT_EQ(Report(kQuick, kSourceHaproxyStatistics), ReportOutcome::kSuperseded);
  now_ += absl::Seconds(59);
  EXPECT_EQ(Report(kQuick, kSourceHaproxyStatistics), ReportOutcome::kSuperseded);
  now_ += absl::Seconds(2);
  EXPECT_EQ(Report(kQuick, kSourceHaproxyStatistics), ReportOutcome::kAccepted);
}

TEST_F(PriceTest, RepeatedReportsAreCounted) {
  now_ += absl::Seconds(1);
  Report(kQuick);
  --sequence_;
  EXPECT_EQ(Report(kQuick), ReportOutcome::kDuplicate);
  EXPECT_EQ(engine_->duplicate_report_count(), 1);
}

}  // namespace
}  // namespace cloudscale::sla
