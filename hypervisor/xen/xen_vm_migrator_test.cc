// Against a stand-in for `xl`, made by each test, and domains in memory that the test moves by
// hand.
#include "hypervisor/xen/xen_vm_migrator.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hypervisor/xen/xen_test_host.h"

namespace cloudscale::hypervisor::xen {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::StatusIs;

constexpr char kUuid[] = "6d0f3f8a-0000-4000-8000-00000000000a";
constexpr uint32_t kDomain = 7;
constexpr absl::Duration kPatience = absl::Seconds(20);

class XenVmMigratorTest : public ::testing::Test {
 protected:
  void SetUp() override { host_.AddDomain(kDomain, kUuid, "web", "1000.00"); }
  void TearDown() override {
    const auto record = ParseMove(Record(), true);
    if (record.ok()) {
      kill(-static_cast<pid_t>(record->header.process_id), SIGKILL);
      waitpid(static_cast<pid_t>(record->header.process_id), nullptr, 0);
    }
  }

  // What `xl` does; `$here` is the test's directory, `wait_for NAME` waits for that file in it.
  void WriteXl(const std::string& behaviour) { WriteProgram("xl", behaviour); }
  void WriteProgram(const std::string& name, const std::string& behaviour) {
    const std::string path = directory_.Write(
        name,
        absl::StrCat("#!/bin/sh\nhere=", directory_.path().string(),
                     "\nwait_for() { until [ -e $here/$1 ]; do sleep 0.02; done; }\n", behaviour));
    chmod(path.c_str(), 0755);
  }
  // As `xl`: sends memory with a helper, waits for it, and puts the domain right when that fails.
  void WriteXlWithHelper() {
    WriteProgram("libxl-save-helper",
                 "trap 'exit 1' TERM\nhead -c 3000000 /dev/zero >/dev/null\ntouch $here/sent\n"
                 "wait_for stream-end\n");
    WriteXl(
        "for word in \"$@\"; do echo \"[$word]\"; done >$here/words\n"
        "echo 'migration target: Ready to receive domain.' >&2\n"
        "if ! $here/libxl-save-helper --save-domain 7; then\n"
        "  echo 'Migration failed, resuming at sender.' >&2; exit 1\nfi\n"
        "echo 'migration sender: Target has acknowledged transfer.' >&2\n"
        "echo 'migration sender: Giving target permission to start.' >&2\n"
        "wait_for end\n"
        "echo 'migration sender: Target reports successful startup.' >&2\n"
        "echo 'Migration successful.' >&2\n");
  }
  void Touch(const std::string& name) { directory_.Write(name, ""); }
  [[nodiscard]] bool Exists(const std::string& name) const {
    return std::filesystem::exists(directory_.File(name));
  }
  [[nodiscard]] std::string Read(const std::string& name) const {
    std::stringstream text;
    text << std::ifstream(directory_.File(name)).rdbuf();
    return text.str();
  }
  [[nodiscard]] std::string Record() const { return Read(absl::StrCat("moves/", kUuid)); }

  XenMigrationOptions Options() {
    XenMigrationOptions options;
    options.targets["host2"] = "10.98.0.2";
    options.xl_path = directory_.File("xl");
    options.record_directory = directory_.File("moves");
    return options;
  }
  std::unique_ptr<XenVmMigrator> Make(const XenMigrationOptions& options) {
    auto migrator = XenVmMigrator::Create(clock_, host_.Open(), {}, options);
    CS_EXPECT_OK(migrator);
    return *std::move(migrator);
  }
  std::unique_ptr<XenVmMigrator> Make() { return Make(Options()); }
  absl::Status CreateStatus(const XenMigrationOptions& options) {
    return XenVmMigrator::Create(clock_, host_.Open(), {}, options).status();
  }

