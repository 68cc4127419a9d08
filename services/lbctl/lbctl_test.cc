// Plans, reconciliation, and the control that uses both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "services/lbctl/backends/fake/fake_balancer.h"
#include "services/lbctl/balancer_control.h"
#include "services/lbctl/plans.h"
#include "services/lbctl/reconcile.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

ServerInfo MakeServer(const std::string& name, int weight = 100) {
  ServerInfo s;
  s.name = name;
  s.weight = weight;
  s.initial_weight = 100;
  return s;
}

BackendInfo Web() {
  BackendInfo b;
  b.name = "web";
  b.algorithm = "roundrobin";
  b.servers = {MakeServer("web-1"), MakeServer("web-2"), MakeServer("web-3")};
  return b;
}

TEST(PlansTest, ShiftAwayLeavesTheAskedShareAndNeverRoundsASmallOneToNone) {
  const auto plan = PlanShiftAway(Web(), "web-2", 0.1);
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(*plan, SizeIs(1));
  EXPECT_EQ((*plan)[0].key.server, "web-2");
  EXPECT_EQ((*plan)[0].after, 10);
  EXPECT_EQ(PlanShiftAway(Web(), "web-2", 0.001)->at(0).after, 1);
  EXPECT_EQ(PlanShiftAway(Web(), "web-2", 0.0)->at(0).after, 0);
}

TEST(PlansTest, ShiftAwayNeedsSomebodyToShiftTo) {
  BackendInfo b = Web();
  b.servers[0].state = ServerState::kMaint;
  b.servers[2].weight = 0;
  EXPECT_THAT(PlanShiftAway(b, "web-2", 0.1), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(PlanShiftAway(b, "none", 0.1), StatusIs(absl::StatusCode::kNotFound));
}

TEST(PlansTest, BalanceUndoesShiftAway) {
  BackendInfo b = Web();
  b.servers[1].weight = 10;
  const auto plan = PlanBalance(b);
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(*plan, SizeIs(1));
  EXPECT_EQ((*plan)[0].after, 100);
  EXPECT_THAT(*PlanBalance(Web()), IsEmpty());
}

TEST(PlansTest, ProportionalWeightsHaveTheRatiosOfTheCapacities) {
  const auto plan = PlanProportional(Web(), {{"web-1", 4.0}, {"web-2", 2.0}, {"web-3", 0.001}});
  ASSERT_THAT(plan, IsOk());
  ASSERT_THAT(*plan, SizeIs(3));
  EXPECT_EQ((*plan)[0].after, 256);
  EXPECT_EQ((*plan)[1].after, 128);
  EXPECT_EQ((*plan)[2].after, 1);
}

TEST(PlansTest, ProportionalNamesAllFaultsAtOnce) {
  const auto plan = PlanProportional(Web(), {{"web-1", 0.0}, {"other", 1.0}});
  EXPECT_THAT(Violations::FromStatus(plan.status()), SizeIs(4));
}

TEST(PlansTest, StaticAlgorithmsTakeNoWeights) {
  BackendInfo b = Web();
  b.has_dynamic_weights = false;
  for (const absl::Status& status : {PlanShiftAway(b, "web-1", 0.1).status(),
                                     PlanBalance(b).status(), PlanProportional(b, {}).status()}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("roundrobin")));
  }
}

const ServerKey kWeb1{"web", "web-1"};

DesiredState WantWeight(int weight, const std::string& confirmed) {
  DesiredServer wanted;
  wanted.weight = {.value = weight, .confirmed_epoch = confirmed};
  return {{kWeb1, wanted}};
}

TEST(ReconcileTest, WhatIsAsWantedIsConfirmedSilently) {
  const Reconciliation r = Reconcile(WantWeight(100, ""), {Web()}, "e1");
  EXPECT_THAT(r.commands, IsEmpty());
  EXPECT_THAT(r.drifts, IsEmpty());
  EXPECT_EQ(r.desired.at(kWeb1).weight->confirmed_epoch, "e1");
}

TEST(ReconcileTest, NeverAppliedIsPendingAndApplied) {
  const Reconciliation r = Reconcile(WantWeight(10, ""), {Web()}, "e1");
  ASSERT_THAT(r.drifts, SizeIs(1));
  EXPECT_EQ(r.drifts[0].cause, DriftCause::kPending);
  EXPECT_EQ(r.drifts[0].desired, "10");
  EXPECT_EQ(r.drifts[0].actual, "100");
  ASSERT_THAT(r.commands, SizeIs(1));
  EXPECT_EQ(std::get<SetWeightCommand>(r.commands[0].what).weight, 10);
}

TEST(ReconcileTest, WhatAReloadLostIsAppliedAgain) {
  const Reconciliation r = Reconcile(WantWeight(10, "e1"), {Web()}, "e2");
  EXPECT_EQ(r.drifts.at(0).cause, DriftCause::kReload);
  EXPECT_THAT(r.commands, SizeIs(1));
}

