#include "common/engine/engine_thread.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <vector>

#include "common/time/sim_clock.h"

namespace cloudscale {
namespace {

TEST(EngineThreadTest, RunsTasksInOrderAndTheQueuedOnesAtAStop) {
  const auto clock = MakeRealClock();
  EngineThread engine(*clock, 100);
  EXPECT_FALSE(engine.Post([] {})) << "not started";
  engine.Start([] { return absl::Hours(1); }, [] {});
  std::vector<int> order;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(engine.Post([&order, i] { order.push_back(i); }));
  }
  engine.Stop();
  ASSERT_EQ(order.size(), 50U);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(order[static_cast<size_t>(i)], i);
  }
  EXPECT_FALSE(engine.Post([] {}));
}

TEST(EngineThreadTest, RefusesWhenTheMailboxIsFull) {
  const auto clock = MakeRealClock();
  EngineThread engine(*clock, 2);
  engine.Start([] { return absl::Hours(1); }, [] {});
  std::promise<void> started, release;
  ASSERT_TRUE(engine.Post([&] {
    started.set_value();
    release.get_future().wait();
  }));
  started.get_future().wait();
  EXPECT_TRUE(engine.Post([] {}));
  EXPECT_TRUE(engine.Post([] {}));
  EXPECT_FALSE(engine.Post([] {}));
  release.set_value();
  engine.Stop();
}

TEST(EngineThreadTest, TicksFollowTheInjectedClock) {
  SimClock clock;
  EngineThread engine(clock, 10);
  std::atomic<int> ticks = 0;
  engine.Start([] { return absl::Seconds(10); },
               [&ticks] {
                 ++ticks;
                 ticks.notify_all();
               });
  ticks.wait(0);
  clock.Advance(absl::Seconds(10));
  ticks.wait(1);
  engine.Stop();
  EXPECT_EQ(ticks, 2);
}

TEST(EngineThreadTest, TimeThatPassesDuringATickDoesNotPutOffTheNext) {
  SimClock clock;
  EngineThread engine(clock, 10);
  std::atomic<int> ticks = 0;
  engine.Start([] { return absl::Seconds(10); },
               [&] {
                 clock.Advance(absl::Seconds(ticks == 0 ? 10 : 0));
                 ++ticks;
                 ticks.notify_all();
               });
  ticks.wait(0);
  ticks.wait(1);
  engine.Stop();
  EXPECT_EQ(ticks, 2);
}

}  // namespace
}  // namespace cloudscale
