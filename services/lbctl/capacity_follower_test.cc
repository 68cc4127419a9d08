// Merged reports of capacity, and weights that follow them.
#include "services/lbctl/capacity_follower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "services/lbctl/capacity_book.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

MonoTime At(int seconds) { return MonoTime::FromStart(absl::Seconds(seconds)); }

TEST(CapacityBookTest, ReportsOfSeveralHostsAddUp) {
  CapacityBook book;
  ASSERT_THAT(book.Report("a", {{"vm-1", 2.0, {}}}, absl::Seconds(30), At(0)), IsOk());
  ASSERT_THAT(book.Report("b", {{"vm-2", 4.0, {}}}, absl::Seconds(30), At(0)), IsOk());
  EXPECT_EQ(book.UsableCores("vm-1", At(1)), 2.0);
  EXPECT_EQ(book.UsableCores("vm-2", At(1)), 4.0);
  EXPECT_EQ(book.UsableCores("vm-3", At(1)), std::nullopt);
  EXPECT_EQ(book.host_count(At(1)), 2);
}

TEST(CapacityBookTest, AReportReplacesTheOneBeforeAndExpires) {
  CapacityBook book;
  ASSERT_THAT(book.Report("a", {{"vm-1", 2.0, {}}, {"vm-2", 1.0, {}}}, absl::Seconds(30), At(0)),
              IsOk());
  ASSERT_THAT(book.Report("a", {{"vm-1", 3.0, {}}}, absl::Seconds(10), At(5)), IsOk());
  EXPECT_EQ(book.UsableCores("vm-1", At(14)), 3.0);
  EXPECT_EQ(book.UsableCores("vm-2", At(14)), std::nullopt);
  EXPECT_EQ(book.UsableCores("vm-1", At(15)), std::nullopt);
  EXPECT_EQ(book.host_count(At(15)), 0);
}

TEST(CapacityBookTest, LoadLeavesBeforeCapacityDoesAndComesAfterIt) {
  CapacityBook book;
  ASSERT_THAT(
      book.Report("a", {{"shrinks", 4.0, 2.0}, {"grows", 2.0, 4.0}}, absl::Seconds(30), At(0)),
      IsOk());
  EXPECT_EQ(book.UsableCores("shrinks", At(1)), 2.0);
  EXPECT_EQ(book.UsableCores("grows", At(1)), 2.0);
}

TEST(CapacityBookTest, TheNewestReportOfAVmThatMovesCounts) {
  CapacityBook book;
  ASSERT_THAT(book.Report("b", {{"vm-1", 2.0, {}}}, absl::Seconds(30), At(0)), IsOk());
  ASSERT_THAT(book.Report("a", {{"vm-1", 6.0, {}}}, absl::Seconds(5), At(1)), IsOk());
  EXPECT_EQ(book.UsableCores("vm-1", At(2)), 6.0);
  EXPECT_EQ(book.UsableCores("vm-1", At(10)), 2.0);
}

