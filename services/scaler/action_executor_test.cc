#include "services/scaler/action_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "services/scaler/memory_journal.h"
#include "services/scaler/testing/recording_actuator.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::RecordingActuator;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ActionExecutorTest : public ::testing::Test {
 protected:
  ActionExecutorTest() { actuator_.vms["vm"] = {2.0, 100, int64_t{1} << 31}; }

  static ActionOrder Cap(double cores) {
    ActionOrder order;
    order.vm_uuid = "vm";
    order.target = cores;
    return order;
  }

  SimClock clock_;
  MemoryJournal journal_;
  RecordingActuator actuator_;
  ActionExecutor executor_{clock_, journal_, actuator_, {.host_id = "host", .fencing_token = 3}};
};

TEST_F(ActionExecutorTest, DoesItOnceAndWritesTheBeforeImage) {
  const auto done = executor_.Execute(Cap(1.5), true);
  CS_ASSERT_OK(done);
  EXPECT_EQ(done->state, ActionState::kSucceeded);
  EXPECT_EQ(done->before, 2.0);
  EXPECT_EQ(done->observed, 1.5);
  EXPECT_THAT(actuator_.calls, ElementsAre("cap vm 1.5"));
  EXPECT_EQ(journal_.Get(done->action_id)->stage, JournalStage::kDone);
}

TEST_F(ActionExecutorTest, P11WithoutPermissionNothingIsCalledOrWritten) {
  EXPECT_THAT(executor_.Execute(Cap(1.5), false), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(actuator_.calls, IsEmpty());
  EXPECT_THAT(*journal_.ListNewest("", "", 10), IsEmpty());
}

TEST_F(ActionExecutorTest, P6LieIsUndoneOnceAndReported) {
  actuator_.half_way_cap = 1.8;
  const auto done = executor_.Execute(Cap(1.0), true);
  CS_ASSERT_OK(done);
  EXPECT_EQ(done->state, ActionState::kRolledBack);
  EXPECT_EQ(actuator_.vms["vm"].cpu_cap_cores, 2.0);
  EXPECT_THAT(actuator_.calls, ElementsAre("cap vm 1", "cap vm 2"));
  EXPECT_THAT(done->error, HasSubstr("read back 1.8"));
}

TEST_F(ActionExecutorTest, P6IgnoredSetEndsWithoutEffect) {
  actuator_.ignored_sets = 5;
  const auto done = executor_.Execute(Cap(1.0), true);
  CS_ASSERT_OK(done);
  EXPECT_NE(done->state, ActionState::kSucceeded);
  EXPECT_EQ(actuator_.vms["vm"].cpu_cap_cores, 2.0);
  EXPECT_LE(actuator_.calls.size(), 2u);
}

TEST_F(ActionExecutorTest, RefusalLeavesTheOldValueAndTheReason) {
  actuator_.set_status = absl::FailedPreconditionError("balloon is off");
  const auto done = executor_.Execute(Cap(1.0), true);
  CS_ASSERT_OK(done);
  EXPECT_EQ(done->state, ActionState::kFailed);
  EXPECT_THAT(done->error, HasSubstr("balloon is off"));
  EXPECT_THAT(actuator_.calls, ElementsAre("cap vm 1"));  // nothing to undo
}

TEST_F(ActionExecutorTest, P4TimeoutThatWorkedCountsAsDone) {
  actuator_.set_status = absl::DeadlineExceededError("no answer");
  actuator_.applies_when_failing = true;
  const auto done = executor_.Execute(Cap(1.0), true);
  CS_ASSERT_OK(done);
  EXPECT_EQ(done->state, ActionState::kSucceeded);
  EXPECT_THAT(actuator_.calls, ElementsAre("cap vm 1"));
}

TEST_F(ActionExecutorTest, P19OtherValueThanExpectedIsLeftAlone) {
  ActionOrder order = Cap(1.0);
  order.expected_before = 1.2;
  EXPECT_THAT(executor_.Execute(order, true), StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(executor_.foreign_value(), 2.0);
  EXPECT_THAT(actuator_.calls, IsEmpty());
}

TEST_F(ActionExecutorTest, UnreadableHypervisorBeforeMeansNothingIsDone) {
  actuator_.read_status = absl::UnavailableError("gone");
  EXPECT_THAT(executor_.Execute(Cap(1.0), true), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(actuator_.calls, IsEmpty());
}

TEST_F(ActionExecutorTest, P16UndoPutsBackAndStaleUndoIsRefused) {
  const auto done = executor_.Execute(Cap(1.5), true);
  CS_ASSERT_OK(done);
  auto undo = executor_.PlanUndo(done->action_id);
  CS_ASSERT_OK(undo);
  CS_ASSERT_OK(executor_.Execute(*undo, true));
  EXPECT_EQ(actuator_.vms["vm"].cpu_cap_cores, 2.0);
  EXPECT_THAT(executor_.PlanUndo(done->action_id),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("stale")));
}

TEST_F(ActionExecutorTest, P16OriginalsComeBackAlsoTheUncappedOne) {
  actuator_.vms["free"] = {std::nullopt, 100, std::nullopt};
  CS_ASSERT_OK(executor_.RecordOriginals({"vm", "free"}));
  CS_ASSERT_OK(executor_.Execute(Cap(1.5), true));
  CS_ASSERT_OK(executor_.Execute(Cap(0.5), true));
  ActionOrder order = Cap(1.0);
  order.vm_uuid = "free";
  CS_ASSERT_OK(executor_.Execute(order, true));
  const auto plan = executor_.PlanRestore({});
  CS_ASSERT_OK(plan);
  ASSERT_EQ(plan->size(), 2u);
  for (const auto& restore : *plan) {
    EXPECT_EQ(restore.skipped_because, "");
    CS_ASSERT_OK(executor_.Execute(restore.order, true));
  }
  EXPECT_EQ(actuator_.vms["vm"].cpu_cap_cores, 2.0);
  EXPECT_EQ(actuator_.vms["free"].cpu_cap_cores, std::nullopt);
  EXPECT_THAT(*executor_.PlanRestore({}), IsEmpty());
}

TEST_F(ActionExecutorTest, P16RestoreSkipsWhatSomebodyElseChanged) {
  CS_ASSERT_OK(executor_.Execute(Cap(1.5), true));
  actuator_.vms["vm"].cpu_cap_cores = 3.0;
  const auto plan = executor_.PlanRestore({"vm"});
  CS_ASSERT_OK(plan);
  ASSERT_EQ(plan->size(), 1u);
  EXPECT_THAT((*plan)[0].skipped_because, HasSubstr("somebody else"));
}

TEST_F(ActionExecutorTest, OriginalOfTheFirstSightSurvivesLaterProcesses) {
  CS_ASSERT_OK(executor_.Execute(Cap(1.5), true));
  ActionExecutor next(clock_, journal_, actuator_, {.host_id = "host", .fencing_token = 4});
  CS_ASSERT_OK(next.RecordOriginals({"vm"}));
  const auto plan = next.PlanRestore({});
  CS_ASSERT_OK(plan);
  ASSERT_EQ(plan->size(), 1u);
  EXPECT_EQ((*plan)[0].order.target, 2.0);
}

TEST_F(ActionExecutorTest, FencingTokenGrowsWithEachStart) {
  EXPECT_EQ(*ActionExecutor::NextFencingToken(journal_), 1);
  EXPECT_EQ(*ActionExecutor::NextFencingToken(journal_), 2);
}

TEST_F(ActionExecutorTest, RecoveryWaitsForTheHypervisor) {
  ActionRecord open;
  open.action_id = "act-1-1";
  open.vm_uuid = "vm";
  open.stage = JournalStage::kApply;
  open.state = ActionState::kRunning;
  open.target = 1.0;
  open.before = 2.0;
  CS_ASSERT_OK(journal_.Put(open, {}));
  actuator_.read_status = absl::UnavailableError("starting");
  CS_ASSERT_OK(executor_.Recover(nullptr));
  EXPECT_THAT(executor_.unsettled_vms(), ElementsAre("vm"));
  actuator_.read_status = absl::OkStatus();
  EXPECT_THAT(executor_.Execute(Cap(1.5), true),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not settled")));
  std::vector<ActionRecord> settled;
  CS_ASSERT_OK(executor_.Recover(&settled));
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].state, ActionState::kFailed);
  EXPECT_THAT(*journal_.ListOpen(), IsEmpty());
  EXPECT_THAT(actuator_.calls, IsEmpty());
}

TEST_F(ActionExecutorTest, RecoveryOfOneUnreadableVmLeavesTheOthersFree) {
  actuator_.vms["sick"] = {2.0, 100, std::nullopt};
  for (const std::string uuid : {"sick", "vm"}) {
    ActionRecord open;
    open.action_id = uuid == "vm" ? "act-1-2" : "act-1-1";
    open.vm_uuid = uuid;
    open.stage = JournalStage::kApply;
    open.state = ActionState::kRunning;
    open.target = 1.0;
    open.before = 2.0;
    CS_ASSERT_OK(journal_.Put(open, {}));
  }
  actuator_.read_status_of["sick"] = absl::UnavailableError("no answer");
  std::vector<ActionRecord> settled;
  CS_ASSERT_OK(executor_.Recover(&settled));
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].vm_uuid, "vm");
  EXPECT_THAT(executor_.unsettled_vms(), ElementsAre("sick"));
  CS_EXPECT_OK(executor_.Execute(Cap(1.5), true));
  actuator_.read_status_of.clear();
  CS_ASSERT_OK(executor_.Recover(nullptr));
  EXPECT_THAT(executor_.unsettled_vms(), IsEmpty());
}

