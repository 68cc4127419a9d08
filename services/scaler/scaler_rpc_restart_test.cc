// What the scaler does after a restart, its own or the monitor's.
#include "cloudscale/monitor/v1/monitor_service.pb.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/scaler/journal/sqlite_journal.h"
#include "services/scaler/testing/scaler_rpc_fixture.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::ScalerRpcTest;

namespace mv1 = cloudscale::monitor::v1;

TEST_F(ScalerRpcTest, ModeAndPauseSurviveARestartAndStopActing) {
  StartScaler();
  v1::SetModeRequest mode;
  mode.set_mode(v1::MODE_RECOMMEND);
  mode.set_request_id(NextId());
  v1::SetModeResponse moded;
  CS_ASSERT_OK(Call(&Scaler::SetMode, mode, &moded));
  EXPECT_EQ(moded.previous_mode(), v1::MODE_AUTO);
  v1::SetPauseRequest pause;
  pause.set_vm_uuid("vm-a");
  pause.set_request_id(NextId());
  pause.mutable_pause()->set_pause_shrink(true);
  v1::SetPauseResponse paused;
  CS_ASSERT_OK(Call(&Scaler::SetPause, pause, &paused));
  EXPECT_TRUE(paused.effective().pause_shrink());
  StopScaler();
  StartScaler();
  EXPECT_EQ(Status().mode(), v1::MODE_RECOMMEND);
  Steps(5, 1.0);
  EXPECT_EQ(CallCount(), 0u);
  v1::ListVmStatesResponse states;
  CS_ASSERT_OK(Call(&Scaler::ListVmStates, v1::ListVmStatesRequest(), &states));
  ASSERT_EQ(states.vms_size(), 2);
  EXPECT_EQ(states.vms(0).cpu().outcome(), v1::DECISION_OUTCOME_PAUSED);
  EXPECT_EQ(states.vms(1).cpu().outcome(), v1::DECISION_OUTCOME_RECOMMENDED);
}

TEST_F(ScalerRpcTest, P2RestartWarmsUpAndKeepsTheHistory) {
  StartScaler();
  Steps(8, 1.0);
  const double cap = CapOf("vm-a");
  const size_t calls = CallCount();
  StopScaler();
  config_.mutable_limits()->set_warm_up_samples(5);
  StartScaler();
  EXPECT_FALSE(Status().is_warm());
  Steps(4, 3.9);
  EXPECT_EQ(CapOf("vm-a"), cap);
  EXPECT_EQ(CallCount(), calls);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(Call(&Scaler::ListActions, v1::ListActionsRequest(), &actions));
  EXPECT_GT(actions.actions_size(), 0);
  Steps(2, 3.9);
  EXPECT_GT(CapOf("vm-a"), cap);
}

TEST_F(ScalerRpcTest, MonitorLossChangesNothingAndTheStreamComesBack) {
  StartScaler();
  Steps(4, 1.0);
  const double cap = CapOf("vm-a");
  mv1::WatchObservationsResponse end;
  end.set_sequence(-1);
  const int streams = monitor_.streams;
  monitor_.queue.PushDroppingOldest(end);
  while (monitor_.streams == streams) {
    (void)Status();  // each call takes a moment; no sleeping
  }
  EXPECT_EQ(CapOf("vm-a"), cap);
  Steps(2, 1.0);
  EXPECT_EQ(Status().sequence(), sequence_);
}

TEST_F(ScalerRpcTest, P4ChangeOfACrashedProcessIsNotTakenForSomebodyElses) {
  StartScaler();
  Steps(4, 1.0);
  const double cap = CapOf("vm-a");
  ASSERT_LT(cap, 2.9);
  StopScaler();
  {
    // Crashed between the call and the end: the hypervisor has it, the journal says APPLY.
    auto journal = SqliteJournal::Open(config_.journal_path());
    CS_ASSERT_OK(journal);
    ActionRecord open;
    open.action_id = "act-1-1000";
    open.host_id = "host-1";
    open.vm_uuid = "vm-a";
    open.state = ActionState::kRunning;
    open.stage = JournalStage::kApply;
    open.before = cap;
    open.target = 3.0;
    open.created_at = open.updated_at = clock_->WallNow();
    CS_ASSERT_OK((*journal)->Put(open, {}));
  }
  shared_->actuator.vms["vm-a"].cpu_cap_cores = 3.0;
  StartScaler();
  EXPECT_FALSE(Status().is_fail_static());
  Steps(4, 1.0);
  v1::ListDecisionsResponse decisions;
  CS_ASSERT_OK(Call(&Scaler::ListDecisions, v1::ListDecisionsRequest(), &decisions));
  ASSERT_GT(decisions.decisions_size(), 4);
  for (const v1::Decision& d : decisions.decisions()) {
    for (const v1::Reason& reason : d.reasons()) {
      EXPECT_NE(reason.code(), v1::REASON_CODE_FOREIGN_CHANGE) << d.ShortDebugString();
    }
  }
  EXPECT_LT(CapOf("vm-a"), 3.0);
}

}  // namespace
}  // namespace cloudscale::scaler
