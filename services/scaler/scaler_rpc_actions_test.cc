// What the scaler does over the wire, and what it tells of it: actions, explanations, streams.
#include <map>
#include <string>
#include <vector>

#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/predictor/v1/predictor_service.pb.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/scaler/testing/scaler_rpc_fixture.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::ScalerRpcTest;
using ::cloudscale::testing::StatusIs;

namespace cv1 = cloudscale::common::v1;
namespace pv1 = cloudscale::predictor::v1;

TEST_F(ScalerRpcTest, ActsJournalsAndExplains) {
  StartScaler();
  Steps(8, 1.0);
  EXPECT_LT(CapOf("vm-a"), 2.1);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(Call(&Scaler::ListActions, v1::ListActionsRequest(), &actions));
  ASSERT_GT(actions.actions_size(), 0);
  EXPECT_EQ(actions.actions(0).state(), v1::ACTION_STATE_SUCCEEDED);
  EXPECT_EQ(actions.actions(0).stage(), v1::JOURNAL_STAGE_DONE);

  v1::ExplainVmRequest why;
  why.set_vm_uuid("vm-a");
  v1::ExplainVmResponse because;
  CS_ASSERT_OK(Call(&Scaler::ExplainVm, why, &because));
  EXPECT_EQ(because.decisions_size(), 2);
  EXPECT_EQ(because.forecasts_size(), 1);
  EXPECT_GT(because.recent_actions_size(), 0);
  EXPECT_GT(because.policy().sources_size(), 5);
  EXPECT_FALSE(because.decisions(0).reasons().empty());

  why.set_vm_uuid("ghost");
  EXPECT_THAT(Call(&Scaler::ExplainVm, why, &because), StatusIs(absl::StatusCode::kNotFound));

  const v1::GetStatusResponse status = Status();
  EXPECT_EQ(status.mode(), v1::MODE_AUTO);
  EXPECT_EQ(status.totals().vm_count(), 2);
  EXPECT_EQ(status.totals().managed_vm_count(), 2);
  EXPECT_FALSE(status.is_fail_static());
  CS_EXPECT_OK(component_->Readiness());
}

TEST_F(ScalerRpcTest, P11NewInstallRecommendsAndApprovedActionsRun) {
  config_.clear_mode();
  StartScaler();
  Steps(6, 1.0);
  EXPECT_EQ(CallCount(), 0u);
  v1::ListActionsRequest pending;
  pending.add_states(v1::ACTION_STATE_PENDING);
  pending.set_vm_uuid("vm-a");
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(Call(&Scaler::ListActions, pending, &actions));
  ASSERT_EQ(actions.actions_size(), 1);
  const v1::Action proposal = actions.actions(0);

  v1::ApproveActionRequest approve;
  approve.set_action_id(proposal.action_id());
  approve.set_request_id(NextId());
  approve.set_etag("wrong");
  v1::ApproveActionResponse approved;
  EXPECT_THAT(Call(&Scaler::ApproveAction, approve, &approved),
              StatusIs(absl::StatusCode::kAborted));
  approve.set_etag(proposal.etag());
  CS_ASSERT_OK(Call(&Scaler::ApproveAction, approve, &approved));
  EXPECT_EQ(approved.action().state(), v1::ACTION_STATE_SUCCEEDED);
  EXPECT_EQ(CapOf("vm-a"), proposal.target().cpu_cap_cores());
  // A repeat with the same id answers the same and does nothing.
  const size_t calls = CallCount();
  v1::ApproveActionResponse again;
  CS_ASSERT_OK(Call(&Scaler::ApproveAction, approve, &again));
  EXPECT_EQ(again.SerializeAsString(), approved.SerializeAsString());
  EXPECT_EQ(CallCount(), calls);

  v1::UndoActionRequest undo;
  undo.set_action_id(proposal.action_id());
  undo.set_request_id(NextId());
  v1::UndoActionResponse undone;
  CS_ASSERT_OK(Call(&Scaler::UndoAction, undo, &undone));
  EXPECT_EQ(CapOf("vm-a"), 4.0);
}

