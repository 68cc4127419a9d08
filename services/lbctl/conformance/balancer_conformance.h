#pragma once

// What every `Balancer` must do, run against each implementation:
//   INSTANTIATE_TEST_SUITE_P(Fake, BalancerConformanceTest, ::testing::Values(&MakeFakeFixture));
// The fixture's balancer has one backend `web` by roundrobin with servers `web-1` and `web-2`, each
// of initial weight 100, and one backend `fixed` by a static algorithm with server `fixed-1`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"
#include "services/lbctl/balancer.h"
#include "services/lbctl/reconcile.h"

namespace cloudscale::lbctl {

class BalancerFixture {
 public:
  virtual ~BalancerFixture() = default;
  virtual Balancer& balancer() = 0;
  // Starts the balancer anew, as a reload of its configuration does.
  virtual void Restart() = 0;
  // Makes the balancer unreachable for good.
  virtual void Kill() = 0;
};

using MakeBalancerFixture = std::unique_ptr<BalancerFixture> (*)();

class BalancerConformanceTest : public ::testing::TestWithParam<MakeBalancerFixture> {
 protected:
  BalancerConformanceTest() : fixture_(GetParam()()) {}
  Balancer& balancer() { return fixture_->balancer(); }
  ServerInfo Server(const ServerKey& key) {
    const auto state = balancer().Read();
    EXPECT_THAT(state, cloudscale::testing::IsOk());
    const ServerInfo* server = state.ok() ? FindServer(state->backends, key) : nullptr;
    EXPECT_NE(server, nullptr) << key.ToString();
    return server == nullptr ? ServerInfo() : *server;
  }
  bool Has(const ServerKey& key) {
    const auto state = balancer().Read();
    return state.ok() && FindServer(state->backends, key) != nullptr;
  }

