#include "hypervisor/fake/pre_copy.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::hypervisor::fake {
namespace {

using ::testing::HasSubstr;

PreCopy::Options Options() {
  return {.memory_bytes = 1000,
          .bytes_per_second = 100,
          .downtime_limit = absl::Milliseconds(300),
          .max_rounds = 5,
          .switch_over = absl::Milliseconds(20)};
}

TEST(PreCopyTest, IdleGuestNeedsOneRoundAndTheFixedPause) {
  PreCopy copy(Options());
  copy.Step(absl::Seconds(9), 0);
  EXPECT_EQ(copy.stage(), MigrationStage::kPreCopy);
  EXPECT_NEAR(static_cast<double>(copy.progress().remaining_bytes), 100, 1);
  EXPECT_FALSE(copy.progress().downtime.has_value());
  copy.Step(absl::Milliseconds(1010), 0);
  EXPECT_EQ(copy.stage(), MigrationStage::kStopAndCopy);
  copy.Step(absl::Seconds(1), 0);
  EXPECT_EQ(copy.stage(), MigrationStage::kDone);
  EXPECT_EQ(copy.progress().transferred_bytes, 1000);
  ASSERT_TRUE(copy.progress().downtime.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*copy.progress().downtime), 0.02, 1e-6);
}

TEST(PreCopyTest, WritingGuestIsSentAgainUntilTheRestFitsThePause) {
  PreCopy copy(Options());
  copy.Step(absl::Hours(1), 20);
  EXPECT_EQ(copy.stage(), MigrationStage::kDone);
  // 1000, then a fifth of the round before each time: 200, 40, and 8 in the pause.
  EXPECT_NEAR(static_cast<double>(copy.progress().transferred_bytes), 1248, 1);
  EXPECT_NEAR(absl::ToDoubleSeconds(*copy.progress().downtime), 0.1, 1e-6);
}

TEST(PreCopyTest, SameResultInAnySteps) {
  PreCopy at_once(Options());
  PreCopy in_pieces(Options());
  at_once.Step(absl::Seconds(20), 20);
  for (int i = 0; i < 2000; ++i) {
    in_pieces.Step(absl::Milliseconds(10), 20);
  }
  EXPECT_EQ(in_pieces.stage(), MigrationStage::kDone);
  EXPECT_NEAR(static_cast<double>(in_pieces.progress().transferred_bytes),
              static_cast<double>(at_once.progress().transferred_bytes), 2);
}

TEST(PreCopyTest, GuestThatWritesFasterThanTheLinkFails) {
  PreCopy copy(Options());
  copy.Step(absl::Hours(1), 150);
  EXPECT_EQ(copy.stage(), MigrationStage::kFailed);
  EXPECT_THAT(copy.progress().error, HasSubstr("does not converge"));
}

TEST(PreCopyTest, CancelWorksOnlyBeforeThePause) {
  PreCopy early(Options());
  early.Step(absl::Seconds(1), 0);
  EXPECT_TRUE(early.Cancel());
  EXPECT_TRUE(early.Cancel()) << "again";
  EXPECT_EQ(early.stage(), MigrationStage::kCancelled);
  early.Step(absl::Hours(1), 0);
  EXPECT_EQ(early.stage(), MigrationStage::kCancelled);

  PreCopy late(Options());
  late.Step(absl::Milliseconds(10010), 0);
  ASSERT_EQ(late.stage(), MigrationStage::kStopAndCopy);
  EXPECT_FALSE(late.Cancel());
  EXPECT_EQ(late.stage(), MigrationStage::kStopAndCopy);
}

}  // namespace
}  // namespace cloudscale::hypervisor::fake