  // Asks until `is_true` of the answer.
  template <typename Condition>
  MigrationProgress WaitUntil(VmMigrator& migrator, const Condition& is_true) {
    const std::unique_ptr<Clock> real = MakeRealClock();
    const MonoTime deadline = real->MonoNow() + kPatience;
    while (true) {
      const auto progress = migrator.GetMigrationProgress(vm_);
      CS_EXPECT_OK(progress);
      if (!progress.ok() || is_true(*progress) || real->MonoNow() > deadline) {
        return progress.value_or(MigrationProgress());
      }
      real->SleepUntil(real->MonoNow() + absl::Milliseconds(10), std::stop_token());
    }
  }
  MigrationProgress WaitForEnd(VmMigrator& migrator) {
    return WaitUntil(migrator, [](const MigrationProgress& progress) {
      return progress.stage >= MigrationStage::kDone;
    });
  }
  MigrationProgress WaitForSent(VmMigrator& migrator) {
    return WaitUntil(migrator, [this](const MigrationProgress& progress) {
      return Exists("sent") && progress.transferred_bytes >= 3'000'000;
    });
  }
  void Suspend() {
    host_.domains.at(kDomain).facts.is_shut_down = true;
    host_.domains.at(kDomain).facts.is_suspended = true;
  }
  [[nodiscard]] bool RunsOnSource() const {
    const auto domain = host_.domains.find(kDomain);
    return domain != host_.domains.end() && !domain->second.facts.is_shut_down;
  }

  const testing::TempDir directory_;
  SimClock clock_;
  XenTestHost host_;
  const ActuationPermit permit_ = *ActuationPermit::Grant(true, 1, "test");
  const VmTarget vm_{kUuid, ""};
};

TEST_F(XenVmMigratorTest, MoveIsFollowedToItsEnd) {
  WriteXlWithHelper();
  XenMigrationOptions options = Options();
  options.ssh_command = {"ssh", "-o", "User=it's me"};
  options.migrate_arguments = {"-e"};
  const auto migrator = Make(options);
  ASSERT_EQ(migrator->GetMigrationProgress(vm_)->stage, MigrationStage::kNone);
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  EXPECT_THAT(migrator->StartMigration(permit_, vm_, "host2"),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("host2")));

  const MigrationProgress sending = WaitForSent(*migrator);
  EXPECT_EQ(sending.stage, MigrationStage::kPreCopy);
  EXPECT_GE(sending.transferred_bytes, 3'000'000);
  EXPECT_LT(sending.transferred_bytes, 4'000'000);
  EXPECT_EQ(sending.remaining_bytes, 256 * kMiB - sending.transferred_bytes);
  EXPECT_EQ(Read("words"),
            "[migrate]\n[-s]\n['ssh' '-o' 'User=it'\\''s me']\n[-e]\n[7]\n[10.98.0.2]\n");

  Suspend();
  EXPECT_EQ(migrator->GetMigrationProgress(vm_)->stage, MigrationStage::kStopAndCopy);
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("too late")));
  host_.RemoveDomain(kDomain);
  Touch("stream-end");
  Touch("end");
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kDone) << end.error;
  EXPECT_GE(end.transferred_bytes, 3'000'000);
  EXPECT_EQ(end.remaining_bytes, 0);
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("host2 runs it")));
  EXPECT_EQ(Make()->GetMigrationProgress(vm_)->stage, MigrationStage::kDone);
}

TEST_F(XenVmMigratorTest, P9_CancelStopsTheSenderAndLetsXlPutTheDomainRight) {
  WriteXlWithHelper();
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  WaitForSent(*migrator);
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
  EXPECT_EQ(WaitForEnd(*migrator).stage, MigrationStage::kCancelled);
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
  EXPECT_THAT(Record(), AllOf(HasSubstr("resuming at sender"), HasSubstr(FormatExit(1))));
  EXPECT_TRUE(RunsOnSource());
  EXPECT_EQ(host_.count_by_call["Resume"], 0);

  // And may move again.
  std::filesystem::remove(directory_.File("sent"));
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  EXPECT_EQ(WaitForSent(*migrator).stage, MigrationStage::kPreCopy);
}

