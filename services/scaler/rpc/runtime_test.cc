#include "services/scaler/rpc/runtime.h"

#include <atomic>
#include <memory>
#include <utility>

#include "common/metrics/metric_sink.h"
#include "common/sync/bounded_queue.h"
#include "common/testing/status_matchers.h"
#include "common/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/scaler/memory_journal.h"
#include "services/scaler/testing/recording_actuator.h"

namespace cloudscale::scaler {
namespace {

TEST(RuntimeTest, P17SamplesWithoutEndDoNotStarveCommands) {
  constexpr int kSamples = 500;
  const auto clock = MakeRealClock();
  NullMetricSink metrics;
  Runtime runtime(*clock);
  BoundedQueue<int> ran(1);
  BoundedQueue<int> ended(1);
  std::atomic<bool> has_started = false;
  std::atomic<int> taken = 0;
  ScalerCore::Sinks sinks = runtime.MakeSinks();
  // Each sample brings the next one along before it is done.
  sinks.snapshot = [&](std::shared_ptr<const Snapshot>) {
    if (!has_started) {
      return;
    }
    const int count = ++taken;
    if (count == 1) {
      EXPECT_TRUE(
          runtime.Post([&](ScalerCore*) { EXPECT_TRUE(ran.PushDroppingOldest(taken.load())); }));
    }
    if (count < kSamples) {
      runtime.OnObservation({});
    } else {
      ended.PushDroppingOldest(count);
    }
  };
  ScalerCore::Config config;
  config.host_id = "host-1";
  auto core = ScalerCore::Create(std::move(config), std::make_unique<MemoryJournal>(),
                                 std::make_unique<testing::RecordingActuator>(), *clock, metrics,
                                 std::move(sinks));
  CS_ASSERT_OK(core);
  has_started = true;
  runtime.Start(*std::move(core));
  runtime.OnObservation({});
  EXPECT_TRUE(ended.PopFor(absl::Seconds(20), {}).has_value());
  const auto at = ran.PopFor(absl::Seconds(20), {});
  runtime.Stop();
  ASSERT_TRUE(at.has_value());
  EXPECT_LT(*at, 5);
}

}  // namespace
}  // namespace cloudscale::scaler
