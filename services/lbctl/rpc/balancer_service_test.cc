// The contract over a real server on a port chosen by the system.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "services/lbctl/rpc/balancer_service_fixture.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST_F(BalancerServiceTest, ReadsStatusBackendsServersAndStats) {
  v1::GetStatusResponse status;
  ASSERT_THAT(Call(&Stub::GetStatus, v1::GetStatusRequest(), &status), IsOk());
  EXPECT_EQ(status.balancer().health(), common::v1::LINK_HEALTH_UP);
  EXPECT_EQ(status.balancer_version(), "fake-1");
  EXPECT_EQ(status.capabilities(0), "dynamic_servers");

  v1::ListBackendsRequest backends;
  backends.set_page_size(1);
  v1::ListBackendsResponse page;
  ASSERT_THAT(Call(&Stub::ListBackends, backends, &page), IsOk());
  ASSERT_THAT(page.backends(), SizeIs(1));
  EXPECT_EQ(page.backends(0).name(), "fixed");
  backends.set_page_token(page.next_page_token());
  ASSERT_THAT(Call(&Stub::ListBackends, backends, &page), IsOk());
  EXPECT_EQ(page.backends(0).name(), "web");
  EXPECT_EQ(page.next_page_token(), "");

  v1::ListServersRequest servers;
  servers.set_page_size(2);
  v1::ListServersResponse listed;
  ASSERT_THAT(Call(&Stub::ListServers, servers, &listed), IsOk());
  ASSERT_THAT(listed.servers(), SizeIs(2));
  servers.set_page_token(listed.next_page_token());
  ASSERT_THAT(Call(&Stub::ListServers, servers, &listed), IsOk());
  ASSERT_THAT(listed.servers(), SizeIs(1));
  EXPECT_EQ(listed.servers(0).name(), "web-2");

  EXPECT_EQ(Get("web-1").vm_uuid(), "vm-1");
  EXPECT_EQ(Get("web-1").stats().current_sessions(), 10);
  v1::GetStatsRequest stats;
  stats.set_backend("none");
  v1::GetStatsResponse got;
  EXPECT_THAT(Call(&Stub::GetStats, stats, &got), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BalancerServiceTest, WeightsAreSetAbsoluteAndInPercent) {
  ASSERT_THAT(SetWeight(10), IsOk());
  EXPECT_EQ(Get("web-1").weight(), 10);
  EXPECT_EQ(Get("web-1").desired().weight(), 10);
  auto request = On<v1::SetWeightRequest>();
  request.set_initial_percent(50);
  request.set_reason("half");
  v1::SetWeightResponse response;
  ASSERT_THAT(Call(&Stub::SetWeight, request, &response), IsOk());
  EXPECT_EQ(response.previous_weight(), 10);
  EXPECT_EQ(response.server().weight(), 50);
  EXPECT_EQ(response.server().desired().reason(), "half");
  ASSERT_THAT(SetWeight(99, /*validate_only=*/true), IsOk());
  EXPECT_EQ(Get("web-1").weight(), 50);
}