  std::unique_ptr<BalancerFixture> fixture_;
  const ServerKey web1_{"web", "web-1"};
  const ServerKey web2_{"web", "web-2"};
};

TEST_P(BalancerConformanceTest, ListsBackendsAndServersInOrder) {
  const auto state = balancer().Read();
  ASSERT_THAT(state, cloudscale::testing::IsOk());
  const std::vector<BackendInfo>* backends = &state->backends;
  ASSERT_THAT(*backends, ::testing::SizeIs(2));
  EXPECT_EQ((*backends)[0].name, "fixed");
  EXPECT_FALSE((*backends)[0].has_dynamic_weights);
  EXPECT_EQ((*backends)[1].name, "web");
  EXPECT_EQ((*backends)[1].algorithm, "roundrobin");
  EXPECT_TRUE((*backends)[1].has_dynamic_weights);
  ASSERT_THAT((*backends)[1].servers, ::testing::SizeIs(2));
  EXPECT_EQ((*backends)[1].servers[0].name, "web-1");
  EXPECT_EQ((*backends)[1].servers[0].weight, 100);
  EXPECT_EQ((*backends)[1].servers[0].initial_weight, 100);
  EXPECT_EQ((*backends)[1].servers[0].state, ServerState::kReady);
}

TEST_P(BalancerConformanceTest, WeightsTakeEffectAndKeepTheInitialOne) {
  for (const int weight : {0, 1, 50, kMaxWeight}) {
    ASSERT_THAT(balancer().SetWeight(web1_, weight), cloudscale::testing::IsOk());
    EXPECT_EQ(Server(web1_).weight, weight);
    EXPECT_EQ(Server(web1_).initial_weight, 100);
    EXPECT_EQ(Server(web2_).weight, 100);
  }
}

TEST_P(BalancerConformanceTest, RefusesImpossibleWeights) {
  using cloudscale::testing::StatusIs;
  EXPECT_THAT(balancer().SetWeight(web1_, kMaxWeight + 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(balancer().SetWeight(web1_, -1), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(balancer().SetWeight({"fixed", "fixed-1"}, 50),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(Server(web1_).weight, 100);
}

TEST_P(BalancerConformanceTest, UnknownServersAndBackendsAreNotFound) {
  using cloudscale::testing::StatusIs;
  for (const ServerKey& key : {ServerKey{"web", "none"}, ServerKey{"none", "web-1"}}) {
    EXPECT_THAT(balancer().SetWeight(key, 1), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(balancer().SetState(key, ServerState::kDrain),
                StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(balancer().SetAddress(key, {"127.0.0.1", 1}),
                StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(balancer().RemoveServer(key), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(balancer().EndSessions(key), StatusIs(absl::StatusCode::kNotFound));
  }
}

TEST_P(BalancerConformanceTest, StatesChangeWithoutTouchingTheWeight) {
  ASSERT_THAT(balancer().SetWeight(web1_, 40), cloudscale::testing::IsOk());
  for (const ServerState state : {ServerState::kDrain, ServerState::kMaint, ServerState::kReady}) {
    ASSERT_THAT(balancer().SetState(web1_, state), cloudscale::testing::IsOk());
    EXPECT_EQ(Server(web1_).state, state) << NameOf(state);
    EXPECT_EQ(Server(web1_).weight, 40) << NameOf(state);
  }
}

TEST_P(BalancerConformanceTest, RepeatedChangesAreTheSameAsOne) {
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(balancer().SetState(web1_, ServerState::kDrain), cloudscale::testing::IsOk());
    ASSERT_THAT(balancer().SetWeight(web1_, 30), cloudscale::testing::IsOk());
    ASSERT_THAT(balancer().SetAddress(web1_, {"127.0.0.9", 81}), cloudscale::testing::IsOk());
  }
  const ServerInfo server = Server(web1_);
  EXPECT_EQ(server.state, ServerState::kDrain);
  EXPECT_EQ(server.weight, 30);
  EXPECT_EQ(server.endpoint, (Endpoint{"127.0.0.9", 81}));
}

TEST_P(BalancerConformanceTest, AddressesChangeAndAPortOfZeroIsKept) {
  ASSERT_THAT(balancer().SetAddress(web1_, {"127.0.0.7", 8099}), cloudscale::testing::IsOk());
  EXPECT_EQ(Server(web1_).endpoint, (Endpoint{"127.0.0.7", 8099}));
  ASSERT_THAT(balancer().SetAddress(web1_, {"127.0.0.8", 0}), cloudscale::testing::IsOk());
  EXPECT_EQ(Server(web1_).endpoint, (Endpoint{"127.0.0.8", 8099}));
}

TEST_P(BalancerConformanceTest, ServersAreAddedReadyAndRemovedFromMaint) {
  using cloudscale::testing::IsOk;
  using cloudscale::testing::StatusIs;
  const ServerKey key{"web", "web-3"};
  const NewServer added{.key = key, .endpoint = {"127.0.0.1", 8123}, .weight = 70};
  ASSERT_THAT(balancer().AddServer(added), IsOk());
  const ServerInfo server = Server(key);
  EXPECT_EQ(server.state, ServerState::kReady);
  EXPECT_EQ(server.weight, 70);
  EXPECT_EQ(server.endpoint, added.endpoint);
  EXPECT_THAT(balancer().AddServer(added), StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(balancer().RemoveServer(key), StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_THAT(balancer().SetState(key, ServerState::kMaint), IsOk());
  ASSERT_THAT(balancer().EndSessions(key), IsOk());
  EXPECT_THAT(balancer().RemoveServer(key), IsOk());
  EXPECT_FALSE(Has(key));
}

TEST_P(BalancerConformanceTest, ARestartIsANewEpochWithTheConfiguredState) {
  using cloudscale::testing::IsOk;
  const auto before = balancer().Read();
  ASSERT_THAT(before, IsOk());
  EXPECT_FALSE(before->info.epoch.empty());
  EXPECT_EQ(balancer().Read()->info.epoch, before->info.epoch);
  ASSERT_THAT(balancer().SetWeight(web1_, 5), IsOk());
  fixture_->Restart();
  const auto after = balancer().Read();
  ASSERT_THAT(after, IsOk());
  EXPECT_NE(after->info.epoch, before->info.epoch);
  EXPECT_EQ(Server(web1_).weight, 100);
}

TEST_P(BalancerConformanceTest, AnUnreachableBalancerIsUnavailable) {
  using cloudscale::testing::StatusIs;
  fixture_->Kill();
  EXPECT_THAT(balancer().Read(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(balancer().SetWeight(web1_, 1), StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace cloudscale::lbctl
