#include "services/lbctl/agent_answer.h"

#include <gtest/gtest.h>

namespace cloudscale::lbctl {
namespace {

const ServerKey kKey{"web", "web-1"};

BalancerView ViewOf(int initial_weight) {
  BalancerView view;
  ServerInfo server;
  server.name = kKey.server;
  server.initial_weight = initial_weight;
  BackendInfo backend;
  backend.name = kKey.backend;
  backend.servers = {server};
  view.backends = {backend};
  return view;
}

// What HAProxy makes of it: initial weight times per cent, cut off.
int WeightAtHaproxy(const std::string& answer, int initial_weight) {
  return initial_weight * std::stoi(answer) / 100;
}

TEST(AgentAnswerTest, SaysNothingWhenNothingIsWanted) {
  EXPECT_EQ(AgentAnswer(ViewOf(100), kKey), "\n");
  EXPECT_EQ(AgentAnswer(ViewOf(100), {"web", "other"}), "\n");
}

TEST(AgentAnswerTest, TellsStateAndWeight) {
  BalancerView view = ViewOf(100);
  view.desired[kKey].weight = {.value = 75, .confirmed_epoch = "1"};
  EXPECT_EQ(AgentAnswer(view, kKey), "75%\n");
  view.desired[kKey].state = {.value = ServerState::kReady, .confirmed_epoch = "1"};
  EXPECT_EQ(AgentAnswer(view, kKey), "ready 75%\n");
  view.desired[kKey].state->value = ServerState::kDrain;
  EXPECT_EQ(AgentAnswer(view, kKey), "drain 75%\n");
  view.desired[kKey].weight.reset();
  view.desired[kKey].state->value = ServerState::kMaint;
  EXPECT_EQ(AgentAnswer(view, kKey), "maint\n");
}

TEST(AgentAnswerTest, WeightsArriveExactlyUpToAnInitialWeightOf100) {
  for (const int initial : {1, 3, 7, 10, 64, 99, 100}) {
    for (int weight = 0; weight <= kMaxWeight; ++weight) {
      BalancerView view = ViewOf(initial);
      view.desired[kKey].weight = {.value = weight, .confirmed_epoch = "1"};
      EXPECT_EQ(WeightAtHaproxy(AgentAnswer(view, kKey), initial), weight) << initial;
    }
  }
}

TEST(AgentAnswerTest, DoesNotOverruleSomebodyElse) {
  BalancerView view = ViewOf(100);
  view.desired[kKey].weight = {.value = 75, .confirmed_epoch = "1"};
  view.desired[kKey].state = {.value = ServerState::kReady, .confirmed_epoch = "1"};
  view.drifts.push_back({.drift = {.key = kKey,
                                   .field = "weight",
                                   .desired = "",
                                   .actual = "",
                                   .cause = DriftCause::kForeignChange},
                         .noticed_at = absl::UnixEpoch()});
  EXPECT_EQ(AgentAnswer(view, kKey), "ready\n");
  view.drifts[0].drift.field = "state";
  EXPECT_EQ(AgentAnswer(view, kKey), "75%\n");
  view.drifts[0].drift.cause = DriftCause::kReload;
  EXPECT_EQ(AgentAnswer(view, kKey), "ready 75%\n");
}

TEST(AgentAnswerTest, AServerWithoutInitialWeightHasNoPercent) {
  BalancerView view = ViewOf(0);
  view.desired[kKey].weight = {.value = 75, .confirmed_epoch = "1"};
  EXPECT_EQ(AgentAnswer(view, kKey), "\n");
}

}  // namespace
}  // namespace cloudscale::lbctl
