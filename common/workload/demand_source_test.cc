#include "common/workload/demand_source.h"

#include "gtest/gtest.h"

namespace cloudscale::workload {
namespace {

trace::Trace ThreeSteps() {
  return {.name = "t",
          .resource = "cpu",
          .period = absl::Minutes(5),
          .values = {0.1, 0.2, 0.4},
          .note = ""};
}

TEST(ConstantDemandTest, NeverChanges) {
  const auto demand = MakeConstantDemand(0.25);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::ZeroDuration()), 0.25);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Hours(1000)), 0.25);
}

TEST(TraceDemandTest, HoldsEachValueForOnePeriod) {
  const auto demand = MakeTraceDemand(ThreeSteps());
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::ZeroDuration()), 0.1);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Minutes(5) - absl::Nanoseconds(1)), 0.1);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Minutes(5)), 0.2);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Minutes(14)), 0.4);
}

TEST(TraceDemandTest, BeginsAgainAfterTheEnd) {
  const auto demand = MakeTraceDemand(ThreeSteps());
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Minutes(15)), 0.1);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Minutes(15 * 1000 + 7)), 0.2);
}

TEST(TraceDemandTest, BeginsAtOffsetAndScales) {
  const auto demand = MakeTraceDemand(ThreeSteps(), {.offset = absl::Minutes(20), .scale = 3});
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::ZeroDuration()), 0.2 * 3);
  EXPECT_DOUBLE_EQ(demand->FractionAt(absl::Minutes(5)), 0.4 * 3);
}

TEST(TraceDemandTest, TimeBeforeTheStartIsTheStart) {
  EXPECT_DOUBLE_EQ(MakeTraceDemand(ThreeSteps())->FractionAt(-absl::Minutes(7)), 0.1);
}

}  // namespace
}  // namespace cloudscale::workload
