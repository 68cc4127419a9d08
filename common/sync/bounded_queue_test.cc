#include "common/sync/bounded_queue.h"

#include <thread>

#include "gtest/gtest.h"

namespace cloudscale {
namespace {

TEST(BoundedQueueTest, DropsTheOldestWhenFullAndCountsIt) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.PushDroppingOldest(1));
  EXPECT_TRUE(queue.PushDroppingOldest(2));
  EXPECT_FALSE(queue.PushDroppingOldest(3));
  EXPECT_EQ(queue.dropped_count(), 1);
  EXPECT_EQ(queue.TryPop(), 2);
  EXPECT_EQ(queue.TryPop(), 3);
  EXPECT_EQ(queue.TryPop(), std::nullopt);
}

TEST(BoundedQueueTest, TryPushRefusesWhenFull) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.TryPop(), 1);
}

TEST(BoundedQueueTest, PopWaitsForAProducer) {
  BoundedQueue<int> queue(4);
  std::jthread producer([&] { queue.PushDroppingOldest(9); });
  EXPECT_EQ(queue.Pop(std::stop_token()), 9);
}

TEST(BoundedQueueTest, PopEndsWhenStopped) {
  BoundedQueue<int> queue(4);
  std::optional<int> got = 1;
  {
    std::jthread consumer([&](std::stop_token stop) { got = queue.Pop(stop); });
  }
  EXPECT_EQ(got, std::nullopt);
}

TEST(BoundedQueueTest, ManyProducersLoseNothingBelowCapacity) {
  BoundedQueue<int> queue(4000);
  {
    std::vector<std::jthread> producers;
    for (int p = 0; p < 4; ++p) {
      producers.emplace_back([&] {
        for (int i = 0; i < 1000; ++i) {
          EXPECT_TRUE(queue.TryPush(i));
        }
      });
    }
  }
  EXPECT_EQ(queue.size(), 4000u);
}

}  // namespace
}  // namespace cloudscale
