// Live migration between two real Xen hosts under emulation, from Dom-0 of the source
// (tests/hosts/xen/run --migrate); anywhere else its cases are skipped.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/xen/xen_module.h"
#include "hypervisor/xen/xen_test_guests.h"
#include "hypervisor/xen/xen_vm_actuator.h"
#include "hypervisor/xen/xen_vm_migrator.h"

namespace cloudscale::hypervisor::xen {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

constexpr absl::Duration kLong = absl::Minutes(4);
constexpr absl::Duration kPoll = absl::Milliseconds(100);

class XenMigrationLiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* second = std::getenv("CLOUDSCALE_XEN_SECOND_HOST");
    if (second == nullptr) {
      GTEST_SKIP() << "CLOUDSCALE_XEN_SECOND_HOST is not set (tests/hosts/xen/run --migrate)";
    }
    second_ = second;
    auto store = OpenXen();
    CS_ASSERT_OK(store);
    store_ = *std::move(store);
  }
  void TearDown() override {
    if (guest_ != nullptr && RunsOnTarget()) {
      CS_EXPECT_OK(OnTarget(absl::StrCat("xl destroy ", guest_->name())));
    }
  }

  void StartGuest(TestGuest::Kind kind) {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    auto guest = TestGuest::Start(*clock_, *store_, absl::StrCat("m-", name.substr(0, 20)), kind);
    CS_ASSERT_OK(guest);
    guest_ = *std::move(guest);
    vm_.uuid = guest_->uuid();
    CS_ASSERT_OK(guest_->Work({.load_percent = 20}));
  }

  XenMigrationOptions Options() const {
    XenMigrationOptions options;
    options.targets["host2"] = second_;
    options.targets["nowhere"] = "10.98.0.99";
    options.ssh_command = {"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"};
    options.record_directory = directory_.File("moves");
    return options;
  }
  std::unique_ptr<XenVmMigrator> Make() const { return MakeWith(Options()); }
  std::unique_ptr<XenVmMigrator> MakeWith(const XenMigrationOptions& options) const {
    auto calls = OpenXen();
    EXPECT_TRUE(calls.ok()) << calls.status();
    auto migrator = XenVmMigrator::Create(*clock_, *std::move(calls), {}, options);
    EXPECT_TRUE(migrator.ok()) << migrator.status();
    return *std::move(migrator);
  }

  absl::StatusOr<std::string> OnTarget(const std::string& command) const {
    return RunCommand(absl::StrCat("ssh -o BatchMode=yes ", second_, " ", command));
  }
  // By UUID, which the name of a half-made copy does not have yet.
  bool RunsOnTarget() const {
    const auto list = OnTarget("xl vm-list");
    CS_EXPECT_OK(list);
    return list.ok() && absl::StrContains(*list, absl::StrCat(vm_.uuid, " ")) &&
           !absl::StrContains(*list, "--incoming");
  }
  std::optional<XenDomain> OnSource() const {
    const auto domains = store_->ListDomains();
    for (const XenDomain& domain : std::get<std::vector<XenDomain>>(domains)) {
      if (domain.uuid == vm_.uuid && !domain.is_dying) {
        return domain;
      }
    }
    return std::nullopt;
  }
  bool RunsOnSource() const {
    const std::optional<XenDomain> domain = OnSource();
    return domain.has_value() && !domain->is_shut_down && !domain->is_paused;
  }
  // Seconds of CPU time, by `xl` on the target.
  double CpuTimeOnTarget() const {
    const auto list = OnTarget(absl::StrCat("xl list ", guest_->name()));
    CS_EXPECT_OK(list);
    const std::vector<std::string> words =
        absl::StrSplit(list.value_or(""), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
    double seconds = -1;
    EXPECT_TRUE(!words.empty() && absl::SimpleAtod(words.back(), &seconds)) << list.value_or("");
    return seconds;
  }

  void Rest(absl::Duration duration) const {
    clock_->SleepUntil(clock_->MonoNow() + duration, std::stop_token());
  }
  // Asks until `is_true` of the answer, or the move has ended.
  template <typename Condition>
  MigrationProgress WaitUntil(VmMigrator& migrator, const Condition& is_true) const {
    const MonoTime deadline = clock_->MonoNow() + kLong;
    while (true) {
      const auto progress = migrator.GetMigrationProgress(vm_);
      CS_EXPECT_OK(progress);
      if (!progress.ok() || progress->stage >= MigrationStage::kDone || is_true(*progress) ||
          clock_->MonoNow() > deadline) {
        return progress.value_or(MigrationProgress());
      }
      Rest(kPoll);
    }
  }
  MigrationProgress WaitForEnd(VmMigrator& migrator) const {
    return WaitUntil(migrator, [](const MigrationProgress&) { return false; });
  }
  std::string Record() const {
    std::ifstream file(directory_.File(absl::StrCat("moves/", vm_.uuid)));
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  // It is the same, never started anew, and does what it is asked.
  void ExpectObeysOnSource() {
    EXPECT_TRUE(RunsOnSource());
    CS_EXPECT_OK(guest_->Work({.load_percent = 10}));
    EXPECT_FALSE(RunsOnTarget());
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  const ActuationPermit permit_ = *ActuationPermit::Grant(true, 1, "live");
  const testing::TempDir directory_;
  std::string second_;
  std::unique_ptr<XenCalls> store_;
  std::unique_ptr<TestGuest> guest_;
  VmTarget vm_;
};

TEST_F(XenMigrationLiveTest, P9_RunsExactlyOnceAndGoesOnWithItsWork) {
  StartGuest({.is_pvh = true});
  auto calls = OpenXen();
  CS_ASSERT_OK(calls);
  const auto actuator = XenVmActuator::Create(*std::move(calls), {});
  CS_ASSERT_OK(actuator);
  CS_ASSERT_OK((*actuator)->SetCpuCap(permit_, vm_, 0.6));
  CS_ASSERT_OK((*actuator)->SetCpuWeight(permit_, vm_, 200));
  const auto migrator = Make();

  const MonoTime begun = clock_->MonoNow();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  EXPECT_THAT(migrator->StartMigration(permit_, vm_, "host2"),
              StatusIs(absl::StatusCode::kAlreadyExists));
  int64_t most_bytes = 0;
  // It ran at the first of these, since the list that says so was read after it.
  MonoTime ran = begun;
  MonoTime asked = begun;
  const MigrationProgress last = WaitUntil(*migrator, [&](const MigrationProgress& progress) {
    most_bytes = std::max(most_bytes, progress.transferred_bytes);
    if (progress.stage == MigrationStage::kStopAndCopy) {
      return true;
    }
    ran = std::exchange(asked, clock_->MonoNow());
    return false;
  });
  EXPECT_EQ(last.stage, MigrationStage::kStopAndCopy) << last.error;
  EXPECT_FALSE(RunsOnSource());
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  const MigrationProgress end = WaitForEnd(*migrator);
  const MonoTime ended = clock_->MonoNow();

  ASSERT_EQ(end.stage, MigrationStage::kDone) << end.error << "\n" << Record();
  EXPECT_FALSE(OnSource().has_value());
  EXPECT_TRUE(RunsOnTarget());
  EXPECT_GT(most_bytes, int64_t{10} << 20);
  // Started anew it would rest.
  const double before = CpuTimeOnTarget();
  Rest(absl::Seconds(10));
  EXPECT_GT(CpuTimeOnTarget(), before + 1);
  const auto shares = OnTarget(absl::StrCat("xl sched-credit -d ", guest_->name()));
  CS_EXPECT_OK(shares);
  EXPECT_THAT(*shares, HasSubstr("512   60")) << "cap and weight as xl took them along";
  std::printf(
      "migration under emulation: %.1f s, of which suspended at most %.1f s; %lld MiB sent\n%s\n",
      absl::ToDoubleSeconds(ended - begun), absl::ToDoubleSeconds(ended - ran),
      static_cast<long long>(end.transferred_bytes >> 20), Record().c_str());
  EXPECT_EQ(Make()->GetMigrationProgress(vm_)->stage, MigrationStage::kDone);
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(XenMigrationLiveTest, P9_CancelledMoveLeavesItOnTheSource) {
  StartGuest({.is_pvh = true});
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  const MigrationProgress sending = WaitUntil(
      *migrator, [](const MigrationProgress& progress) { return progress.transferred_bytes > 0; });
  ASSERT_EQ(sending.stage, MigrationStage::kPreCopy) << sending.error << Record();
  EXPECT_GT(sending.remaining_bytes, 0);
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
  EXPECT_EQ(WaitForEnd(*migrator).stage, MigrationStage::kCancelled) << Record();
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
  ExpectObeysOnSource();
}

// Debian's Xen cannot log what a paravirtualised guest writes.
TEST_F(XenMigrationLiveTest, P9_MoveThatXenRefusesLeavesItOnTheSource) {
  StartGuest({});
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed) << Record();
  EXPECT_THAT(end.error, HasSubstr("logdirty"));
  std::printf("refused: %s\n", end.error.c_str());
  ExpectObeysOnSource();
}

TEST_F(XenMigrationLiveTest, P9_TargetThatIsDownLeavesItOnTheSource) {
  StartGuest({.is_pvh = true});
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "nowhere"));
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed) << Record();
  std::printf("no target: %s\n", end.error.c_str());
  ExpectObeysOnSource();
}

