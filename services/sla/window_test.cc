// Sliding windows, hysteresis, history and repeated reports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/sla/compliance_log.h"
#include "services/sla/objective_window.h"
#include "services/sla/source_table.h"
#include "services/sla/violation_tracker.h"

namespace cloudscale::sla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Verdict = Judgement::Verdict;
using Event = ViolationTracker::Event;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

Objective LatencyObjective() {
  Objective o;
  o.id = "o";
  o.application = "web";
  o.indicator = LatencyIndicator{.threshold = absl::Milliseconds(200), .percentile_ratio = 0.9};
  o.window = absl::Seconds(10);
  o.target_ratio = 0.9;
  o.min_request_count = 10;
  return o;
}

Contribution Requests(int64_t fast, int64_t slow, int64_t errors = 0) {
  Contribution c;
  c.request_count = fast + slow;
  c.slow_count = slow;
  c.error_count = errors;
  if (fast > 0) c.latencies.Add(0.1, fast);
  if (slow > 0) c.latencies.Add(0.5, slow);
  c.source = "client";
  return c;
}

TEST(ObjectiveWindowTest, JudgesByNearestRankExactlyAtTheLimit) {
  ObjectiveWindow window(LatencyObjective());
  window.Advance(kStart);
  window.Add(kStart + absl::Seconds(1), Requests(18, 2));  // 2 of 20 may be slow at p90
  auto judged = window.Advance(kStart + absl::Seconds(1));
  ASSERT_THAT(judged, SizeIs(1));
  EXPECT_EQ(judged[0].verdict, Verdict::kGood);
  EXPECT_LE(judged[0].observed, 0.2);
  window.Add(kStart + absl::Seconds(2), Requests(0, 1));
  judged = window.Advance(kStart + absl::Seconds(2));
  ASSERT_THAT(judged, SizeIs(1));
  EXPECT_EQ(judged[0].verdict, Verdict::kBad);
  EXPECT_EQ(judged[0].request_count, 21);
  EXPECT_EQ(judged[0].bad_count, 3);
  EXPECT_GT(judged[0].observed, 0.2);
}

TEST(ObjectiveWindowTest, ForgetsWhatLeftTheWindow) {
  ObjectiveWindow window(LatencyObjective());
  window.Advance(kStart);
  window.Add(kStart + absl::Seconds(1), Requests(0, 20));
  std::vector<Verdict> verdicts;
  for (const Judgement& j : window.Advance(kStart + absl::Seconds(12))) {
    verdicts.push_back(j.verdict);
  }
  std::vector<Verdict> expected(10, Verdict::kBad);
  expected.insert(expected.end(), 2, Verdict::kTooFew);
  EXPECT_EQ(verdicts, expected);
}

TEST(ObjectiveWindowTest, TooFewRequestsProveNothing) {
  ObjectiveWindow window(LatencyObjective());
  window.Advance(kStart);
  window.Add(kStart + absl::Seconds(1), Requests(0, 9));
  const auto judged = window.Advance(kStart + absl::Seconds(1));
  ASSERT_THAT(judged, SizeIs(1));
  EXPECT_EQ(judged[0].verdict, Verdict::kTooFew);
}

TEST(ObjectiveWindowTest, LateReportsCountInTheWindowsStillToBeJudged) {
  ObjectiveWindow window(LatencyObjective());
  window.Advance(kStart + absl::Seconds(5));
  window.Add(kStart + absl::Seconds(2), Requests(0, 20));
  auto judged = window.Advance(kStart + absl::Seconds(6));
  ASSERT_THAT(judged, SizeIs(1));
  EXPECT_EQ(judged[0].verdict, Verdict::kBad);
}

TEST(ObjectiveWindowTest, JudgesErrorRatios) {
  Objective o = LatencyObjective();
  o.indicator = ErrorIndicator{.max_error_ratio = 0.1};
  ObjectiveWindow window(o);
  window.Advance(kStart);
  window.Add(kStart + absl::Seconds(1), Requests(90, 0, 10));
  EXPECT_EQ(window.Advance(kStart + absl::Seconds(1)).at(0).verdict, Verdict::kGood);
  window.Add(kStart + absl::Seconds(2), Requests(0, 0, 1));
  const auto judged = window.Advance(kStart + absl::Seconds(2));
  EXPECT_EQ(judged.at(0).verdict, Verdict::kBad);
  EXPECT_DOUBLE_EQ(judged.at(0).observed, 11.0 / 101.0);
}