TEST_F(BalancerServiceTest, P14BadRequestsNameFieldValueAndRange) {
  v1::SetWeightRequest request;
  request.set_backend("web; disable server web/web-2");
  request.set_absolute(257);
  request.set_request_id("x");
  v1::SetWeightResponse response;
  absl::Status status = Call(&Stub::SetWeight, request, &response);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  const auto faults = Violations::FromStatus(status);
  ASSERT_THAT(faults, SizeIs(4));
  EXPECT_EQ(faults[2].field, "absolute");
  EXPECT_EQ(faults[2].value, "257");
  EXPECT_EQ(faults[2].allowed, "0 to 256");

  auto address = On<v1::SetServerAddressRequest>();
  address.set_address("example");
  address.set_port(70000);
  v1::SetServerAddressResponse addressed;
  EXPECT_THAT(Violations::FromStatus(Call(&Stub::SetServerAddress, address, &addressed)),
              SizeIs(2));
  auto state = On<v1::SetServerStateRequest>();
  v1::SetServerStateResponse stated;
  EXPECT_THAT(Call(&Stub::SetServerState, state, &stated),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("SERVER_STATE_READY")));
  v1::ReconcileRequest reconcile;
  reconcile.set_server("web-1");
  v1::ReconcileResponse reconciled;
  EXPECT_THAT(Violations::FromStatus(Call(&Stub::Reconcile, reconcile, &reconciled)), SizeIs(3));
  auto plan = On<v1::ApplyPlanRequest>("");
  plan.set_plan(v1::PLAN_SHIFT_AWAY);
  plan.set_remaining_ratio(2);
  v1::ApplyPlanResponse planned;
  EXPECT_THAT(Violations::FromStatus(Call(&Stub::ApplyPlan, plan, &planned)), SizeIs(2));
  auto drain = On<v1::DrainServerRequest>();
  drain.mutable_timeout()->set_seconds(100);
  v1::DrainServerResponse drained;
  EXPECT_THAT(Call(&Stub::DrainServer, drain, &drained),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the call's deadline")));
}

TEST_F(BalancerServiceTest, UnknownServersNameThoseThatExist) {
  v1::GetServerRequest request;
  request.set_backend("web");
  request.set_server("web-9");
  v1::GetServerResponse response;
  EXPECT_THAT(Call(&Stub::GetServer, request, &response),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("web-1, web-2")));
}

TEST_F(BalancerServiceTest, ARepeatedRequestIdChangesNothingTwice) {
  auto request = On<v1::SetWeightRequest>();
  request.set_absolute(10);
  v1::SetWeightResponse first, second;
  ASSERT_THAT(Call(&Stub::SetWeight, request, &first), IsOk());
  ASSERT_THAT(SetWeight(70), IsOk());
  const int64_t changes = balancer_.change_count();
  ASSERT_THAT(Call(&Stub::SetWeight, request, &second), IsOk());
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
  EXPECT_EQ(balancer_.change_count(), changes);
  EXPECT_EQ(Get("web-1").weight(), 70);
}

