// One contract, both journals; and what only the durable one promises.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/sim_clock.h"
#include "services/scaler/action_executor.h"
#include "services/scaler/journal/sqlite_journal.h"
#include "services/scaler/memory_journal.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::testing::StatusIs;
using ::cloudscale::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

ActionRecord Record(const std::string& id, JournalStage stage = JournalStage::kDone) {
  ActionRecord r;
  r.action_id = id;
  r.vm_uuid = "vm-a";
  r.host_id = "host";
  r.kind = ActionKind::kSetMemoryTarget;
  r.stage = stage;
  r.state = stage == JournalStage::kDone ? ActionState::kSucceeded : ActionState::kRunning;
  r.target = 1.5;
  r.has_observed = true;
  r.observed = 0.1 + 0.2;
  r.fencing_token = 9;
  r.reasons = {{ReasonCode::kForecast, "follows the forecast"}, {ReasonCode::kDonor, ""}};
  r.created_at = absl::FromUnixNanos(1'800'000'000'123'456'789);
  r.updated_at = r.created_at + absl::Nanoseconds(1);
  r.expires_at = r.created_at + absl::Seconds(1);
  r.attempt_count = 2;
  r.error = "it's \"quoted\"";
  r.actor = "scaler";
  return r;
}

class JournalTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { Open(3); }
  void Open(int64_t max_ended) {
    journal_.reset();
    if (GetParam()) {
      auto opened = SqliteJournal::Open(dir_.File("j.db"), max_ended);
      CS_ASSERT_OK(opened);
      journal_ = std::move(*opened);
    } else {
      journal_ = std::make_unique<MemoryJournal>(max_ended);
    }
  }
  TempDir dir_;
  std::unique_ptr<Journal> journal_;
};

