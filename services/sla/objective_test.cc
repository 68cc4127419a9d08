#include "services/sla/objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace cloudscale::sla {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Objective Good() {
  Objective o;
  o.id = "web-p95";
  o.application = "web";
  o.indicator = LatencyIndicator{.threshold = absl::Milliseconds(200), .percentile_ratio = 0.95};
  o.window = absl::Seconds(10);
  o.target_ratio = 0.99;
  o.members = {{.vm_uuid = "vm-1", .backend = "", .server = ""}};
  return o;
}

std::vector<std::string> FaultyFields(const Objective& o) {
  Violations v;
  ValidateObjective(o, "objective", v);
  std::vector<std::string> fields;
  for (const FieldViolation& fault : v.kept()) {
    fields.push_back(fault.field);
  }
  return fields;
}

TEST(ObjectiveTest, AcceptsAGoodOne) { EXPECT_THAT(FaultyFields(Good()), IsEmpty()); }

TEST(ObjectiveTest, NamesAllFaultsAtOnce) {
  Objective o = Good();
  o.id = "Web P95";
  o.application = "";
  o.indicator = LatencyIndicator{.threshold = absl::ZeroDuration(), .percentile_ratio = 1.5};
  o.window = absl::Milliseconds(10);
  o.target_ratio = std::numeric_limits<double>::quiet_NaN();
  o.period = absl::Minutes(1);
  o.min_request_count = 0;
  o.members = {{.vm_uuid = "", .backend = "web", .server = ""}};
  o.boost.factor = 3.0;
  o.boost.duration = absl::ZeroDuration();
  EXPECT_THAT(
      FaultyFields(o),
      ElementsAre("objective.objective_id", "objective.application",
                  "objective.terms.latency.threshold", "objective.terms.latency.percentile_ratio",
                  "objective.terms.window", "objective.terms.target_ratio",
                  "objective.terms.period", "objective.terms.min_request_count",
                  "objective.members[0].vm_uuid", "objective.members[0].backend",
                  "objective.boost.factor", "objective.boost.duration"));
}

TEST(ObjectiveTest, RefusesAMissingIndicatorAndABadErrorRatio) {
  Objective o = Good();
  o.indicator = std::monostate{};
  EXPECT_THAT(FaultyFields(o), ElementsAre("objective.terms.indicator"));
  o.indicator = ErrorIndicator{.max_error_ratio = 1.0};
  EXPECT_THAT(FaultyFields(o), ElementsAre("objective.terms.errors.max_error_ratio"));
}

TEST(ObjectiveTest, RefusesAPromiseThatOneBadWindowBreaks) {
  Objective o = Good();
  o.period = absl::Hours(1);
  o.window = absl::Minutes(10);
  o.target_ratio = 0.9;  // budget 6 min, window 10 min
  EXPECT_THAT(FaultyFields(o), ElementsAre("objective.terms.target_ratio"));
  o.target_ratio = 0.8;
  EXPECT_THAT(FaultyFields(o), IsEmpty());
}

TEST(ObjectiveTest, RefusesTooManyAndRepeatedMembers) {
  Objective o = Good();
  o.members.push_back(o.members.front());
  EXPECT_THAT(FaultyFields(o), ElementsAre("objective.members[1]"));
  o.members.assign(kMaxMembers + 1, o.members.front());
  EXPECT_THAT(FaultyFields(o), ElementsAre("objective.members"));
}

TEST(ObjectiveTest, OverlapsOnlyWhenTheSameThingIsPromised) {
  const Objective a = Good();
  Objective b = Good();
  b.id = "other";
  EXPECT_TRUE(Overlap(a, b));
  b.indicator = LatencyIndicator{.threshold = absl::Seconds(1), .percentile_ratio = 0.95};
  EXPECT_TRUE(Overlap(a, b)) << "another threshold for the same percentile contradicts it";
  b.indicator = LatencyIndicator{.threshold = absl::Seconds(1), .percentile_ratio = 0.5};
  EXPECT_FALSE(Overlap(a, b));
  b.indicator = ErrorIndicator{.max_error_ratio = 0.1};
  EXPECT_FALSE(Overlap(a, b));
  b = Good();
  b.application = "shop";
  EXPECT_FALSE(Overlap(a, b));
}

}  // namespace
}  // namespace cloudscale::sla