TEST_F(XenMigrationLiveTest, MoveOutlivesTheProcessThatStartedIt) {
  StartGuest({.is_pvh = true});
  const pid_t starter = fork();
  if (starter == 0) {
    const absl::Status started = Make()->StartMigration(permit_, vm_, "host2");
    _exit(started.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(starter, &status, 0), starter);
  ASSERT_EQ(status, 0);
  const auto successor = Make();
  EXPECT_EQ(successor->GetMigrationProgress(vm_)->stage, MigrationStage::kPreCopy);
  EXPECT_EQ(WaitForEnd(*successor).stage, MigrationStage::kDone) << Record();
  EXPECT_FALSE(OnSource().has_value());
  EXPECT_TRUE(RunsOnTarget());
}

TEST_F(XenMigrationLiveTest, P9_SuspendedByAnXlThatWasKilledItRunsOnWhenCancelled) {
  StartGuest({.is_pvh = true});
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  const auto process = ParseMove(Record(), true);
  CS_ASSERT_OK(process);
  WaitUntil(*migrator, [](const MigrationProgress& progress) {
    return progress.stage == MigrationStage::kStopAndCopy;
  });
  kill(-static_cast<pid_t>(process->header.process_id), SIGKILL);
  const MigrationProgress end = WaitForEnd(*migrator);
  ASSERT_EQ(end.stage, MigrationStage::kFailed) << Record();
  ASSERT_THAT(end.error, HasSubstr("runs nowhere"));
  CS_ASSERT_OK(migrator->CancelMigration(permit_, vm_));
  EXPECT_EQ(migrator->GetMigrationProgress(vm_)->stage, MigrationStage::kCancelled);
  ExpectObeysOnSource();
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