TEST_F(BalancerServiceTest, StatesAddressesAndServersChange) {
  auto state = On<v1::SetServerStateRequest>();
  state.set_state(v1::SERVER_STATE_MAINT);
  v1::SetServerStateResponse stated;
  ASSERT_THAT(Call(&Stub::SetServerState, state, &stated), IsOk());
  EXPECT_EQ(stated.previous_state(), v1::SERVER_STATE_READY);
  EXPECT_EQ(stated.server().state(), v1::SERVER_STATE_MAINT);

  auto address = On<v1::SetServerAddressRequest>();
  address.set_address("0:0::1");
  address.set_port(99);
  v1::SetServerAddressResponse addressed;
  ASSERT_THAT(Call(&Stub::SetServerAddress, address, &addressed), IsOk());
  EXPECT_EQ(addressed.server().address(), "::1");
  EXPECT_EQ(addressed.previous_port(), 8080);

  auto add = On<v1::AddServerRequest>("web-3");
  add.set_address("127.0.0.1");
  add.set_port(81);
  add.set_vm_uuid("vm-3");
  v1::AddServerResponse added;
  ASSERT_THAT(Call(&Stub::AddServer, add, &added), IsOk());
  EXPECT_EQ(added.server().state(), v1::SERVER_STATE_READY);
  EXPECT_TRUE(added.server().is_dynamic());
  auto remove = On<v1::RemoveServerRequest>("web-3");
  v1::RemoveServerResponse removed;
  EXPECT_THAT(Call(&Stub::RemoveServer, remove, &removed),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  auto maint = On<v1::SetServerStateRequest>("web-3");
  maint.set_state(v1::SERVER_STATE_MAINT);
  ASSERT_THAT(Call(&Stub::SetServerState, maint, &stated), IsOk());
  clock_.Advance(absl::Seconds(20));
  remove = On<v1::RemoveServerRequest>("web-3");
  EXPECT_THAT(Call(&Stub::RemoveServer, remove, &removed), IsOk());
}

TEST_F(BalancerServiceTest, ADrainWaitsForTheLastSession) {
  auto request = On<v1::DrainServerRequest>();
  request.mutable_timeout()->set_seconds(15);
  v1::DrainServerResponse response;
  std::jthread time([this](std::stop_token stop) {
    const auto real = MakeRealClock();
    while (real->SleepUntil(real->MonoNow() + absl::Milliseconds(5), stop)) {
      clock_.Advance(absl::Milliseconds(200));
    }
  });
  ASSERT_THAT(Call(&Stub::DrainServer, request, &response), IsOk());
  EXPECT_TRUE(response.is_drained());
  EXPECT_EQ(response.remaining_sessions(), 0);
  EXPECT_GE(response.elapsed().seconds(), 9) << "sessions last 10 s";
  EXPECT_EQ(response.server().state(), v1::SERVER_STATE_DRAIN);
}

TEST_F(BalancerServiceTest, ADrainEndsAtItsBoundAndForceEndsTheSessions) {
  std::jthread time([this](std::stop_token stop) {
    const auto real = MakeRealClock();
    while (real->SleepUntil(real->MonoNow() + absl::Milliseconds(5), stop)) {
      clock_.Advance(absl::Milliseconds(20));
    }
  });
  auto request = On<v1::DrainServerRequest>();
  request.mutable_timeout()->set_seconds(1);
  v1::DrainServerResponse response;
  ASSERT_THAT(Call(&Stub::DrainServer, request, &response), IsOk());
  EXPECT_FALSE(response.is_drained());
  EXPECT_GT(response.remaining_sessions(), 0);
  request = On<v1::DrainServerRequest>();
  request.mutable_timeout()->set_seconds(1);
  request.set_force(true);
  ASSERT_THAT(Call(&Stub::DrainServer, request, &response), IsOk());
  EXPECT_TRUE(response.is_drained());
}

TEST_F(BalancerServiceTest, PlansAreShownAndApplied) {
  auto plan = On<v1::ApplyPlanRequest>();
  plan.set_plan(v1::PLAN_SHIFT_AWAY);
  plan.set_validate_only(true);
  v1::ApplyPlanResponse response;
  ASSERT_THAT(Call(&Stub::ApplyPlan, plan, &response), IsOk());
  ASSERT_THAT(response.changes(), SizeIs(1));
  EXPECT_EQ(response.changes(0).weight_after(), 10);
  EXPECT_EQ(Get("web-1").weight(), 100);
  plan.set_validate_only(false);
  ASSERT_THAT(Call(&Stub::ApplyPlan, plan, &response), IsOk());
  EXPECT_EQ(Get("web-1").weight(), 10);
  plan = On<v1::ApplyPlanRequest>("");
  plan.set_plan(v1::PLAN_BALANCE);
  ASSERT_THAT(Call(&Stub::ApplyPlan, plan, &response), IsOk());
  EXPECT_EQ(Get("web-1").weight(), 100);
  plan = On<v1::ApplyPlanRequest>("");
  plan.set_plan(v1::PLAN_PROPORTIONAL);
  (*plan.mutable_capacity_cores())["web-1"] = 3.0;
  (*plan.mutable_capacity_cores())["web-2"] = 1.5;
  ASSERT_THAT(Call(&Stub::ApplyPlan, plan, &response), IsOk());
  EXPECT_EQ(Get("web-1").weight(), 256);
  EXPECT_EQ(Get("web-2").weight(), 128);
}

TEST_F(BalancerServiceTest, P19ForeignChangesAreListedAndSettledEitherWay) {
  ASSERT_THAT(SetWeight(10), IsOk());
  for (const auto choice :
       {v1::RECONCILE_CHOICE_APPLY_DESIRED, v1::RECONCILE_CHOICE_ACCEPT_ACTUAL}) {
    ASSERT_THAT(balancer_.SetWeight({"web", "web-1"}, 77), IsOk());
    Poll();
    EXPECT_EQ(DriftCount(), 1);
    EXPECT_EQ(Get("web-1").weight(), 77);
    auto request = On<v1::ReconcileRequest>();
    request.set_choice(choice);
    request.set_validate_only(true);
    v1::ReconcileResponse response;
    ASSERT_THAT(Call(&Stub::Reconcile, request, &response), IsOk());
    EXPECT_THAT(response.remaining(), SizeIs(0));
    EXPECT_EQ(DriftCount(), 1);
    request.set_validate_only(false);
    ASSERT_THAT(Call(&Stub::Reconcile, request, &response), IsOk());
    EXPECT_EQ(DriftCount(), 0);
    EXPECT_EQ(Get("web-1").weight(), choice == v1::RECONCILE_CHOICE_APPLY_DESIRED ? 10 : 77);
  }
}

TEST_F(BalancerServiceTest, WantedStateSurvivesARestartOfBothSides) {
  ASSERT_THAT(SetWeight(10), IsOk());
  TearServerDown();
  balancer_.Restart();
  StartServer();
  EXPECT_EQ(Get("web-1").weight(), 10);
  EXPECT_EQ(DriftCount(), 0);
  TearServerDown();
  ASSERT_THAT(balancer_.SetWeight({"web", "web-1"}, 77), IsOk());
  StartServer();
  EXPECT_EQ(Get("web-1").weight(), 77) << "changed by somebody else meanwhile";
  EXPECT_EQ(DriftCount(), 1);
}

TEST_F(BalancerServiceTest, AnUnreachableBalancerIsSaidSo) {
  balancer_.SetReachable(false);
  EXPECT_THAT(SetWeight(10), StatusIs(absl::StatusCode::kUnavailable));
  v1::GetStatsResponse stats;
  EXPECT_THAT(Call(&Stub::GetStats, v1::GetStatsRequest(), &stats),
              StatusIs(absl::StatusCode::kUnavailable));
  v1::GetStatusResponse status;
  ASSERT_THAT(Call(&Stub::GetStatus, v1::GetStatusRequest(), &status), IsOk());
  EXPECT_EQ(status.balancer().health(), common::v1::LINK_HEALTH_CONNECTING);
  EXPECT_THAT(component_->Readiness(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(BalancerServiceTest, StatsStreamAndEndWhenTheServiceStops) {
  v1::WatchStatsRequest request;
  request.set_backend("web");
  grpc::ClientContext context;
  auto reader = stub_->WatchStats(&context, request);
  reader->WaitForInitialMetadata();
  clock_.Advance(absl::Seconds(1));
  v1::WatchStatsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  ASSERT_THAT(message.backends(), SizeIs(1));
  EXPECT_EQ(message.backends(0).name(), "web");
  const int64_t sequence = message.sequence();
  clock_.Advance(absl::Seconds(1));
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.sequence(), sequence + 1);
  component_->Stop();
  while (reader->Read(&message)) {
  }
  EXPECT_THAT(rpc::FromGrpcStatus(reader->Finish()), StatusIs(absl::StatusCode::kUnavailable));

  v1::WatchStatsRequest bad;
  bad.mutable_period()->set_seconds(100);
  grpc::ClientContext bad_context;
  auto refused = stub_->WatchStats(&bad_context, bad);
  EXPECT_FALSE(refused->Read(&message));
  EXPECT_THAT(rpc::FromGrpcStatus(refused->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("period")));
}

TEST(LbctlConfigTest, P14NamesAllFaultsAtOnce) {
  config::v1::LbctlConfig config;
  config.mutable_fake()->add_backends();
  config.mutable_poll_period()->set_seconds(100);
  config.add_servers();
  Violations violations;
  ValidateLbctlConfig(config, &violations);
  EXPECT_THAT(violations.kept(), SizeIs(6)) << violations.ToStatus();
  config::v1::LbctlConfig none;
  Violations missing;
  ValidateLbctlConfig(none, &missing);
  EXPECT_THAT(missing.kept(), SizeIs(1));
}

}  // namespace
}  // namespace cloudscale::lbctl
