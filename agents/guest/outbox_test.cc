#include "agents/guest/outbox.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Report Numbered(int64_t sequence) {
  Report report;
  report.sequence = sequence;
  return report;
}

std::vector<int64_t> Sequences(const Outbox& outbox, size_t max_count = 100) {
  std::vector<int64_t> result;
  for (const Report& report : outbox.Oldest(max_count)) {
    result.push_back(report.sequence);
  }
  return result;
}

TEST(OutboxTest, KeepsInOrderUntilAcknowledged) {
  Outbox outbox(10);
  for (int64_t i = 1; i <= 5; ++i) {
    outbox.Add(Numbered(i));
  }
  EXPECT_THAT(Sequences(outbox, 2), ElementsAre(1, 2));
  EXPECT_THAT(Sequences(outbox), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_EQ(outbox.Acknowledge(3), 3U);
  EXPECT_EQ(outbox.Acknowledge(2), 0U);
  EXPECT_THAT(Sequences(outbox), ElementsAre(4, 5));
}

TEST(OutboxTest, FullDropsTheOldestAndCounts) {
  Outbox outbox(3);
  for (int64_t i = 1; i <= 5; ++i) {
    outbox.Add(Numbered(i));
  }
  EXPECT_THAT(Sequences(outbox), ElementsAre(3, 4, 5));
  EXPECT_EQ(outbox.dropped_count(), 2);
}

TEST(OutboxTest, WrongAcknowledgementsDoNoHarmBeyondWhatIsHere) {
  Outbox outbox(3);
  outbox.Add(Numbered(1));
  EXPECT_EQ(outbox.Acknowledge(-7), 0U);
  EXPECT_EQ(outbox.Acknowledge(INT64_MAX), 1U);
  outbox.Add(Numbered(2));
  EXPECT_THAT(Sequences(outbox), ElementsAre(2));
  EXPECT_EQ(outbox.Acknowledge(2), 1U);
  EXPECT_THAT(Sequences(outbox), IsEmpty());
}

}  // namespace
}  // namespace cloudscale::guest
