#include "services/scaler/shrink_gate.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::scaler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

MonoTime At(double seconds) { return MonoTime::FromStart(absl::Seconds(seconds)); }

PlannedAction Cpu(const std::string& vm, double target, bool is_growth) {
  PlannedAction action;
  action.vm_uuid = vm;
  action.target = target;
  action.is_growth = is_growth;
  return action;
}
PlannedAction Shrink(const std::string& vm, double target = 1) { return Cpu(vm, target, false); }
PlannedAction Growth(const std::string& vm, double target = 4) { return Cpu(vm, target, true); }

std::vector<std::string> VmsOf(const std::vector<PlannedAction>& actions) {
  std::vector<std::string> out;
  for (const PlannedAction& action : actions) {
    out.push_back(action.vm_uuid);
  }
  return out;
}

class ShrinkGateTest : public ::testing::Test {
 protected:
  ShrinkGateTest() { gate_.SetFollowed({"web-1", "web-2"}, At(1000)); }
  // One full step at `seconds`.
  ShrinkGate::Admission Step(double seconds, std::vector<PlannedAction> actions) {
    return gate_.Admit(std::move(actions), /*is_full_step=*/true, At(seconds));
  }
  ShrinkGate gate_{absl::Seconds(2)};
};

TEST_F(ShrinkGateTest, OnlyShrinksOfFollowedVmsWait) {
  PlannedAction memory = Shrink("web-1");
  memory.resource = Resource::kMemory;
  const auto admission =
      Step(0, {Shrink("db"), Shrink("web-1"), memory, Growth("web-2"), Growth("db")});
  EXPECT_THAT(VmsOf(admission.pass), ElementsAre("db", "web-1", "web-2", "db"));
  EXPECT_EQ(admission.pass[1].resource, Resource::kMemory);
  EXPECT_THAT(VmsOf(admission.held), ElementsAre("web-1"));
  EXPECT_THAT(gate_.announced(), ElementsAre(Pair("web-1", 1.0)));
}

TEST_F(ShrinkGateTest, AnAnswerToItsReportReleasesAShrink) {
  Step(0, {Shrink("web-1")});
  gate_.OnReported(7);
  gate_.OnAnswered(6);
  EXPECT_THAT(gate_.TakeDue(At(0.1)), IsEmpty());
  gate_.OnAnswered(7);
  EXPECT_THAT(VmsOf(gate_.TakeDue(At(0.1))), ElementsAre("web-1"));
  EXPECT_THAT(gate_.TakeDue(At(9)), IsEmpty());
  EXPECT_THAT(gate_.announced(), IsEmpty());
  EXPECT_EQ(gate_.counters().answered, 1);
}

TEST_F(ShrinkGateTest, AnAnswerToALaterReportWillDo) {
  Step(0, {Shrink("web-1")});
  gate_.OnReported(7);
  gate_.OnReported(8);
  gate_.OnAnswered(8);
  EXPECT_THAT(gate_.TakeDue(At(0.1)), SizeIs(1));
}

TEST_F(ShrinkGateTest, WithoutAnAnswerAShrinkWaitsTheBoundAndNoLonger) {
  Step(0, {Shrink("web-1")});
  EXPECT_EQ(gate_.next_deadline(), At(2));
  EXPECT_THAT(gate_.TakeDue(At(1.99)), IsEmpty());
  EXPECT_THAT(gate_.TakeDue(At(2)), SizeIs(1));
  EXPECT_EQ(gate_.counters().timed_out, 1);
  EXPECT_EQ(gate_.next_deadline(), std::nullopt);
}

TEST_F(ShrinkGateTest, AShrinkThatIsWantedAgainDoesNotWaitAnew) {
  Step(0, {Shrink("web-1", 2.0)});
  Step(1, {Shrink("web-1", 1.0)});
  EXPECT_EQ(gate_.next_deadline(), At(2));
  EXPECT_EQ(gate_.TakeDue(At(2)).at(0).target, 2.0) << "less than 2 was never announced";
  Step(10, {Shrink("web-1", 1.0)});
  Step(11, {Shrink("web-1", 1.5)});
  EXPECT_EQ(gate_.TakeDue(At(12)).at(0).target, 1.5) << "the newest wish is for more";
}

TEST_F(ShrinkGateTest, AShrinkThatIsNotWantedAnyMoreIsGivenUp) {
  Step(0, {Shrink("web-1"), Shrink("web-2")});
  gate_.Admit({}, /*is_full_step=*/false, At(1));
  EXPECT_EQ(gate_.held_count(), 2u) << "between full steps nobody is asked";
  Step(1.5, {Shrink("web-2")});
  EXPECT_THAT(VmsOf(gate_.TakeDue(At(5))), ElementsAre("web-2"));
  EXPECT_EQ(gate_.counters().withdrawn, 1);
}

TEST_F(ShrinkGateTest, AnUnderEstimateMeanwhileWithdrawsTheShrink) {
  Step(0, {Shrink("web-1")});
  const auto admission = gate_.Admit({Growth("web-1")}, /*is_full_step=*/false, At(1));
  EXPECT_THAT(VmsOf(admission.pass), ElementsAre("web-1"));
  EXPECT_THAT(gate_.TakeDue(At(5)), IsEmpty());
  EXPECT_THAT(gate_.announced(), IsEmpty());
}

TEST_F(ShrinkGateTest, NothingWaitsWhenNobodyHasAnsweredForLong) {
  EXPECT_THAT(Step(1000, {Shrink("web-1")}).pass, SizeIs(1));
}

TEST_F(ShrinkGateTest, AWaitOfZeroHoldsNothing) {
  ShrinkGate gate(absl::ZeroDuration());
  gate.SetFollowed({"web-1"}, At(1000));
  EXPECT_THAT(gate.Admit({Shrink("web-1")}, true, At(0)).pass, SizeIs(1));
}

TEST_F(ShrinkGateTest, OthersActionsWithdraw) {
  Step(0, {Shrink("web-1"), Shrink("web-2")});
  gate_.Withdraw("web-1");
  gate_.Withdraw("db");
  EXPECT_EQ(gate_.held_count(), 1u);
  gate_.WithdrawAll();
  EXPECT_EQ(gate_.counters().withdrawn, 2);
  EXPECT_THAT(gate_.TakeDue(At(5)), IsEmpty());
}

}  // namespace
}  // namespace cloudscale::scaler