TEST(ObjectiveWindowTest, P15ATimeThatWentBackStartsAnew) {
  ObjectiveWindow window(LatencyObjective());
  window.Advance(kStart);
  window.Add(kStart + absl::Seconds(1), Requests(0, 20));
  EXPECT_THAT(window.Advance(kStart - absl::Hours(1)), IsEmpty());
  const auto judged = window.Advance(kStart - absl::Hours(1) + absl::Seconds(1));
  ASSERT_THAT(judged, SizeIs(1));
  EXPECT_EQ(judged[0].verdict, Verdict::kTooFew);
}

TEST(ObjectiveWindowTest, ALongPauseIsBoundedWork) {
  ObjectiveWindow window(LatencyObjective());
  window.Advance(kStart);
  EXPECT_THAT(window.Advance(kStart + absl::Hours(24 * 365)),
              SizeIs(ObjectiveWindow::kMaxJudgementsPerAdvance));
}

Judgement Window(Verdict verdict, int64_t index, double observed = 1.0) {
  Judgement j;
  j.verdict = verdict;
  j.start = kStart + absl::Seconds(index);
  j.end = j.start + absl::Seconds(10);
  j.observed = observed;
  return j;
}

TEST(ViolationTrackerTest, OneBadWindowIsNoViolation) {
  ViolationTracker tracker;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(tracker.Observe(Window(i % 2 == 0 ? Verdict::kBad : Verdict::kGood, i)),
              Event::kNone);
  }
  EXPECT_FALSE(tracker.is_open());
}

TEST(ViolationTrackerTest, OpensAndClosesWithHysteresis) {
  ViolationTracker tracker;
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 0)), Event::kNone);
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 1)), Event::kOpened);
  EXPECT_EQ(tracker.first_bad_start(), kStart);
  for (int i = 2; i < 6; ++i) {
    EXPECT_EQ(tracker.Observe(Window(Verdict::kGood, i)), Event::kNone);
  }
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 6)), Event::kNone) << "starts the count anew";
  for (int i = 7; i < 11; ++i) {
    EXPECT_EQ(tracker.Observe(Window(Verdict::kGood, i)), Event::kNone);
  }
  EXPECT_EQ(tracker.Observe(Window(Verdict::kGood, 11)), Event::kClosed);
  EXPECT_EQ(tracker.last_bad_end(), kStart + absl::Seconds(16));
}

TEST(ViolationTrackerTest, SilenceNeitherOpensNorCountsAsGood) {
  ViolationTracker tracker;
  tracker.Observe(Window(Verdict::kBad, 0));
  tracker.Observe(Window(Verdict::kTooFew, 1));
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 2)), Event::kOpened);
  for (int i = 0; i < 29; ++i) {
    EXPECT_EQ(tracker.Observe(Window(Verdict::kTooFew, 3 + i)), Event::kNone);
  }
  EXPECT_EQ(tracker.Observe(Window(Verdict::kTooFew, 40)), Event::kClosedSilently);
}

TEST(ViolationTrackerTest, TellsWhenItGetsClearlyWorse) {
  ViolationTracker tracker;
  tracker.Observe(Window(Verdict::kBad, 0, 1.0));
  tracker.Observe(Window(Verdict::kBad, 1, 1.0));
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 2, 1.05)), Event::kNone);
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 3, 1.2)), Event::kWorsened);
  EXPECT_EQ(tracker.Observe(Window(Verdict::kBad, 4, 1.2)), Event::kNone);
}

