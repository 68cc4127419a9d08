// Weights that follow reported capacity, over the contract.
#include "absl/strings/str_cat.h"
#include "services/lbctl/rpc/balancer_service_fixture.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class CapacityRpcTest : public BalancerServiceTest {
 protected:
  CapacityRpcTest() {
    auto* mapping = config_.add_servers();
    mapping->set_backend("web");
    mapping->set_server("web-2");
    mapping->set_vm_uuid("vm-2");
    config_.add_follow_capacity()->set_backend("web");
    TearServerDown();
    StartServer();
  }

  // One host with these VMs.
  v1::ReportCapacityResponse Report(const std::string& host,
                                    const std::map<std::string, double>& cores,
                                    const std::map<std::string, double>& coming = {}) {
    v1::ReportCapacityRequest request;
    request.set_host_id(host);
    for (const auto& [uuid, granted] : cores) {
      auto* vm = request.add_vms();
      vm->set_vm_uuid(uuid);
      vm->set_granted_cores(granted);
      if (coming.contains(uuid)) {
        vm->set_coming_cores(coming.at(uuid));
      }
    }
    v1::ReportCapacityResponse response;
    EXPECT_THAT(Call(&Stub::ReportCapacity, request, &response), IsOk());
    return response;
  }
  v1::FollowOutcome Outcome() {
    v1::GetStatusResponse status;
    EXPECT_THAT(Call(&Stub::GetStatus, v1::GetStatusRequest(), &status), IsOk());
    EXPECT_THAT(status.capacity_follows(), SizeIs(1));
    return status.capacity_follows(0).outcome();
  }
};

TEST_F(CapacityRpcTest, ReportsOfTwoHostsMoveTheWeights) {
  v1::ReportCapacityResponse first = Report("host-a", {{"vm-1", 3.0}, {"other", 1.0}});
  EXPECT_THAT(first.followed_vm_uuids(), ElementsAre("vm-1"));
  EXPECT_THAT(first.changes(), SizeIs(0));
  ASSERT_THAT(first.follows(), SizeIs(1));
  EXPECT_EQ(first.follows(0).outcome(), v1::FOLLOW_OUTCOME_CAPACITY_MISSING);
  EXPECT_THAT(first.follows(0).detail(), HasSubstr("web-2"));

  v1::ReportCapacityResponse second = Report("host-b", {{"vm-2", 1.0}});
  ASSERT_THAT(second.changes(), SizeIs(2));
  EXPECT_EQ(second.changes(0).weight_after(), 255);
  EXPECT_EQ(second.changes(1).weight_after(), 85);
  EXPECT_EQ(Get("web-1").weight(), 255);
  EXPECT_EQ(Get("web-2").desired().weight(), 85);
  EXPECT_EQ(Outcome(), v1::FOLLOW_OUTCOME_CHANGED);
  EXPECT_THAT(Report("host-b", {{"vm-2", 1.0}}).changes(), SizeIs(0));
  EXPECT_EQ(Outcome(), v1::FOLLOW_OUTCOME_WITHIN_DEAD_BAND);
}

TEST_F(CapacityRpcTest, AComingShrinkMovesTheLoadBeforeItHappens) {
  Report("host-a", {{"vm-1", 4.0}, {"vm-2", 4.0}});
  EXPECT_EQ(Get("web-1").weight(), 100);
  EXPECT_THAT(Report("host-a", {{"vm-1", 4.0}, {"vm-2", 4.0}}, {{"vm-1", 2.0}}).changes(),
              SizeIs(2));
  EXPECT_EQ(Get("web-1").weight() * 2, Get("web-2").weight());
}

TEST_F(CapacityRpcTest, AChangeThatCameTooSoonIsMadeLater) {
  Report("host-a", {{"vm-1", 2.0}, {"vm-2", 1.0}});
  EXPECT_EQ(Report("host-a", {{"vm-1", 1.0}, {"vm-2", 1.0}}).follows(0).outcome(),
            v1::FOLLOW_OUTCOME_TOO_SOON);
  clock_.Advance(absl::Seconds(10));
  Poll();
  for (int i = 0; i < 400 && Get("web-1").weight() != Get("web-2").weight(); ++i) {
    clock_.Advance(absl::Seconds(1));
    Poll();
  }
  EXPECT_EQ(Get("web-1").weight(), Get("web-2").weight());
}

TEST_F(CapacityRpcTest, P1AReportThatRanOutLeavesTheWeights) {
  Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}});
  clock_.Advance(absl::Seconds(31));
  Poll();
  EXPECT_EQ(Report("host-b", {{"vm-2", 3.0}}).follows(0).outcome(),
            v1::FOLLOW_OUTCOME_CAPACITY_MISSING);
  EXPECT_EQ(Get("web-1").weight(), 255);
  EXPECT_EQ(Get("web-2").weight(), 85);
}

TEST_F(CapacityRpcTest, P19APlanAndAForeignChangeAreKept) {
  auto plan = On<v1::ApplyPlanRequest>();
  plan.set_plan(v1::PLAN_SHIFT_AWAY);
  v1::ApplyPlanResponse applied;
  ASSERT_THAT(Call(&Stub::ApplyPlan, plan, &applied), IsOk());
  Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}});
  EXPECT_EQ(Outcome(), v1::FOLLOW_OUTCOME_SET_BY_HAND);
  EXPECT_EQ(Get("web-1").weight(), 10);
  auto balance = On<v1::ApplyPlanRequest>("");
  balance.set_plan(v1::PLAN_BALANCE);
  ASSERT_THAT(Call(&Stub::ApplyPlan, balance, &applied), IsOk());
  Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}});
  EXPECT_EQ(Get("web-1").weight(), 255);
  ASSERT_THAT(balancer_.SetWeight({"web", "web-1"}, 7), IsOk());
  Poll();
  clock_.Advance(absl::Seconds(20));
  Report("host-a", {{"vm-1", 1.0}, {"vm-2", 1.0}});
  EXPECT_EQ(Outcome(), v1::FOLLOW_OUTCOME_FOREIGN_CHANGE);
  EXPECT_EQ(Get("web-1").weight(), 7);
}