TEST_P(JournalTest, GivesBackWhatWasPut) {
  CS_ASSERT_OK(journal_->Put(Record("a"), {}));
  const auto got = journal_->Get("a");
  CS_ASSERT_OK(got);
  EXPECT_EQ(*got, Record("a"));
  EXPECT_THAT(journal_->Get("b"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(JournalTest, AbsentValuesStayAbsent) {
  ActionRecord r = Record("a");
  r.target.reset();
  r.before.reset();
  r.expires_at.reset();
  CS_ASSERT_OK(journal_->Put(r, {}));
  EXPECT_EQ(*journal_->Get("a"), r);
}

TEST_P(JournalTest, ListsOpenActionsOldestFirst) {
  CS_ASSERT_OK(journal_->Put(Record("a", JournalStage::kIntent), {}));
  CS_ASSERT_OK(journal_->Put(Record("b"), {}));
  CS_ASSERT_OK(journal_->Put(Record("c", JournalStage::kVerify), {}));
  const auto open = journal_->ListOpen();
  CS_ASSERT_OK(open);
  ASSERT_EQ(open->size(), 2u);
  EXPECT_EQ((*open)[0].action_id, "a");
  EXPECT_EQ((*open)[1].action_id, "c");
}

TEST_P(JournalTest, PagesNewestFirst) {
  for (const char* id : {"a", "b", "c"}) {
    CS_ASSERT_OK(journal_->Put(Record(id), {}));
  }
  const auto first = journal_->ListNewest("", "", 2);
  CS_ASSERT_OK(first);
  ASSERT_EQ(first->size(), 2u);
  EXPECT_EQ((*first)[0].action_id, "c");
  const auto second = journal_->ListNewest("vm-a", (*first)[1].action_id, 2);
  CS_ASSERT_OK(second);
  ASSERT_EQ(second->size(), 1u);
  EXPECT_EQ((*second)[0].action_id, "a");
  EXPECT_THAT(*journal_->ListNewest("vm-b", "", 5), IsEmpty());
}

TEST_P(JournalTest, PrunesOldEndedActionsButNeverOpenOnes) {
  CS_ASSERT_OK(journal_->Put(Record("open", JournalStage::kApply), {}));
  for (int i = 0; i < 20; ++i) {
    CS_ASSERT_OK(journal_->Put(Record(absl::StrCat("done-", i)), {}));
  }
  EXPECT_LE(journal_->ListNewest("", "", 100)->size(), 7u);
  CS_EXPECT_OK(journal_->Get("open"));
  CS_EXPECT_OK(journal_->Get("done-19"));
}

TEST_P(JournalTest, StateIsListedByPrefixAndDeleted) {
  CS_ASSERT_OK(journal_->PutState({{"a/1", "x"}, {"a/2", std::string("\0y", 2)}, {"b/1", "z"}}));
  CS_ASSERT_OK(journal_->Put(Record("r"), {{{"a/1", std::nullopt}}}));
  EXPECT_THAT(*journal_->ListState("a/"), ElementsAre(Pair("a/2", std::string("\0y", 2))));
}

INSTANTIATE_TEST_SUITE_P(All, JournalTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Sqlite" : "Memory"; });

TEST(SqliteJournalTest, SurvivesReopening) {
  TempDir dir;
  {
    auto j = SqliteJournal::Open(dir.File("j.db"));
    CS_ASSERT_OK(j);
    CS_ASSERT_OK((*j)->Put(Record("a"), {{{"k", "v"}}}));
  }
  auto j = SqliteJournal::Open(dir.File("j.db"));
  CS_ASSERT_OK(j);
  EXPECT_EQ(*(*j)->Get("a"), Record("a"));
  EXPECT_THAT(*(*j)->ListState(""), ElementsAre(Pair("k", "v")));
}

TEST(SqliteJournalTest, SecondProcessIsRefused) {
  TempDir dir;
  auto first = SqliteJournal::Open(dir.File("j.db"));
  CS_ASSERT_OK(first);
  EXPECT_THAT(SqliteJournal::Open(dir.File("j.db")), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(SqliteJournalTest, P20NewerSchemaIsRefusedAndLeftUntouched) {
  TempDir dir;
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(dir.File("j.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(
      sqlite3_exec(db, "PRAGMA user_version=99; CREATE TABLE future(x)", nullptr, nullptr, nullptr),
      SQLITE_OK);
  sqlite3_close(db);
  EXPECT_THAT(SqliteJournal::Open(dir.File("j.db")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("99")));
}

TEST(SqliteJournalTest, FileThatIsNoJournalIsRefused) {
  TempDir dir;
  const std::string path = dir.Write("j.db", std::string(4096, 'x'));
  EXPECT_THAT(SqliteJournal::Open(path), StatusIs(absl::StatusCode::kDataLoss));
}

// A hypervisor that outlives the scaler: one value in a file.
class FileActuator final : public hypervisor::VmActuator {
 public:
  explicit FileActuator(std::string path) : path_(std::move(path)) {}
  hypervisor::Capabilities capabilities() const override { return {.backend = "file"}; }
  absl::StatusOr<hypervisor::Allocation> ReadAllocation(const hypervisor::VmTarget&) override {
    std::ifstream in(path_);
    double cap = 0;
    in >> cap;
    hypervisor::Allocation a;
    a.cpu_cap_cores = cap;
    return a;
  }
  absl::Status SetCpuCap(const hypervisor::ActuationPermit&, const hypervisor::VmTarget&,
                         std::optional<double> cores) override {
    Write(cores.value_or(0));
    return absl::OkStatus();
  }
  absl::Status SetCpuWeight(const hypervisor::ActuationPermit&, const hypervisor::VmTarget&,
                            int64_t) override {
    return absl::UnimplementedError("");
  }
  absl::Status SetMemoryTarget(const hypervisor::ActuationPermit&, const hypervisor::VmTarget&,
                               std::optional<int64_t>) override {
    return absl::UnimplementedError("");
  }
  absl::Status SetVcpuCount(const hypervisor::ActuationPermit&, const hypervisor::VmTarget&,
                            int64_t) override {
    return absl::UnimplementedError("");
  }
  void Write(double cap) {
    std::ofstream out(path_ + ".new");
    out << cap;
    out.close();
    std::rename((path_ + ".new").c_str(), path_.c_str());
  }

 private:
  std::string path_;
};

// Kills a real process at each point of an action; what a new process finds must say what happened.
TEST(SqliteJournalTest, P4KillAtEveryStageLeavesOneTruthfulRecord) {
  using Point = ActionExecutor::Point;
  for (const Point point : {Point::kBeforeIntent, Point::kAfterIntent, Point::kBeforeCall,
                            Point::kAfterCall, Point::kAfterVerify, Point::kAfterDone}) {
    SCOPED_TRACE(static_cast<int>(point));
    TempDir dir;
    FileActuator actuator(dir.File("cap"));
    actuator.Write(2.0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      SimClock clock;
      auto journal = SqliteJournal::Open(dir.File("j.db"));
      if (!journal.ok()) {
        _exit(3);
      }
      ActionExecutor executor(clock, **journal, actuator, {.host_id = "host"}, [&](Point at) {
        if (at == point) {
          ::kill(::getpid(), SIGKILL);
        }
      });
      ActionOrder order;
      order.vm_uuid = "vm";
      order.target = 1.0;
      (void)executor.Execute(order, true);
      _exit(4);  // the point was never reached
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

    SimClock clock;
    auto journal = SqliteJournal::Open(dir.File("j.db"));
    CS_ASSERT_OK(journal);
    ActionExecutor executor(clock, **journal, actuator, {.host_id = "host", .fencing_token = 2});
    CS_ASSERT_OK(executor.Recover(nullptr));
    CS_ASSERT_OK(executor.Recover(nullptr));  // idempotent
    EXPECT_THAT(*(*journal)->ListOpen(), IsEmpty());
    const auto records = (*journal)->ListNewest("vm", "", 10);
    CS_ASSERT_OK(records);
    const double cap = *actuator.ReadAllocation({"vm", ""})->cpu_cap_cores;
    if (point == Point::kBeforeIntent) {
      EXPECT_THAT(*records, IsEmpty());
      EXPECT_EQ(cap, 2.0);
      continue;
    }
    ASSERT_EQ(records->size(), 1u);
    const bool was_done = point >= Point::kAfterCall;
    EXPECT_EQ(cap, was_done ? 1.0 : 2.0);
    EXPECT_EQ((*records)[0].state, was_done ? ActionState::kSucceeded : ActionState::kFailed);
    // The original is durable before anything changed, so it can still be restored.
    if (was_done) {
      const auto plan = executor.PlanRestore({});
      CS_ASSERT_OK(plan);
      ASSERT_EQ(plan->size(), 1u);
      EXPECT_EQ((*plan)[0].order.target, 2.0);
    }
  }
}

}  // namespace
}  // namespace cloudscale::scaler