TEST_F(ActionExecutorTest, P16NothingIsChangedBeforeTheOriginalIsKept) {
  actuator_.failed_reads = 1;
  EXPECT_THAT(executor_.Execute(Cap(1.5), true), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(actuator_.calls, IsEmpty());
  EXPECT_FALSE(executor_.needs_recovery());
  CS_ASSERT_OK(executor_.Execute(Cap(1.5), true));
  const auto plan = executor_.PlanRestore({"vm"});
  CS_ASSERT_OK(plan);
  ASSERT_EQ(plan->size(), 1u);
  EXPECT_EQ((*plan)[0].order.target, 2.0);
}

TEST_F(ActionExecutorTest, OnlyAnUnknownEffectAsksForRecovery) {
  CS_ASSERT_OK(executor_.RecordOriginals({"vm"}));
  actuator_.failed_reads = 1;
  EXPECT_THAT(executor_.Execute(Cap(1.5), true), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_FALSE(executor_.needs_recovery());
  ActionExecutor hooked(clock_, journal_, actuator_, {.host_id = "host", .fencing_token = 4},
                        [this](ActionExecutor::Point point) {
                          if (point == ActionExecutor::Point::kAfterCall) {
                            actuator_.failed_reads = 1;
                          }
                        });
  EXPECT_THAT(hooked.Execute(Cap(1.5), true), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_TRUE(hooked.needs_recovery());
  CS_ASSERT_OK(hooked.Recover(nullptr));
  EXPECT_THAT(*journal_.ListOpen(), IsEmpty());
}

}  // namespace
}  // namespace cloudscale::scaler