TEST_F(XenVmMigratorTest, CancelBeforeAnythingIsSentEndsXl) {
  WriteXl("touch $here/begun\nwait_for never\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  WaitUntil(*migrator, [this](const MigrationProgress&) { return Exists("begun"); });
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
  EXPECT_EQ(WaitForEnd(*migrator).stage, MigrationStage::kCancelled);
}

TEST_F(XenVmMigratorTest, OneThatComesLaterWatchesAndCancelsTheMove) {
  WriteXlWithHelper();
  CS_ASSERT_OK(Make()->StartMigration(permit_, vm_, "host2"));  // and is gone
  const auto successor = Make();
  EXPECT_EQ(WaitForSent(*successor).stage, MigrationStage::kPreCopy);
  EXPECT_THAT(successor->StartMigration(permit_, vm_, "host2"),
              StatusIs(absl::StatusCode::kAlreadyExists));
  CS_EXPECT_OK(successor->CancelMigration(permit_, vm_));
  EXPECT_EQ(WaitForEnd(*successor).stage, MigrationStage::kCancelled);
}

TEST_F(XenVmMigratorTest, FailureBeforeTheSuspensionTellsItsCause) {
  WriteXl(
      "echo 'xc: error: Failed to enable logdirty: 95,22,0' >&2\n"
      "echo 'Migration failed, resuming at sender.' >&2\nexit 1\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_THAT(end.error, AllOf(HasSubstr("still runs on the source"), HasSubstr("exit code 1"),
                               HasSubstr("Failed to enable logdirty")));
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
}

TEST_F(XenVmMigratorTest, P9_SuccessThatXlClaimsIsNotBelievedWhileTheSourceRuns) {
  WriteXl("echo 'migration sender: Target reports successful startup.' >&2\nexit 0\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  EXPECT_EQ(WaitForEnd(*migrator).stage, MigrationStage::kFailed);
}

TEST_F(XenVmMigratorTest, P9_FailureAfterLeaveWasGivenIsLeftToPeople) {
  WriteXl(
      "echo 'migration sender: Giving target permission to start.' >&2\ntouch $here/permitted\n"
      "wait_for end\necho '** Migration failed during final handshake **' >&2\nexit 1\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  WaitUntil(*migrator, [this](const MigrationProgress&) { return Exists("permitted"); });
  Suspend();
  Touch("end");
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_THAT(end.error, AllOf(HasSubstr("look at both"), HasSubstr("final handshake")));
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("look at both")));
  EXPECT_EQ(host_.count_by_call["Resume"], 0);
}

TEST_F(XenVmMigratorTest, P9_SuspendedByAnXlThatDiedItRunsOnWhenCancelled) {
  WriteXl("touch $here/begun\nwait_for end\nkill -9 $$\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  WaitUntil(*migrator, [this](const MigrationProgress&) { return Exists("begun"); });
  Suspend();
  Touch("end");
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_THAT(end.error, AllOf(HasSubstr("runs nowhere"), HasSubstr("signal 9")));
  host_.refusals["Resume"] = {XenErrorCode::kUnavailable, "no hypervisor"};
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_), StatusIs(absl::StatusCode::kUnavailable));
  host_.refusals.clear();
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
  EXPECT_TRUE(RunsOnSource());
  EXPECT_EQ(migrator->GetMigrationProgress(vm_)->stage, MigrationStage::kCancelled);
}