TEST(ComplianceLogTest, SumsMinutesAndHours) {
  ComplianceLog log(absl::Hours(24));
  LatencyHistogram h;
  h.Add(0.1, 10);
  for (int minute = 0; minute < 240; ++minute) {
    log.AddRequests(kStart + absl::Minutes(minute), 12, 2, h);
    log.AddJudgement(kStart + absl::Minutes(minute) + absl::Seconds(1), minute % 4 != 0);
  }
  const absl::Time end = kStart + absl::Hours(4);
  const ComplianceBucket all = log.Sum(kStart, end);
  EXPECT_EQ(all.request_count, 240 * 12);
  EXPECT_EQ(all.error_count, 240 * 2);
  EXPECT_EQ(all.window_count, 240);
  EXPECT_EQ(all.good_window_count, 180);
  EXPECT_EQ(all.latencies.count(), 2400);
  const ComplianceBucket last = log.Sum(end - absl::Minutes(10), end);
  EXPECT_EQ(last.window_count, 10);
  EXPECT_DOUBLE_EQ(log.BadRatio(kStart, end), 0.25);
  EXPECT_EQ(log.BadRatio(end, end + absl::Hours(1)), 0.0);
}

TEST(ComplianceLogTest, DropsWhatIsOlderThanThePeriod) {
  ComplianceLog log(absl::Hours(2));
  log.AddJudgement(kStart + absl::Seconds(1), true);
  log.AddJudgement(kStart + absl::Hours(10), true);
  EXPECT_EQ(log.Sum(kStart - absl::Hours(1), kStart + absl::Hours(11)).window_count, 1);
}

TEST(ComplianceLogTest, ChangedBucketsRestoreToTheSameSums) {
  ComplianceLog log(absl::Hours(24));
  LatencyHistogram h;
  h.Add(0.3, 7);
  log.AddRequests(kStart, 7, 0, h);
  log.AddJudgement(kStart + absl::Seconds(1), false);
  ComplianceLog copy(absl::Hours(24));
  for (auto& [key, bucket] : log.TakeChanged()) {
    copy.Restore(key, bucket);
  }
  EXPECT_THAT(log.TakeChanged(), IsEmpty());
  const ComplianceBucket sum = copy.Sum(kStart, kStart + absl::Minutes(1));
  EXPECT_EQ(sum.window_count, 1);
  EXPECT_EQ(sum.request_count, 7);
  EXPECT_EQ(sum.latencies.count(), 7);
}

bool Take(SourceTable& table, int64_t sequence, int64_t at_second, const std::string& id = "c") {
  const absl::Time start = kStart + absl::Seconds(at_second);
  return table.Take("web", id, sequence, start, start + absl::Seconds(1));
}

TEST(SourceTableTest, IgnoresRepeatsAndTakesReordered) {
  SourceTable table(10);
  EXPECT_TRUE(Take(table, 1, 1));
  EXPECT_FALSE(Take(table, 1, 1));
  EXPECT_TRUE(Take(table, 4, 4));
  EXPECT_TRUE(Take(table, 3, 3));
  EXPECT_FALSE(Take(table, 3, 3));
  EXPECT_TRUE(Take(table, 2, 2));
  EXPECT_FALSE(Take(table, 1, 1));
  EXPECT_TRUE(Take(table, 68, 68));
  EXPECT_FALSE(Take(table, 4, 4)) << "64 back is the last one remembered";
  EXPECT_TRUE(Take(table, 5, 5));
  EXPECT_FALSE(Take(table, 3, 3)) << "too far back to know: counted once rather than twice";
}

TEST(SourceTableTest, RecognisesASourceThatStartedAgain) {
  SourceTable table(10);
  EXPECT_TRUE(Take(table, 1000, 100));
  EXPECT_TRUE(Take(table, 1, 200));
  EXPECT_TRUE(Take(table, 2, 201));
  EXPECT_FALSE(Take(table, 2, 201));
}

TEST(SourceTableTest, ForgetsTheSourceSilentForLongest) {
  SourceTable table(2);
  Take(table, 1, 1, "a");
  Take(table, 1, 2, "b");
  Take(table, 1, 3, "c");
  EXPECT_EQ(table.size(), 2U);
  EXPECT_FALSE(Take(table, 1, 2, "b"));
  EXPECT_TRUE(Take(table, 1, 1, "a"));
  EXPECT_THAT(table.TakeChanged(), SizeIs(2));
}

}  // namespace
}  // namespace cloudscale::sla
