#include "services/sla/inputs/report_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/sla/inputs/member_index.h"
#include "services/sla/inputs/rate_gate.h"

namespace cloudscale::sla {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);
const RequestTarget kWeb1 = {.application = "web", .vm_uuid = "vm-1"};

Objective Promise(const std::string& id, const std::string& application,
                  std::vector<Member> members) {
  Objective o;
  o.id = id;
  o.application = application;
  o.members = std::move(members);
  return o;
}

TEST(MemberIndexTest, FindsTheVmBehindAServerAndTheApplicationsOfABackend) {
  const MemberIndex index({
      Promise("a", "web", {{"vm-1", "shop", "s1"}, {"vm-2", "shop", "s2"}, {"vm-3", "", ""}}),
      Promise("b", "web", {{"vm-1", "shop", "s1"}}),
      Promise("c", "api", {{"vm-1", "shop", "s1"}}),
  });
  ASSERT_NE(index.Find("shop", "s1"), nullptr);
  EXPECT_THAT(*index.Find("shop", "s1"),
              ElementsAre(RequestTarget{.application = "api", .vm_uuid = "vm-1"}, kWeb1))
      << "two objectives of one application are told once";
  ASSERT_NE(index.Find("shop", ""), nullptr);
  EXPECT_THAT(*index.Find("shop", ""),
              ElementsAre(RequestTarget{.application = "api", .vm_uuid = ""},
                          RequestTarget{.application = "web", .vm_uuid = ""}));
  EXPECT_EQ(index.Find("shop", "s3"), nullptr);
  EXPECT_EQ(index.Find("", ""), nullptr) << "members without a server are nobody's backend";
}

TEST(ReportCollectorTest, GivesOneReportPerApplicationAndVm) {
  ReportCollector collector("haproxy", kStart);
  collector.AddLatency(kWeb1, 0.1);
  collector.AddLatency(kWeb1, 0.3);
  collector.AddFailures(kWeb1, 2);
  collector.AddFailures({.application = "web", .vm_uuid = ""}, 1);
  const auto reports = collector.Take(kStart, kStart + absl::Seconds(1));
  ASSERT_THAT(reports, SizeIs(2));
  EXPECT_EQ(reports[0].vm_uuid, "");
  EXPECT_EQ(reports[0].error_count, 1);
  EXPECT_THAT(std::get<std::vector<double>>(reports[1].data), ElementsAre(0.1, 0.3));
  EXPECT_EQ(reports[1].error_count, 2);
  EXPECT_EQ(reports[1].source_id, "haproxy");
  EXPECT_EQ(reports[1].duration, absl::Seconds(1));
  EXPECT_LT(reports[0].sequence, reports[1].sequence);
  for (const LatencyReport& report : reports) {
    Violations violations;
    ValidateReport(report, "", violations);
    EXPECT_TRUE(violations.empty()) << violations.ToStatus();
  }
  EXPECT_THAT(collector.Take(kStart, kStart), IsEmpty());
}

TEST(ReportCollectorTest, SplitsASliceWithMoreValuesThanAReportHolds) {
  ReportCollector collector("haproxy", kStart);
  for (size_t i = 0; i < ReportCollector::kMaxValues + 1; ++i) {
    collector.AddLatency(kWeb1, 0.1);
  }
  const auto reports = collector.Take(kStart, kStart + absl::Seconds(1));
  ASSERT_THAT(reports, SizeIs(2));
  EXPECT_THAT(std::get<std::vector<double>>(reports[0].data), SizeIs(ReportCollector::kMaxValues));
  EXPECT_THAT(std::get<std::vector<double>>(reports[1].data), SizeIs(1));
}

TEST(ReportCollectorTest, EqualValuesInAnyNumberAreOneHistogram) {
  ReportCollector collector("haproxy-statistics", kStart);
  collector.AddLatencies(kWeb1, 0.25, 1000000);
  const auto reports = collector.Take(kStart, kStart + absl::Seconds(1));
  ASSERT_THAT(reports, SizeIs(1));
  Violations violations;
  ValidateReport(reports[0], "", violations);
  EXPECT_TRUE(violations.empty()) << violations.ToStatus();
  const LatencyHistogram histogram = HistogramOf(reports[0]);
  EXPECT_EQ(histogram.count(), 1000000);
  EXPECT_DOUBLE_EQ(*histogram.Quantile(0.5), 0.25);
}

TEST(ReportCollectorTest, SequencesGoOnAfterARestart) {
  ReportCollector before("haproxy", kStart);
  before.AddLatency(kWeb1, 0.1);
  const int64_t last = before.Take(kStart, kStart)[0].sequence;
  ReportCollector after("haproxy", kStart + absl::Seconds(1));
  after.AddLatency(kWeb1, 0.1);
  EXPECT_GT(after.Take(kStart, kStart)[0].sequence, last);
}

TEST(RateGateTest, LetsABoundedNumberThroughEachSecond) {
  RateGate gate(3);
  const auto passed = [&](absl::Duration at) {
    int count = 0;
    for (int i = 0; i < 10; ++i) {
      count += gate.Pass(MonoTime::FromStart(at)) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(passed(absl::Seconds(5)), 3);
  EXPECT_EQ(passed(absl::Seconds(5.9)), 0);
  EXPECT_EQ(passed(absl::Seconds(6)), 3);
}

}  // namespace
}  // namespace cloudscale::sla