TEST_F(CapacityRpcTest, WhoSetAWeightIsKnownAfterARestart) {
  Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}});
  TearServerDown();
  StartServer();
  Report("host-a", {{"vm-1", 1.0}, {"vm-2", 1.0}});
  EXPECT_EQ(Outcome(), v1::FOLLOW_OUTCOME_CHANGED);
  EXPECT_EQ(Get("web-1").weight(), Get("web-2").weight());
}

TEST_F(CapacityRpcTest, AnUnreachableBalancerIsTriedAgainAndTheReportKept) {
  balancer_.SetReachable(false);
  EXPECT_EQ(Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}}).follows(0).outcome(),
            v1::FOLLOW_OUTCOME_BALANCER_FAILED);
  balancer_.SetReachable(true);
  for (int i = 0; i < 25 && Outcome() != v1::FOLLOW_OUTCOME_CHANGED; ++i) {
    clock_.Advance(absl::Seconds(1));
    Poll();
  }
  EXPECT_EQ(Get("web-1").weight(), 255);
}

TEST_F(CapacityRpcTest, ARefusedWeightUndoesTheOthers) {
  balancer_.Refuse(absl::UnavailableError("busy"), 1);
  EXPECT_EQ(Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}}).follows(0).outcome(),
            v1::FOLLOW_OUTCOME_BALANCER_FAILED);
  EXPECT_EQ(Get("web-1").weight(), 100);
  EXPECT_EQ(Get("web-2").weight(), 100);
  EXPECT_EQ(Report("host-a", {{"vm-1", 3.0}, {"vm-2", 1.0}}).follows(0).outcome(),
            v1::FOLLOW_OUTCOME_TOO_SOON)
      << "tries have time between them, too";
}

TEST_F(CapacityRpcTest, P14BadReportsNameFieldValueAndRange) {
  v1::ReportCapacityRequest request;
  request.add_vms()->set_vm_uuid("vm-1");
  request.add_vms()->set_vm_uuid("vm-1");
  request.mutable_vms(1)->set_granted_cores(std::numeric_limits<double>::quiet_NaN());
  request.mutable_vms(1)->set_coming_cores(-1.0);
  request.add_vms()->set_granted_cores(1e9);
  request.mutable_time_to_live()->set_seconds(4000);
  v1::ReportCapacityResponse response;
  const absl::Status status = Call(&Stub::ReportCapacity, request, &response);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  for (const char* field :
       {"host_id", "vms[0].granted_cores", "vms[1].vm_uuid", "vms[1].granted_cores",
        "vms[1].coming_cores", "vms[2].vm_uuid", "vms[2].granted_cores", "time_to_live"}) {
    EXPECT_THAT(status.message(), HasSubstr(field));
  }
  v1::ReportCapacityRequest many;
  many.set_host_id("host-a");
  for (int i = 0; i < 10'001; ++i) {
    auto* vm = many.add_vms();
    vm->set_vm_uuid(absl::StrCat(i));
    vm->set_granted_cores(1.0);
  }
  EXPECT_THAT(Call(&Stub::ReportCapacity, many, &response),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10001 VMs")));
}

TEST(LbctlConfigTest, P14NamesFaultsOfFollowAgentsAndMessages) {
  config::v1::LbctlConfig config;
  config.mutable_fake();
  for (int i = 0; i < 2; ++i) {
    auto* follow = config.add_follow_capacity();
    follow->set_backend("web");
    follow->set_dead_band_ratio(2);
    follow->set_min_weight_ratio(-1);
    follow->mutable_min_interval()->set_seconds(4000);
  }
  auto* agent = config.mutable_agent_check()->add_listeners();
  agent->set_listen_address("localhost:1");
  agent->set_backend("web");
  auto* messages = config.mutable_messages();
  messages->set_listen_address("127.0.0.1");
  messages->set_max_messages_per_minute(-1);
  messages->add_allowed_sources("there");
  messages->add_messages()->set_text(" Balance");
  auto* message = messages->add_messages();
  message->set_text("Load");
  message->set_plan(v1::PLAN_SHIFT_AWAY);
  message->set_backend("web");
  message->set_remaining_ratio(3);
  Violations violations;
  ValidateLbctlConfig(config, &violations);
  const std::string said(violations.ToStatus().message());
  for (const char* field :
       {"follow_capacity[0].dead_band_ratio", "follow_capacity[0].min_weight_ratio",
        "follow_capacity[0].min_interval", "follow_capacity[1].backend",
        "agent_check.listeners[0].listen_address", "agent_check.listeners[0]",
        "messages.listen_address", "messages.max_messages_per_minute",
        "messages.allowed_sources[0]", "messages.messages[0].text", "messages.messages[0].plan",
        "messages.messages[0].backend", "messages.messages[1].server",
        "messages.messages[1].remaining_ratio"}) {
    EXPECT_THAT(said, HasSubstr(field));
  }
}

}  // namespace
}  // namespace cloudscale::lbctl