TEST(ReconcileTest, P19AForeignChangeIsReportedAndNotFought) {
  const Reconciliation r = Reconcile(WantWeight(10, "e1"), {Web()}, "e1");
  EXPECT_EQ(r.drifts.at(0).cause, DriftCause::kForeignChange);
  EXPECT_THAT(r.commands, IsEmpty());
  EXPECT_THAT(Reconcile(WantWeight(10, "e1"), {Web()}, "e1", Scope{.backend = "web", .server = ""})
                  .commands,
              SizeIs(1));
  EXPECT_THAT(
      Reconcile(WantWeight(10, "e1"), {Web()}, "e1", Scope{.backend = "web", .server = "web-2"})
          .commands,
      IsEmpty());
}

TEST(ReconcileTest, AnAbsentServerIsAddedAgainOnlyWhenItWasOurs) {
  DesiredState desired = WantWeight(10, "e1");
  Reconciliation r = Reconcile(desired, {}, "e2");
  EXPECT_EQ(r.drifts.at(0).field, "presence");
  EXPECT_THAT(r.commands, IsEmpty());
  desired[kWeb1].presence = {.value = {.key = kWeb1, .endpoint = {"127.0.0.1", 80}},
                             .confirmed_epoch = "e1"};
  r = Reconcile(desired, {}, "e2");
  ASSERT_THAT(r.commands, SizeIs(1));
  EXPECT_EQ(std::get<AddServerCommand>(r.commands[0].what).server.weight, 10);
}

TEST(ReconcileTest, AcceptingGivesUpOnlyWhatDiffersInScope) {
  DesiredState desired = WantWeight(10, "e1");
  desired[kWeb1].state = {.value = ServerState::kReady, .confirmed_epoch = "e1"};
  const DesiredState other =
      AcceptActual(desired, {Web()}, "e1", Scope{.backend = "shop", .server = ""});
  EXPECT_TRUE(other.at(kWeb1).weight.has_value());
  const DesiredState accepted = AcceptActual(desired, {Web()}, "e1", Scope{});
  EXPECT_FALSE(accepted.at(kWeb1).weight.has_value());
  EXPECT_TRUE(accepted.at(kWeb1).state.has_value());
}

class BalancerControlTest : public ::testing::Test {
 protected:
  BalancerControlTest() { EXPECT_THAT(control_.Poll(Now()), IsOk()); }
  absl::Time Now() { return clock_.WallNow(); }
  static std::vector<FakeBalancer::BackendSpec> Specs() {
    FakeBalancer::BackendSpec web;
    web.name = "web";
    web.servers = {"web-1", "web-2"};
    FakeBalancer::BackendSpec fixed;
    fixed.name = "fixed";
    fixed.servers = {"fixed-1"};
    fixed.algorithm = "static-rr";
    return {web, fixed};
  }
  int Weight(const std::string& server) {
    return FindServer(fake_.Read()->backends, {"web", server})->weight;
  }

  SimClock clock_;
  FakeBalancer fake_{clock_, Specs()};
  BalancerControl control_{fake_, {{kWeb1, "vm-1"}}};
};

TEST_F(BalancerControlTest, SetsAndRemembersAWeight) {
  const auto change = control_.SetWeight(kWeb1, 25, "test", Now(), false);
  ASSERT_THAT(change, IsOk());
  EXPECT_EQ(change->before.weight, 100);
  EXPECT_EQ(change->after.weight, 25);
  const auto changed = control_.TakeChanged();
  ASSERT_THAT(changed, SizeIs(1));
  EXPECT_EQ(changed.at(kWeb1).weight->value, 25);
  EXPECT_EQ(changed.at(kWeb1).reason, "test");
  EXPECT_EQ(control_.SetWeightPercent(kWeb1, 50, "", Now(), false)->after.weight, 50);
}

TEST_F(BalancerControlTest, P11ValidateOnlyChangesNothing) {
  const int64_t before = fake_.change_count();
  EXPECT_EQ(control_.SetWeight(kWeb1, 25, "", Now(), true)->after.weight, 25);
  EXPECT_THAT(control_.SetState(kWeb1, ServerState::kDrain, "", Now(), true), IsOk());
  EXPECT_THAT(control_.SetAddress(kWeb1, {"127.0.0.9", 0}, "", Now(), true), IsOk());
  EXPECT_THAT(
      control_.AddServer({.key = {"web", "new"}, .endpoint = {"127.0.0.1", 80}}, "", Now(), true),
      IsOk());
  EXPECT_EQ(fake_.change_count(), before);
  EXPECT_THAT(control_.TakeChanged(), IsEmpty());
}

TEST_F(BalancerControlTest, UnknownNamesListWhatThereIs) {
  EXPECT_THAT(control_.SetWeight({"web", "x"}, 1, "", Now(), false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("web-1, web-2")));
  EXPECT_THAT(control_.SetWeight({"x", "x"}, 1, "", Now(), false),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("fixed, web")));
  EXPECT_THAT(control_.SetWeight({"fixed", "fixed-1"}, 1, "", Now(), false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("static-rr")));
}