TEST_F(XenVmMigratorTest, GoneWithoutWordFromTheTargetIsNoSuccess) {
  WriteXl("wait_for end\nexit 3\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  host_.RemoveDomain(kDomain);
  Touch("end");
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_THAT(end.error, AllOf(HasSubstr("gone from the source"), HasSubstr("exit code 3")));
}

TEST_F(XenVmMigratorTest, MoveThatTakesTooLongIsGivenUp) {
  WriteXlWithHelper();
  XenMigrationOptions options = Options();
  options.limit = absl::Minutes(5);
  const auto migrator = Make(options);
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  WaitForSent(*migrator);
  clock_.Advance(absl::Minutes(5));
  EXPECT_EQ(migrator->GetMigrationProgress(vm_)->stage, MigrationStage::kPreCopy);
  clock_.Advance(absl::Seconds(1));
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_THAT(end.error, HasSubstr("took too long"));
  EXPECT_TRUE(RunsOnSource());
}

TEST_F(XenVmMigratorTest, OutputMayBeAnything) {
  WriteXl(
      "head -c 3000000 /dev/urandom\nhead -c 300000 /dev/zero >&2\ntouch $here/said\n"
      "wait_for end\nexit 1\n");
  const auto migrator = Make();
  CS_ASSERT_OK(migrator->StartMigration(permit_, vm_, "host2"));
  WaitUntil(*migrator, [this](const MigrationProgress&) { return Exists("said"); });
  Suspend();
  Touch("end");
  const MigrationProgress end = WaitForEnd(*migrator);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_LT(end.error.size(), 1000);
  // Leave for the target may stand in what was not read.
  EXPECT_THAT(migrator->CancelMigration(permit_, vm_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("look at both")));
  EXPECT_EQ(host_.count_by_call["Resume"], 0);
}

TEST_F(XenVmMigratorTest, MissingProgramIsNamedAndNothingHasBegun) {
  const auto migrator = Make();
  EXPECT_THAT(migrator->StartMigration(permit_, vm_, "host2"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr(directory_.File("xl")), HasSubstr("No such file"))));
  EXPECT_EQ(migrator->GetMigrationProgress(vm_)->stage, MigrationStage::kNone);
  CS_EXPECT_OK(migrator->CancelMigration(permit_, vm_));
}

TEST_F(XenVmMigratorTest, RefusesWhatCannotBegin) {
  WriteXl("exit 1\n");
  const auto migrator = Make();
  EXPECT_THAT(migrator->StartMigration(permit_, vm_, "nowhere"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("nowhere")));
  const std::string other = "6d0f3f8a-0000-4000-8000-00000000000b";
  EXPECT_THAT(migrator->StartMigration(permit_, {other, ""}, "host2"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(migrator->GetMigrationProgress({other, ""}), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(migrator->GetMigrationProgress({"../../etc/passwd", ""}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(migrator->StartMigration(permit_, {kUuid, "7@1.00"}, "host2"),
              StatusIs(absl::StatusCode::kAborted));
  host_.domains.at(kDomain).facts.is_paused = true;
  EXPECT_THAT(migrator->StartMigration(permit_, vm_, "host2"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("paused")));
  EXPECT_FALSE(Exists("words"));
}

TEST_F(XenVmMigratorTest, EndedRecordsAreNotKeptForever) {
  WriteXl("exit 1\n");
  MoveHeader ended;
  ended.process_id = 2;
  ended.process_start = 1;
  for (int i = 10; i < 90; ++i) {
    directory_.Write(absl::StrCat("moves/", i, std::string(kUuid).substr(2)), FormatHeader(ended));
  }
  CS_ASSERT_OK(Make()->StartMigration(permit_, vm_, "host2"));
  EXPECT_LE(std::distance(std::filesystem::directory_iterator(directory_.File("moves")),
                          std::filesystem::directory_iterator()),
            64 + 2);
}

TEST_F(XenVmMigratorTest, OptionsAreRefusedByName) {
  const auto refused = [&](auto change, absl::StatusCode code, const std::string& text) {
    XenMigrationOptions options = Options();
    change(options);
    EXPECT_THAT(CreateStatus(options), StatusIs(code, HasSubstr(text)));
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  constexpr auto kMissing = absl::StatusCode::kUnimplemented;
  refused([](auto& o) { o.targets["h"] = "-oProxyCommand=id"; }, kInvalid, "targets: address of h");
  refused([](auto& o) { o.targets["a b"] = "host"; }, kInvalid, "targets: host id");
  refused([](auto& o) { o.xl_path = ""; }, kInvalid, "xl_path");
  refused([](auto& o) { o.ssh_command = {}; }, kInvalid, "ssh_command");
  refused([](auto& o) { o.record_directory = "moves"; }, kInvalid, "record_directory");
  refused([](auto& o) { o.limit = absl::ZeroDuration(); }, kInvalid, "limit");
  refused([](auto& o) { o.bandwidth_bytes_per_second = 5; }, kMissing, "bandwidth_bytes_per_sec");
  refused([](auto& o) { o.is_auto_converge = true; }, kMissing, "is_auto_converge");
  refused([](auto& o) { o.is_post_copy = true; }, kMissing, "is_post_copy");
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