TEST(CapacityBookTest, IsBounded) {
  CapacityBook book;
  for (size_t i = 0; i < CapacityBook::kMaxHosts; ++i) {
    ASSERT_THAT(book.Report(std::to_string(i), {}, absl::Seconds(30), At(0)), IsOk());
  }
  EXPECT_THAT(book.Report("more", {}, absl::Seconds(30), At(0)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_THAT(book.Report("0", {}, absl::Seconds(30), At(29)), IsOk());
  EXPECT_THAT(book.Report("more", {}, absl::Seconds(30), At(30)), IsOk());  // the others are over
  std::vector<VmCapacity> many(CapacityBook::kMaxVms + 1, VmCapacity{"", 1.0, {}});
  EXPECT_THAT(book.Report("more", many, absl::Seconds(30), At(30)),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(ProportionalWeightsTest, AreExactWhereTheyCanBe) {
  EXPECT_THAT(ProportionalWeights({3.0, 1.0}, 0.0), ElementsAre(255, 85));
  EXPECT_THAT(ProportionalWeights({2.0, 2.0}, 0.0), ElementsAre(256, 256));
  EXPECT_THAT(ProportionalWeights({1.0}, 0.0), ElementsAre(256));
  EXPECT_THAT(ProportionalWeights({0.7, 0.3}, 0.0), ElementsAre(252, 108));
}

TEST(ProportionalWeightsTest, KeepALeastShare) {
  EXPECT_THAT(ProportionalWeights({100.0, 0.01}, 0.0), ElementsAre(256, 1));
  EXPECT_THAT(ProportionalWeights({100.0, 0.01}, 0.05), ElementsAre(256, 13));
}

TEST(ProportionalWeightsTest, AnyCapacityGivesWeightsInRangeAndInProportion) {
  Rng rng(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<double> cores(static_cast<size_t>(1 + rng.UniformInt(12)));
    for (double& c : cores) {
      c = rng.Uniform(0.5, 32.0);
    }
    const std::vector<int> weights = ProportionalWeights(cores, 0.0);
    const double largest = *std::max_element(cores.begin(), cores.end());
    const int top = *std::max_element(weights.begin(), weights.end());
    EXPECT_GE(top, 192);
    for (size_t i = 0; i < cores.size(); ++i) {
      EXPECT_GE(weights[i], 1);
      EXPECT_LE(weights[i], kMaxWeight);
      EXPECT_NEAR(static_cast<double>(weights[i]) / top, cores[i] / largest, 0.5 / 192 + 1e-9);
    }
  }
}

// Two servers of weight 100 with VMs vm-1 and vm-2, and a follower without a shortest interval.
class CapacityFollowerTest : public ::testing::Test {
 protected:
  CapacityFollowerTest() {
    view_.status = absl::OkStatus();
    BackendInfo web;
    web.name = "web";
    web.algorithm = "roundrobin";
    for (const char* name : {"web-1", "web-2"}) {
      ServerInfo server;
      server.name = name;
      server.weight = 100;
      server.initial_weight = 100;
      web.servers.push_back(server);
    }
    view_.backends = {web};
    view_.vm_uuids = {{{"web", "web-1"}, "vm-1"}, {{"web", "web-2"}, "vm-2"}};
    cores_ = {{"vm-1", 2.0}, {"vm-2", 2.0}};
  }

  CapacityFollower::Verdict Judge(int seconds = 0) {
    return follower_.Judge(
        "web", view_,
        [this](const std::string& uuid) {
          const auto it = cores_.find(uuid);
          return it == cores_.end() ? std::nullopt : std::optional(it->second);
        },
        At(seconds));
  }
  // Judges and does what comes out.
  FollowOutcome Follow(int seconds) {
    const CapacityFollower::Verdict verdict = Judge(seconds);
    for (const WeightChange& change : verdict.changes) {
      Server(change.key.server).weight = change.after;
      DesiredServer& wanted = view_.desired[change.key];
      wanted.weight = {.value = change.after, .confirmed_epoch = "1"};
      wanted.follows_capacity = true;
    }
    if (verdict.outcome == FollowOutcome::kChanged) {
      follower_.OnTried("web", At(seconds));
    }
    return verdict.outcome;
  }
  ServerInfo& Server(const std::string& name) {
    return view_.backends[0].servers[name == "web-1" ? 0 : 1];
  }

  BalancerView view_;
  std::map<std::string, double> cores_;
  CapacityFollower follower_{
      {{"web", {.dead_band_ratio = 0.1, .min_interval = absl::Seconds(10)}}}};
};

TEST_F(CapacityFollowerTest, WeightsBecomeProportionalToCapacity) {
  cores_["vm-1"] = 6.0;
  const auto verdict = Judge();
  EXPECT_EQ(verdict.outcome, FollowOutcome::kChanged);
  ASSERT_THAT(verdict.changes, SizeIs(2));
  EXPECT_EQ(verdict.changes[0].after, 255);
  EXPECT_EQ(verdict.changes[0].before, 100);
  EXPECT_EQ(verdict.changes[1].after, 85);
}

TEST_F(CapacityFollowerTest, EqualCapacityLeavesEqualWeightsOfAnyScale) {
  EXPECT_EQ(Judge().outcome, FollowOutcome::kWithinDeadBand);
  Server("web-1").weight = Server("web-2").weight = 17;
  EXPECT_EQ(Judge().outcome, FollowOutcome::kWithinDeadBand);
}

TEST_F(CapacityFollowerTest, SmallSwingsMoveNothing) {
  int changes = 0;
  for (int second = 0; second < 600; second += 10) {
    cores_["vm-1"] = (second / 10) % 2 == 0 ? 2.15 : 1.9;  // +- 6 %
    changes += Follow(second) == FollowOutcome::kChanged ? 1 : 0;
  }
  EXPECT_EQ(changes, 0);
}

TEST_F(CapacityFollowerTest, AChangeIsFollowedByRestUntilTheCapacityMovesAgain) {
  cores_["vm-1"] = 3.0;
  EXPECT_EQ(Follow(0), FollowOutcome::kChanged);
  for (int second = 20; second < 200; second += 10) {
    EXPECT_EQ(Follow(second), FollowOutcome::kWithinDeadBand);
  }
  cores_["vm-1"] = 2.9;
  EXPECT_EQ(Follow(300), FollowOutcome::kWithinDeadBand);
  cores_["vm-1"] = 2.0;
  EXPECT_EQ(Follow(310), FollowOutcome::kChanged);
}

TEST_F(CapacityFollowerTest, TwoChangesHaveTimeBetweenThem) {
  cores_["vm-1"] = 4.0;
  EXPECT_EQ(Follow(0), FollowOutcome::kChanged);
  cores_["vm-1"] = 1.0;
  EXPECT_EQ(Follow(9), FollowOutcome::kTooSoon);
  EXPECT_EQ(Server("web-1").weight, 256);
  EXPECT_EQ(Follow(10), FollowOutcome::kChanged);
}

TEST_F(CapacityFollowerTest, P1MissingCapacityOfOneChangesNothing) {
  cores_ = {{"vm-1", 8.0}};
  EXPECT_EQ(Judge().outcome, FollowOutcome::kCapacityMissing);
  EXPECT_THAT(Judge().detail, HasSubstr("vm-2"));
  EXPECT_THAT(Judge().changes, IsEmpty());
  cores_["vm-2"] = 2.0;
  view_.vm_uuids.erase({"web", "web-2"});
  EXPECT_EQ(Judge().outcome, FollowOutcome::kCapacityMissing);
  EXPECT_THAT(Judge().detail, HasSubstr("web-2"));
}

TEST_F(CapacityFollowerTest, ServersThatTakeNoTrafficAreLeftAlone) {
  ServerInfo third;
  third.name = "web-3";
  third.weight = 100;
  third.initial_weight = 100;
  third.state = ServerState::kDrain;
  view_.backends[0].servers.push_back(third);
  cores_["vm-1"] = 6.0;
  for (const ServerState state : {ServerState::kDrain, ServerState::kMaint}) {
    view_.backends[0].servers[2].state = state;
    EXPECT_THAT(Judge().changes, SizeIs(2));  // and its capacity is not asked for
  }
  view_.backends[0].servers[2].state = ServerState::kReady;
  view_.backends[0].servers[2].weight = 0;
  EXPECT_THAT(Judge().changes, SizeIs(2));
  Server("web-2").state = ServerState::kDrain;
  EXPECT_EQ(Judge().outcome, FollowOutcome::kTooFewServers);
}

TEST_F(CapacityFollowerTest, P19ForeignChangesAreNotFought) {
  cores_["vm-1"] = 6.0;
  view_.drifts.push_back({.drift = {.key = {"web", "web-2"},
                                    .field = "weight",
                                    .desired = "100",
                                    .actual = "50",
                                    .cause = DriftCause::kForeignChange},
                          .noticed_at = absl::UnixEpoch()});
  EXPECT_EQ(Judge().outcome, FollowOutcome::kForeignChange);
  EXPECT_THAT(Judge().changes, IsEmpty());
  view_.drifts[0].drift.field = "address";
  EXPECT_EQ(Judge().outcome, FollowOutcome::kChanged);
}

TEST_F(CapacityFollowerTest, AnOperatorsWeightIsKeptUntilItIsGivenBack) {
  cores_["vm-1"] = 6.0;
  view_.desired[{"web", "web-1"}].weight = {.value = 10, .confirmed_epoch = "1"};
  Server("web-1").weight = 10;
  EXPECT_EQ(Judge().outcome, FollowOutcome::kSetByHand);
  view_.desired[{"web", "web-1"}].weight->value = 100;  // as the plan `balance` does
  Server("web-1").weight = 100;
  EXPECT_EQ(Judge().outcome, FollowOutcome::kChanged);
}

TEST_F(CapacityFollowerTest, SaysWhyNothingCanBeDone) {
  view_.backends[0].has_dynamic_weights = false;
  EXPECT_EQ(Judge().outcome, FollowOutcome::kStaticAlgorithm);
  view_.backends.clear();
  EXPECT_EQ(Judge().outcome, FollowOutcome::kBalancerFailed);
  EXPECT_THAT(Judge().detail, HasSubstr("no backend 'web'"));
  view_.status = absl::UnavailableError("gone");
  EXPECT_EQ(Judge().outcome, FollowOutcome::kBalancerFailed);
}

}  // namespace
}  // namespace cloudscale::lbctl