TEST_F(BalancerControlTest, ARefusedChangeIsNotRemembered) {
  fake_.Refuse(absl::UnavailableError("busy"), 1);
  EXPECT_THAT(control_.SetWeight(kWeb1, 25, "", Now(), false),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(control_.TakeChanged(), IsEmpty());
}

TEST_F(BalancerControlTest, AReloadIsHealedByTheNextPoll) {
  ASSERT_THAT(control_.SetWeight(kWeb1, 25, "", Now(), false), IsOk());
  ASSERT_THAT(control_.AddServer({.key = {"web", "new"}, .endpoint = {"127.0.0.1", 80}}, "vm-9",
                                 Now(), false),
              IsOk());
  fake_.Restart();
  EXPECT_EQ(Weight("web-1"), 100);
  ASSERT_THAT(control_.Poll(Now()), IsOk());
  EXPECT_EQ(Weight("web-1"), 25);
  EXPECT_EQ(Weight("new"), 100);
  EXPECT_THAT(control_.view()->drifts, IsEmpty());
  EXPECT_EQ(control_.view()->vm_uuids.at({"web", "new"}), "vm-9");
  EXPECT_TRUE(control_.view()->is_reset);
  ASSERT_THAT(control_.Poll(Now()), IsOk());
  EXPECT_FALSE(control_.view()->is_reset);
}

TEST_F(BalancerControlTest, P19ForeignChangesShowAsDriftUntilSettled) {
  ASSERT_THAT(control_.SetWeight(kWeb1, 25, "", Now(), false), IsOk());
  ASSERT_THAT(fake_.SetWeight(kWeb1, 77), IsOk());
  const absl::Time noticed = Now();
  ASSERT_THAT(control_.Poll(Now()), IsOk());
  clock_.Advance(absl::Seconds(5));
  ASSERT_THAT(control_.Poll(Now()), IsOk());
  EXPECT_EQ(Weight("web-1"), 77);
  ASSERT_THAT(control_.view()->drifts, SizeIs(1));
  EXPECT_EQ(control_.view()->drifts[0].noticed_at, noticed);
  EXPECT_THAT(*control_.ApplyDesired({}, Now(), true), SizeIs(1));
  EXPECT_EQ(Weight("web-1"), 77);
  const auto applied = control_.ApplyDesired({}, Now(), false);
  ASSERT_THAT(applied, IsOk());
  EXPECT_EQ(applied->at(0).before.weight, 77);
  EXPECT_EQ(applied->at(0).after.weight, 25);
  EXPECT_EQ(Weight("web-1"), 25);
  EXPECT_THAT(control_.view()->drifts, IsEmpty());
}

TEST_F(BalancerControlTest, AcceptingLeavesTheBalancerAsItIs) {
  ASSERT_THAT(control_.SetWeight(kWeb1, 25, "", Now(), false), IsOk());
  control_.TakeChanged();
  ASSERT_THAT(fake_.SetWeight(kWeb1, 77), IsOk());
  EXPECT_THAT((*control_.AcceptActual({}, Now(), true))->drifts, IsEmpty());
  EXPECT_THAT(control_.TakeChanged(), IsEmpty());
  EXPECT_THAT((*control_.AcceptActual({}, Now(), false))->drifts, IsEmpty());
  EXPECT_EQ(Weight("web-1"), 77);
  EXPECT_TRUE(control_.TakeChanged().at(kWeb1).is_empty());
}

TEST_F(BalancerControlTest, APlanIsAppliedAsAWholeOrNotAtAll) {
  const std::vector<WeightChange> plan = {{.key = kWeb1, .before = 100, .after = 10},
                                          {.key = {"web", "none"}, .before = 100, .after = 10}};
  EXPECT_FALSE(control_.ApplyWeights(plan, "", Now()).ok());
  EXPECT_EQ(Weight("web-1"), 100);
  EXPECT_THAT(control_.view()->drifts, IsEmpty());
  EXPECT_FALSE(control_.view()->desired.contains(kWeb1));
}

TEST_F(BalancerControlTest, OnlyAddedServersWithoutSessionsAreRemoved) {
  ASSERT_THAT(control_.SetState(kWeb1, ServerState::kMaint, "", Now(), false), IsOk());
  clock_.Advance(absl::Seconds(20));
  EXPECT_THAT(control_.RemoveServer(kWeb1, Now(), false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("configuration")));
  const ServerKey added{"web", "new"};
  ASSERT_THAT(control_.AddServer({.key = added, .endpoint = {"127.0.0.1", 80}}, "", Now(), false),
              IsOk());
  EXPECT_THAT(control_.RemoveServer(added, Now(), false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sessions")));
  ASSERT_THAT(control_.SetState(added, ServerState::kMaint, "", Now(), false), IsOk());
  clock_.Advance(absl::Seconds(20));
  EXPECT_THAT(control_.RemoveServer(added, Now(), true), IsOk());
  EXPECT_THAT(control_.RemoveServer(added, Now(), false), IsOk());
  EXPECT_FALSE(control_.view()->desired.contains(added));
}

TEST_F(BalancerControlTest, AnUnreachableBalancerKeepsTheLastView) {
  fake_.SetReachable(false);
  EXPECT_THAT(control_.Poll(Now()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(control_.view()->status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(control_.view()->backends, SizeIs(2));
}

}  // namespace
}  // namespace cloudscale::lbctl
