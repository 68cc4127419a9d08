#include "services/sla/sla_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

Objective Web(const std::string& id = "web-p90") {
  Objective o;
  o.id = id;
  o.application = "web";
  o.indicator = LatencyIndicator{.threshold = absl::Milliseconds(200), .percentile_ratio = 0.9};
  o.window = absl::Seconds(10);
  o.target_ratio = 0.9;
  o.period = absl::Hours(24);
  o.members = {{.vm_uuid = "vm-1", .backend = "", .server = ""},
               {.vm_uuid = "vm-2", .backend = "", .server = ""}};
  return o;
}

// An engine on a time line of seconds.
class SlaEngineTest : public ::testing::Test {
 protected:
  // One second of traffic and the step after it.
  StepResult Second(double latency, const std::string& vm = "", int64_t errors = 0) {
    LatencyReport r;
    r.application = "web";
    r.source_id = "client";
    r.sequence = ++sequence_;
    r.start = now_;
    r.duration = absl::Seconds(1);
    r.data = std::vector<double>(20, latency);
    r.error_count = errors;
    r.vm_uuid = vm;
    now_ += absl::Seconds(1);
    EXPECT_EQ(engine_->Report(r, "client", now_), ReportOutcome::kAccepted);
    return Collect(engine_->Step(now_));
  }
  StepResult Silence(int seconds) {
    StepResult all;
    for (int i = 0; i < seconds; ++i) {
      now_ += absl::Seconds(1);
      StepResult step = Collect(engine_->Step(now_));
      all.changed.insert(all.changed.end(), step.changed.begin(), step.changed.end());
    }
    return all;
  }
  StepResult Collect(StepResult step) {
    boosts_.insert(boosts_.end(), step.boosts.begin(), step.boosts.end());
    retrains_.insert(retrains_.end(), step.retrains.begin(), step.retrains.end());
    return step;
  }
  void Create(const Objective& o) {
    ASSERT_THAT(engine_->Create(o, now_, false), IsOk());
    engine_->Step(now_);
  }

  SlaEngine::Limits limits_;
  std::unique_ptr<SlaEngine> engine_ =
      std::make_unique<SlaEngine>(limits_, ViolationTracker::Config{});
  absl::Time now_ = kStart;
  int64_t sequence_ = 0;
  std::vector<BoostDecision> boosts_;
  std::vector<RetrainDecision> retrains_;
};

