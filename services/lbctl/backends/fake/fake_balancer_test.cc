#include "services/lbctl/backends/fake/fake_balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "services/lbctl/conformance/balancer_conformance.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;

std::vector<FakeBalancer::BackendSpec> Specs() {
  FakeBalancer::BackendSpec web;
  web.name = "web";
  web.servers = {"web-1", "web-2"};
  FakeBalancer::BackendSpec fixed;
  fixed.name = "fixed";
  fixed.servers = {"fixed-1"};
  fixed.algorithm = "static-rr";
  return {web, fixed};
}

class FakeFixture final : public BalancerFixture {
 public:
  Balancer& balancer() override { return balancer_; }
  void Restart() override { balancer_.Restart(); }
  void Kill() override { balancer_.SetReachable(false); }

 private:
  SimClock clock_;
  FakeBalancer balancer_{clock_, Specs()};
};

std::unique_ptr<BalancerFixture> MakeFakeFixture() { return std::make_unique<FakeFixture>(); }

INSTANTIATE_TEST_SUITE_P(Fake, BalancerConformanceTest, ::testing::Values(&MakeFakeFixture));

class FakeBalancerTest : public ::testing::Test {
 protected:
  int64_t Sessions(const std::string& server) {
    return FindServer(balancer_.Read()->backends, {"web", server})->stats.current_sessions;
  }
  SimClock clock_;
  FakeBalancer balancer_{clock_, Specs()};
};

TEST_F(FakeBalancerTest, SessionsFollowTheWeights) {
  EXPECT_EQ(Sessions("web-1"), 10);
  ASSERT_THAT(balancer_.SetWeight({"web", "web-1"}, 25), IsOk());
  EXPECT_EQ(Sessions("web-1"), 4);
  EXPECT_EQ(Sessions("web-2"), 16);
}

TEST_F(FakeBalancerTest, ADrainedServerLosesItsSessionsOverTime) {
  ASSERT_THAT(balancer_.SetState({"web", "web-1"}, ServerState::kDrain), IsOk());
  EXPECT_EQ(Sessions("web-1"), 10);
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Sessions("web-1"), 5);
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Sessions("web-1"), 0);
  EXPECT_EQ(Sessions("web-2"), 20);
}

TEST_F(FakeBalancerTest, RefusesAsOftenAsToldAndThenNoMore) {
  balancer_.Refuse(absl::InternalError("no"), 1);
  EXPECT_FALSE(balancer_.SetWeight({"web", "web-1"}, 1).ok());
  EXPECT_TRUE(balancer_.SetWeight({"web", "web-1"}, 1).ok());
  EXPECT_EQ(balancer_.change_count(), 1);
}

TEST_F(FakeBalancerTest, CountersOnlyGrowUntilARestart) {
  clock_.Advance(absl::Seconds(100));
  const auto before = balancer_.Read()->backends;
  EXPECT_EQ(FindServer(before, {"web", "web-1"})->stats.total_sessions, 100);
  balancer_.Restart();
  EXPECT_EQ(FindServer(balancer_.Read()->backends, {"web", "web-1"})->stats.total_sessions, 0);
}

}  // namespace
}  // namespace cloudscale::lbctl