TEST_F(ScalerRpcTest, SkippedActionIsGone) {
  config_.clear_mode();
  StartScaler();
  Steps(4, 1.0);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(Call(&Scaler::ListActions, v1::ListActionsRequest(), &actions));
  ASSERT_GT(actions.actions_size(), 0);
  v1::SkipActionRequest skip;
  skip.set_action_id(actions.actions(0).action_id());
  skip.set_request_id(NextId());
  v1::SkipActionResponse skipped;
  CS_ASSERT_OK(Call(&Scaler::SkipAction, skip, &skipped));
  EXPECT_EQ(skipped.action().state(), v1::ACTION_STATE_SKIPPED);
  skip.set_request_id(NextId());
  EXPECT_THAT(Call(&Scaler::SkipAction, skip, &skipped),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ScalerRpcTest, P16RestoreOriginalsPutsSizesBackAndStopsActing) {
  StartScaler();
  Steps(8, 1.0);
  ASSERT_NE(CapOf("vm-a"), 4.0);
  v1::RestoreOriginalsRequest in;
  in.set_request_id(NextId());
  v1::RestoreOriginalsResponse out;
  CS_ASSERT_OK(Call(&Scaler::RestoreOriginals, in, &out));
  EXPECT_EQ(out.actions_size(), 2);
  EXPECT_EQ(CapOf("vm-a"), 4.0);
  EXPECT_EQ(CapOf("vm-b"), 4.0);
  const size_t calls = CallCount();
  Steps(5, 1.0);
  EXPECT_EQ(CallCount(), calls);
}

TEST_F(ScalerRpcTest, UnderEstimatesInARowAskThePredictorToRetrain) {
  config_.set_mode(v1::MODE_RECOMMEND);
  shared_->actuator.vms["vm-a"].cpu_cap_cores = 1.0;
  StartScaler();
  Steps(4, 3.0);
  const auto asked = predictor_.seen.PopFor(absl::Seconds(10), {});
  ASSERT_TRUE(asked.has_value());
  EXPECT_EQ(asked->vm_uuids(0), "vm-a");
  EXPECT_EQ(asked->reason(), pv1::RETRAIN_REASON_UNDER_ESTIMATES);
  EXPECT_FALSE(asked->request_id().empty());
}

TEST_F(ScalerRpcTest, ThePolicysTargetIsWhatForecastsAimAt) {
  config_.mutable_default_policy()->set_target_violation_ratio(0.1);
  StartScaler();
  Steps(2, 1.0);
  const auto asked = predictor_.targets.PopFor(absl::Seconds(10), {});
  ASSERT_TRUE(asked.has_value());
  ASSERT_EQ(asked->targets_size(), 2);
  EXPECT_EQ(asked->targets(0).vm_uuid(), "vm-a");
  EXPECT_EQ(asked->targets(0).resource(), cloudscale::common::v1::RESOURCE_CPU);
  EXPECT_EQ(asked->targets(0).target_violation_ratio(), 0.1);
  EXPECT_FALSE(asked->targets(0).has_price_factor());
  EXPECT_FALSE(asked->request_id().empty());
}

TEST_F(ScalerRpcTest, WatchersSeeDecisionsActionsAndStatus) {
  StartScaler();
  Steps(4, 1.0);
  // Resumed from the start, so that nothing depends on when the streams open.
  grpc::ClientContext decision_context;
  v1::WatchDecisionsRequest watch_decisions;
  watch_decisions.set_resume_from(1);
  watch_decisions.set_vm_uuid("vm-b");
  auto decisions = stub_->WatchDecisions(&decision_context, watch_decisions);
  v1::WatchDecisionsResponse decision;
  for (int64_t last = 0; last < 8; last = decision.sequence()) {
    ASSERT_TRUE(decisions->Read(&decision));
    EXPECT_EQ(decision.decision().vm_uuid(), "vm-b");
    EXPECT_GT(decision.sequence(), last);
  }
  grpc::ClientContext action_context;
  v1::WatchActionsRequest watch_actions;
  watch_actions.set_resume_from(1);
  auto actions = stub_->WatchActions(&action_context, watch_actions);
  v1::WatchActionsResponse action;
  ASSERT_TRUE(actions->Read(&action));
  EXPECT_EQ(action.action().state(), v1::ACTION_STATE_SUCCEEDED);
  grpc::ClientContext status_context;
  v1::WatchStatusRequest watch_status;
  watch_status.set_resume_from(1);
  auto statuses = stub_->WatchStatus(&status_context, watch_status);
  v1::WatchStatusResponse view;
  ASSERT_TRUE(statuses->Read(&view));
  component_->Stop();
  while (statuses->Read(&view)) {
  }
  EXPECT_EQ(statuses->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  decision_context.TryCancel();
  action_context.TryCancel();
}

TEST_F(ScalerRpcTest, OneSickVmDoesNotStopTheHost) {
  shared_->actuator.read_status_of["vm-a"] = absl::UnavailableError("no answer");
  StartScaler();
  for (int i = 0; i < 4; ++i) {
    Steps(1, 1.0);
    EXPECT_FALSE(Status().is_fail_static()) << Status().fail_static_reason();
  }
  EXPECT_EQ(CapOf("vm-a"), 4.0);
  EXPECT_LT(CapOf("vm-b"), 4.0);
}

TEST_F(ScalerRpcTest, ActionsArePagedThroughAllRecommendations) {
  config_.clear_mode();
  StartScaler();
  Steps(4, 1.0);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(Call(&Scaler::ListActions, v1::ListActionsRequest(), &actions));
  ASSERT_EQ(actions.actions_size(), 2);
  v1::SkipActionRequest skip;
  skip.set_action_id(actions.actions(1).action_id());
  skip.set_request_id(NextId());
  v1::SkipActionResponse skipped;
  CS_ASSERT_OK(Call(&Scaler::SkipAction, skip, &skipped));
  v1::ApproveActionRequest approve;
  approve.set_action_id(actions.actions(0).action_id());
  approve.set_request_id(NextId());
  v1::ApproveActionResponse approved;
  CS_ASSERT_OK(Call(&Scaler::ApproveAction, approve, &approved));
  Steps(1, 1.0);  // proposes anew
  CS_ASSERT_OK(Call(&Scaler::ListActions, v1::ListActionsRequest(), &actions));
  std::vector<std::string> all;
  std::map<v1::ActionState, int> states;
  for (const v1::Action& action : actions.actions()) {
    all.push_back(action.action_id());
    ++states[action.state()];
  }
  EXPECT_EQ(states[v1::ACTION_STATE_SKIPPED], 1);
  EXPECT_EQ(states[v1::ACTION_STATE_SUCCEEDED], 1);
  EXPECT_GE(states[v1::ACTION_STATE_PENDING], 1);
  std::vector<std::string> paged;
  v1::ListActionsRequest in;
  in.set_page_size(1);
  for (int i = 0; i < 20; ++i) {
    v1::ListActionsResponse page;
    CS_ASSERT_OK(Call(&Scaler::ListActions, in, &page));
    for (const v1::Action& action : page.actions()) {
      paged.push_back(action.action_id());
    }
    if (page.next_page_token().empty()) {
      break;
    }
    in.set_page_token(page.next_page_token());
  }
  EXPECT_EQ(paged, all);
  in.set_page_token("recommendation:x");
  EXPECT_THAT(Call(&Scaler::ListActions, in, &actions),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ScalerRpcTest, ExplainingOneResourceListsAllItsDecisions) {
  StartScaler();
  Steps(4, 1.0);
  for (const cv1::Resource resource : {cv1::RESOURCE_CPU, cv1::RESOURCE_MEMORY}) {
    v1::ExplainVmRequest why;
    why.set_vm_uuid("vm-a");
    why.set_resource(resource);
    v1::ExplainVmResponse because;
    CS_ASSERT_OK(Call(&Scaler::ExplainVm, why, &because));
    EXPECT_EQ(because.recent_decisions_size(), 4);
  }
}

}  // namespace
}  // namespace cloudscale::scaler