TEST_F(SlaEngineTest, CreatesChangesAndDeletesWithRevisions) {
  Create(Web());
  EXPECT_THAT(engine_->Create(Web(), now_, false), StatusIs(absl::StatusCode::kAlreadyExists));
  Objective changed = *engine_->Get("web-p90");
  EXPECT_EQ(changed.revision, 1);
  changed.target_ratio = 0.95;
  EXPECT_THAT(engine_->Update(changed, 7, now_, false), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(engine_->Update(changed, 1, now_, true)->revision, 2);
  EXPECT_EQ(engine_->Get("web-p90")->target_ratio, 0.9) << "validate_only changes nothing";
  ASSERT_THAT(engine_->Update(changed, 1, now_, false), IsOk());
  EXPECT_EQ(engine_->Get("web-p90")->target_ratio, 0.95);
  EXPECT_THAT(engine_->Delete("web-p90", 1, now_, false), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(engine_->Delete("web-p90", 2, now_, false), IsOk());
  EXPECT_THAT(engine_->Delete("web-p90", std::nullopt, now_, false),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(engine_->ListApplications("", 10), IsEmpty());
}

TEST_F(SlaEngineTest, RefusesOverlappingAndTooMany) {
  limits_.max_objectives = 2;
  engine_ = std::make_unique<SlaEngine>(limits_, ViolationTracker::Config{});
  Create(Web());
  EXPECT_THAT(engine_->Create(Web("other"), now_, false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("overlaps 'web-p90'")));
  Objective errors = Web("errors");
  errors.indicator = ErrorIndicator{.max_error_ratio = 0.01};
  Create(errors);
  Objective third = Web("third");
  third.application = "shop";
  EXPECT_THAT(engine_->Create(third, now_, false), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(SlaEngineTest, SlowAnswersOpenAViolationAndFastOnesCloseIt) {
  Create(Web());
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(Second(0.1).changed, IsEmpty());
  }
  std::vector<Violation> changed;
  for (int i = 0; i < 5 && changed.empty(); ++i) {
    changed = Second(0.5).changed;
  }
  ASSERT_THAT(changed, SizeIs(1));
  EXPECT_TRUE(changed[0].is_open);
  EXPECT_NEAR(changed[0].observed, 0.5, 0.03);
  EXPECT_EQ(changed[0].threshold, 0.2);
  EXPECT_THAT(changed[0].vm_uuids, ElementsAre("vm-1", "vm-2"));
  EXPECT_THAT(changed[0].effects, SizeIs(6)) << "boost, retrain and price of each VM";
  EXPECT_TRUE(engine_->ListApplications("", 10)[0].is_violated);

  changed.clear();
  for (int i = 0; i < 30 && changed.empty(); ++i) {
    changed = Second(0.1).changed;
  }
  ASSERT_THAT(changed, SizeIs(1));
  EXPECT_FALSE(changed[0].is_open);
  EXPECT_GT(*changed[0].ended_at, changed[0].started_at);
  EXPECT_LT(*changed[0].ended_at, now_);
  EXPECT_EQ(engine_->open_violation_count(), 0);
}

TEST_F(SlaEngineTest, P10ALoadAtTheThresholdDoesNotFlutter) {
  Create(Web());
  int64_t changes = 0;
  for (int i = 0; i < 600; ++i) {
    changes += static_cast<int64_t>(Second(i % 2 == 0 ? 0.199 : 0.201).changed.size());
  }
  EXPECT_LE(changes, 1) << "half of the requests are slow: one violation, never closed";
}

TEST_F(SlaEngineTest, BoostsOnlyMembersKnownToBeSlow) {
  Create(Web());
  while (boosts_.empty()) {
    Second(0.5, "vm-2");
  }
  ASSERT_THAT(boosts_, SizeIs(1));
  EXPECT_EQ(boosts_[0].vm_uuid, "vm-2");
  EXPECT_EQ(boosts_[0].factor, 1.25);
  EXPECT_EQ(boosts_[0].duration, absl::Seconds(60));
}

TEST_F(SlaEngineTest, P8AReportNeverBoostsAVmOutsideOfTheApplication) {
  Create(Web());
  for (int i = 0; i < 30; ++i) {
    Second(0.5, "vm-of-somebody-else");
  }
  ASSERT_FALSE(boosts_.empty());
  for (const BoostDecision& boost : boosts_) {
    EXPECT_NE(boost.vm_uuid, "vm-of-somebody-else");
  }
}

TEST_F(SlaEngineTest, RenewsBoostsAndRetrainsAtMostOnceInThousandSeconds) {
  Create(Web());
  for (int i = 0; i < 1900; ++i) {
    Second(0.5, "vm-1");
  }
  EXPECT_THAT(retrains_, SizeIs(2)) << "one VM, 1900 s, at most one in 1000 s";
  // Renewed with less than 12 s of 60 s left: every 49 s.
  EXPECT_GE(boosts_.size(), 1900U / 60U);
  EXPECT_LE(boosts_.size(), 1900U / 48U + 1U);
  EXPECT_LE(engine_->ListViolations({}).at(0).effects.size(), kMaxEffects);
}

TEST_F(SlaEngineTest, RetrainLimitHoldsOverObjectivesAndRestarts) {
  Create(Web());
  Objective other = Web("p50");
  other.indicator = LatencyIndicator{.threshold = absl::Milliseconds(100), .percentile_ratio = 0.5};
  Create(other);
  for (int i = 0; i < 30; ++i) {
    Second(0.5, "vm-1");
  }
  EXPECT_EQ(engine_->open_violation_count(), 2);
  EXPECT_THAT(retrains_, SizeIs(1));

  const EngineChanges changes = engine_->TakeChanges();
  SlaEngine restarted(limits_, {});
  ASSERT_THAT(restarted.RestoreObjective(*engine_->Get("web-p90")), IsOk());
  for (const auto& [vm, at] : changes.retrained_at) {
    restarted.RestoreRetrain(vm, at);
  }
  engine_ = std::make_unique<SlaEngine>(std::move(restarted));
  sequence_ = 1000;
  for (int i = 0; i < 30; ++i) {
    Second(0.5, "vm-1");
  }
  EXPECT_THAT(retrains_, SizeIs(1));
}

TEST_F(SlaEngineTest, DisabledBoostDoesNothing) {
  Objective o = Web();
  o.boost.is_enabled = false;
  Create(o);
  for (int i = 0; i < 30; ++i) {
    Second(0.5);
  }
  EXPECT_EQ(engine_->open_violation_count(), 1);
  EXPECT_THAT(boosts_, IsEmpty());
  EXPECT_THAT(retrains_, IsEmpty());
}

TEST_F(SlaEngineTest, AnErrorObjectiveIsViolatedByFailedRequests) {
  Objective o = Web();
  o.indicator = ErrorIndicator{.max_error_ratio = 0.1};
  Create(o);
  Second(0.1, "", 2);  // 2 of 22
  Second(0.1, "", 2);
  EXPECT_EQ(engine_->open_violation_count(), 0);
  Second(0.1, "", 10);
  Second(0.1, "", 10);
  EXPECT_EQ(engine_->open_violation_count(), 1);
}

TEST_F(SlaEngineTest, SilenceEndsAViolationInTheEnd) {
  Create(Web());
  for (int i = 0; i < 12; ++i) {
    Second(0.5);
  }
  ASSERT_EQ(engine_->open_violation_count(), 1);
  const StepResult ended = Silence(60);
  ASSERT_THAT(ended.changed, SizeIs(1));
  EXPECT_THAT(ended.changed[0].effects.back(), HasSubstr("too few requests"));
}

TEST_F(SlaEngineTest, RefusesReportsThatAreLateAheadUnknownOrRepeated) {
  Create(Web());
  LatencyReport r;
  r.application = "web";
  r.source_id = "c";
  r.sequence = 1;
  r.duration = absl::Seconds(1);
  r.data = std::vector<double>{0.1};
  r.start = now_ - absl::Hours(2);
  EXPECT_EQ(engine_->Report(r, "client", now_), ReportOutcome::kLate);
  r.start = now_ + absl::Seconds(5);
  EXPECT_EQ(engine_->Report(r, "client", now_), ReportOutcome::kAhead);
  r.start = now_;
  EXPECT_EQ(engine_->Report(r, "client", now_), ReportOutcome::kAccepted);
  EXPECT_EQ(engine_->Report(r, "client", now_), ReportOutcome::kDuplicate);
  r.application = "shop";
  EXPECT_EQ(engine_->Report(r, "client", now_), ReportOutcome::kUnknownApplication);
  EXPECT_EQ(engine_->refused_report_count(), 3);
  EXPECT_EQ(engine_->accepted_report_count(), 1);
  EXPECT_EQ(engine_->ListApplications("", 10)[0].refused_report_count, 2);
}

TEST_F(SlaEngineTest, ComplianceCountsWindowsBudgetAndBurn) {
  Create(Web());
  for (int i = 0; i < 300; ++i) {
    Second(0.1);
  }
  for (int i = 0; i < 100; ++i) {
    Second(0.5);
  }
  const auto compliance = engine_->GetCompliance("", "", absl::InfinitePast(), now_);
  ASSERT_THAT(compliance, SizeIs(1));
  const Compliance& c = compliance[0];
  EXPECT_EQ(c.totals.window_count, 400);
  EXPECT_EQ(c.totals.request_count, 8000);
  // A window turns bad with the second slow second of ten (40 of 200 slow > 10 %).
  EXPECT_EQ(c.totals.good_window_count, 301);
  EXPECT_DOUBLE_EQ(c.compliance_ratio, 301.0 / 400.0);
  EXPECT_NEAR(c.budget_remaining_ratio, 1.0 - 99.0 / 8640.0, 1e-9);
  ASSERT_THAT(c.burn_rates, SizeIs(3)) << "5 min, 1 h, 6 h; 3 days is over the period";
  EXPECT_NEAR(c.burn_rates[1].rate, (99.0 / 400.0) / 0.1, 1e-9);
  EXPECT_EQ(c.violation_count, 1);
  EXPECT_GT(c.violation_time, absl::Seconds(95));
  EXPECT_NEAR(*c.totals.latencies.Quantile(0.5), 0.1, 0.006);
  EXPECT_THAT(engine_->GetCompliance("", "none", absl::InfinitePast(), now_), IsEmpty());
}

TEST_F(SlaEngineTest, ARestoredEngineGoesOnWithTheOpenViolation) {
  Create(Web());
  for (int i = 0; i < 12; ++i) {
    Second(0.5);
  }
  EngineChanges changes = engine_->TakeChanges();
  ASSERT_THAT(changes.violations, SizeIs(1));
  SlaEngine restarted(limits_, {});
  ASSERT_THAT(restarted.RestoreObjective(*engine_->Get("web-p90")), IsOk());
  restarted.RestoreViolation(changes.violations[0]);
  for (auto& bucket : changes.buckets) {
    restarted.RestoreBucket(bucket.objective_id, bucket.key, bucket.content);
  }
  const auto before = engine_->GetCompliance("", "", absl::InfinitePast(), now_);
  const auto after = restarted.GetCompliance("", "", absl::InfinitePast(), now_);
  EXPECT_EQ(after[0].totals.window_count, before[0].totals.window_count);
  engine_ = std::make_unique<SlaEngine>(std::move(restarted));
  EXPECT_EQ(engine_->open_violation_count(), 1);
  std::vector<Violation> changed;
  sequence_ = 100;
  for (int i = 0; i < 30 && changed.empty(); ++i) {
    changed = Second(0.1).changed;
  }
  ASSERT_THAT(changed, SizeIs(1));
  EXPECT_EQ(changed[0].id, changes.violations[0].id);
  EXPECT_FALSE(changed[0].is_open);
}

TEST_F(SlaEngineTest, AViolationWithoutItsObjectiveIsRestoredAsOver) {
  Violation orphan;
  orphan.number = 3;
  orphan.objective_id = "gone";
  orphan.started_at = kStart;
  engine_->RestoreViolation(orphan);
  EXPECT_FALSE(engine_->ListViolations({}).at(0).is_open);
}

TEST_F(SlaEngineTest, DeletingAnObjectiveKeepsItsViolationsAndEndsTheOpenOne) {
  Create(Web());
  for (int i = 0; i < 12; ++i) {
    Second(0.5);
  }
  ASSERT_THAT(engine_->Delete("web-p90", std::nullopt, now_, false), IsOk());
  EXPECT_THAT(Silence(1).changed, SizeIs(1));
  const auto kept = engine_->ListViolations({});
  ASSERT_THAT(kept, SizeIs(1));
  EXPECT_FALSE(kept[0].is_open);
}

TEST_F(SlaEngineTest, ViolationHistoryIsBoundedAndNewestFirst) {
  limits_.violation_history = 3;
  engine_ = std::make_unique<SlaEngine>(limits_, ViolationTracker::Config{});
  Create(Web());
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 5; ++i) {
      Second(0.5);
    }
    for (int i = 0; i < 30; ++i) {
      Second(0.1);
    }
  }
  const auto all = engine_->ListViolations({});
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_GT(all[0].number, all[1].number);
  ViolationFilter next;
  next.before_number = all[0].number;
  next.limit = 1;
  EXPECT_EQ(engine_->ListViolations(next).at(0).number, all[1].number);
  ViolationFilter open;
  open.open_only = true;
  EXPECT_THAT(engine_->ListViolations(open), IsEmpty());
  EXPECT_THAT(engine_->TakeChanges().forgotten_violations, SizeIs(2));
}

}  // namespace
}  // namespace cloudscale::sla
