#include "services/monitor/sample_history.h"

#include "gtest/gtest.h"

namespace cloudscale::monitor {
namespace {

MonoTime At(int64_t seconds) { return MonoTime::FromStart(absl::Seconds(seconds)); }
absl::Time Wall(int64_t seconds) { return absl::FromUnixSeconds(1'800'000'000 + seconds); }

HostSnapshot Snapshot(int64_t sequence) {
  HostSnapshot snapshot;
  snapshot.header.sequence = sequence;
  snapshot.header.sample_time = Wall(sequence);
  snapshot.header.monotonic_time = At(sequence);
  VmSample vm;
  vm.uuid = "a";
  vm.vcpu_count = 3;
  vm.cpu_quality = Quality::kFresh;
  vm.cpu_usage_cores = 0.25 * static_cast<double>(sequence);
  vm.memory_used_bytes = sequence * 1000;
  snapshot.vms.push_back(vm);
  return snapshot;
}

TEST(SampleHistoryTest, KeepsTheNewestOfEachVmInOrder) {
  SampleHistory history(10, absl::Seconds(60));
  for (int64_t i = 1; i <= 25; ++i) {
    history.Add(At(i), Snapshot(i));
  }
  const auto points = history.List("a", 0, absl::InfinitePast(), absl::InfiniteFuture(), 100);
  ASSERT_EQ(points.size(), 10u);
  EXPECT_EQ(points.front().sequence, 16);
  EXPECT_EQ(points.back().sequence, 25);
}

TEST(SampleHistoryTest, PagesBySequenceAndCutsByTime) {
  SampleHistory history(100, absl::Seconds(60));
  for (int64_t i = 1; i <= 20; ++i) {
    history.Add(At(i), Snapshot(i));
  }
  const auto points = history.List("a", 5, Wall(3), Wall(9), 100);
  ASSERT_EQ(points.size(), 3u) << "sequence above 5, time before 9";
  EXPECT_EQ(points.front().sequence, 6);
  EXPECT_EQ(history.List("a", 5, Wall(3), Wall(20), 2).size(), 2u);
  EXPECT_TRUE(history.List("b", 0, Wall(0), Wall(99), 10).empty());
}

TEST(SampleHistoryTest, AbsentValuesComeBackAbsent) {
  SampleHistory history(5, absl::Seconds(60));
  history.Add(At(2), Snapshot(2));
  const VmSample vm =
      history.List("a", 0, absl::InfinitePast(), absl::InfiniteFuture(), 1).at(0).ToSample("a");
  EXPECT_DOUBLE_EQ(vm.cpu_usage_cores.value(), 0.5);
  EXPECT_EQ(vm.memory_used_bytes, 2000);
  EXPECT_EQ(vm.vcpu_count, 3);
  EXPECT_FALSE(vm.cpu_demand_cores.has_value());
  EXPECT_FALSE(vm.memory_target_bytes.has_value());
  EXPECT_FALSE(vm.cpu_wait_ratio.has_value());
}

TEST(SampleHistoryTest, ForgetsVmsThatAreGone) {
  SampleHistory history(5, absl::Seconds(60));
  history.Add(At(1), Snapshot(1));
  HostSnapshot empty;
  history.Add(At(60), empty);
  EXPECT_TRUE(history.Knows("a"));
  history.Add(At(62), empty);
  EXPECT_FALSE(history.Knows("a"));
}

}  // namespace
}  // namespace cloudscale::monitor
