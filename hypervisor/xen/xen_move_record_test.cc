#include "hypervisor/xen/xen_move_record.h"

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor::xen {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kReceived[] = "migration sender: Target has acknowledged transfer.\n";
constexpr char kPermitted[] = "migration sender: Giving target permission to start.\n";
constexpr char kStarted[] = "migration sender: Target reports successful startup.\n";

MoveHeader Header() {
  return {.process_id = 4321,
          .process_start = 98765,
          .domain_id = 7,
          .begun = absl::Milliseconds(1234567),
          .host_id = "host2"};
}

MoveRecord Parse(const std::string& output, bool is_whole = true) {
  const auto record = ParseMove(absl::StrCat(FormatHeader(Header()), output), is_whole);
  EXPECT_TRUE(record.ok()) << record.status();
  return record.value_or(MoveRecord());
}

MigrationProgress JudgeEnded(const std::string& output, SourceDomain source) {
  return JudgeMove(Parse(output), /*is_xl_running=*/false, source);
}

TEST(XenMoveRecordTest, FirstLineIsReadBack) { EXPECT_EQ(Parse("").header, Header()); }

TEST(XenMoveRecordTest, WhatIsNoRecordIsRefused) {
  for (const std::string text :
       {"", "cloudscale-move 1 process=4321 start=98765 domain=7 begun=1 host=h",
        "migration sender: hello\n", "cloudscale-move 1 process=1 start=1 domain=7 begun=1\n",
        "cloudscale-move 1 process=x start=1 domain=7 begun=1\n"}) {
    EXPECT_FALSE(ParseMove(text, true).ok()) << text;
  }
}

TEST(XenMoveRecordTest, GoesThroughItsStagesWhileXlRuns) {
  EXPECT_EQ(JudgeMove(Parse(""), true, SourceDomain::kRuns).stage, MigrationStage::kPreCopy);
  EXPECT_EQ(JudgeMove(Parse(""), true, SourceDomain::kSuspended).stage,
            MigrationStage::kStopAndCopy);
  EXPECT_EQ(JudgeMove(Parse(kReceived), true, SourceDomain::kRuns).stage,
            MigrationStage::kStopAndCopy);
  EXPECT_EQ(JudgeMove(Parse(kStarted), true, SourceDomain::kAbsent).stage,
            MigrationStage::kStopAndCopy);
}

TEST(XenMoveRecordTest, P9_OneThatStillRunsOnTheSourceHasNotMovedWhateverXlSays) {
  const MigrationProgress end =
      JudgeEnded(absl::StrCat(kStarted, FormatExit(0)), SourceDomain::kRuns);
  EXPECT_EQ(end.stage, MigrationStage::kFailed);
  EXPECT_THAT(end.error, HasSubstr("still runs on the source"));
}

TEST(XenMoveRecordTest, GoneFromTheSourceIsDoneOnlyWhenTheTargetHasIt) {
  EXPECT_EQ(JudgeEnded(FormatExit(0), SourceDomain::kAbsent).stage, MigrationStage::kDone);
  // The one that started `xl` was not there to hear its exit code.
  EXPECT_EQ(JudgeEnded(kStarted, SourceDomain::kAbsent).stage, MigrationStage::kDone);
  const MigrationProgress lost =
      JudgeEnded(absl::StrCat(kPermitted, "Broken pipe\n", FormatExit(1)), SourceDomain::kAbsent);
  EXPECT_EQ(lost.stage, MigrationStage::kFailed);
  EXPECT_THAT(lost.error, AllOf(HasSubstr("host2"), HasSubstr("exit code 1: Broken pipe")));
}

TEST(XenMoveRecordTest, P9_SuspendedOneMayRunOnOnlyWhenTheTargetWasNeverAllowedTo) {
  const std::string killed = FormatExit(128 + 9);
  EXPECT_TRUE(MayResume(Parse(absl::StrCat(kReceived, killed)), false, SourceDomain::kSuspended));
  EXPECT_FALSE(MayResume(Parse(absl::StrCat(kReceived, killed)), true, SourceDomain::kSuspended));
  EXPECT_FALSE(MayResume(Parse(killed), false, SourceDomain::kRuns));
  EXPECT_FALSE(MayResume(Parse(killed), false, SourceDomain::kAbsent));
  EXPECT_FALSE(MayResume(Parse(absl::StrCat(kPermitted, killed)), false, SourceDomain::kSuspended));
  EXPECT_FALSE(MayResume(Parse(killed, /*is_whole=*/false), false, SourceDomain::kSuspended))
      << "leave may stand in what was not read";

  EXPECT_THAT(JudgeEnded(killed, SourceDomain::kSuspended).error,
              AllOf(HasSubstr("runs nowhere"), HasSubstr("signal 9")));
  EXPECT_THAT(JudgeEnded(absl::StrCat(kPermitted, killed), SourceDomain::kSuspended).error,
              HasSubstr("look at both"));
  const MigrationProgress started =
      JudgeEnded(absl::StrCat(kPermitted, kStarted, killed), SourceDomain::kSuspended);
  EXPECT_EQ(started.stage, MigrationStage::kDone);
  EXPECT_THAT(started.error, HasSubstr("xl destroy 7"));
}

TEST(XenMoveRecordTest, CancelledAndOutOfTimeAreTold) {
  EXPECT_EQ(JudgeEnded(absl::StrCat("half a line", kCancelNote, FormatExit(1)), SourceDomain::kRuns)
                .stage,
            MigrationStage::kCancelled);
  EXPECT_THAT(JudgeEnded(absl::StrCat(kTimeNote, FormatExit(1)), SourceDomain::kRuns).error,
              HasSubstr("took too long"));
  EXPECT_EQ(
      JudgeEnded(absl::StrCat(kStarted, kCancelNote, FormatExit(0)), SourceDomain::kAbsent).stage,
      MigrationStage::kDone)
      << "too late";
  EXPECT_THAT(JudgeEnded(FormatExit(0), SourceDomain::kEnded).error, HasSubstr("by itself"));
}

TEST(XenMoveRecordTest, TellsTheFirstComplaintAsOneLineOfText) {
  const std::string output = absl::StrCat("Saving to migration stream\n",
                                          "xc: error: Failed to enable\x01 logdirty: 95,22,0\n",
                                          "Migration failed, resuming at sender.\n", FormatExit(1));
  EXPECT_THAT(JudgeEnded(output, SourceDomain::kRuns).error,
              AllOf(HasSubstr("Failed to enable? logdirty"), Not(HasSubstr("resuming"))));
  EXPECT_LT(Parse(std::string(100000, 'x')).complaint.size(), 1000);
}

TEST(XenMoveRecordTest, QuotedWordReachesAProgramAsItIs) {
  const std::string word = "a b;$(id)`id`'\"\\*\n|&";
  std::unique_ptr<FILE, decltype(&pclose)> pipe(
      popen(absl::StrCat("printf %s ", ShellQuoted(word)).c_str(), "r"), &pclose);
  ASSERT_NE(pipe, nullptr);
  std::array<char, 64> read{};
  const size_t count = fread(read.data(), 1, read.size(), pipe.get());
  EXPECT_EQ(std::string(read.data(), count), word);
}

TEST(XenMoveRecordTest, AddressIsOneWordAndNoOption) {
  for (const std::string good : {"host2", "10.98.0.2", "::1", "fe80::1", "a-b.c_d.example"}) {
    EXPECT_TRUE(IsHostAddress(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("-oProxyCommand=id"), std::string("-A"), std::string("a b"),
        std::string("a;id"), std::string("$(id)"), std::string("a\nb"), std::string("root@host"),
        std::string(254, 'a')}) {
    EXPECT_FALSE(IsHostAddress(bad)) << bad;
  }
}

}  // namespace
}  // namespace cloudscale::hypervisor::xen
