#include "common/timeseries/ring_buffer.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale {
namespace {

using ::testing::ElementsAre;

TEST(RingBufferTest, KeepsTheNewestInOrder) {
  RingBuffer<int> buffer(3);
  for (int i = 1; i <= 5; ++i) {
    buffer.Push(i);
  }
  EXPECT_EQ(buffer.size(), 3u);
  EXPECT_EQ(buffer.front(), 3);
  EXPECT_EQ(buffer.back(), 5);
  EXPECT_THAT(buffer.Last(10), ElementsAre(3, 4, 5));
  EXPECT_THAT(buffer.Last(2), ElementsAre(4, 5));
}

TEST(RingBufferTest, ClearsAndFillsAgain) {
  RingBuffer<int> buffer(2);
  buffer.Push(1);
  buffer.Push(2);
  buffer.Push(3);
  buffer.Clear();
  EXPECT_TRUE(buffer.empty());
  buffer.Push(4);
  EXPECT_THAT(buffer.Last(2), ElementsAre(4));
}

}  // namespace
}  // namespace cloudscale
