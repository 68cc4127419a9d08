#include "tools/worker/worker.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tools/worker/arrivals.h"
#include "tools/worker/report.h"
#include "tools/worker/worker_options.h"

namespace cloudscale::worker {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Arrivals::Config Peak(double cores) {
  return {.peak_cores = cores, .speed = 1, .unit_cpu = absl::Milliseconds(4)};
}

TEST(ArrivalsTest, RateIsDemandOverUnit) {
  Arrivals arrivals(workload::MakeConstantDemand(0.5), Peak(2));
  const auto times = arrivals.Until(absl::Seconds(10));
  EXPECT_NEAR(static_cast<double>(times.size()), 2500, 1);  // 10 s x 1 core / 4 ms
  EXPECT_NEAR(arrivals.demanded_cpu_seconds(), 10, 1e-9);
  EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
  EXPECT_LE(times.back(), absl::Seconds(10));
  EXPECT_NEAR(absl::ToDoubleMilliseconds(times[100] - times[99]), 4, 1e-6);
}

TEST(ArrivalsTest, LateCallsMissNothing) {
  trace::Trace trace{"t", "cpu", absl::Seconds(1), {0.1, 0.9, 0.3, 0}, ""};
  Arrivals often(workload::MakeTraceDemand(trace), Peak(1.5));
  Arrivals once(workload::MakeTraceDemand(trace), Peak(1.5));
  std::vector<absl::Duration> sum;
  for (int ms = 0; ms <= 7000; ms += 7) {
    const auto some = often.Until(absl::Milliseconds(ms));
    sum.insert(sum.end(), some.begin(), some.end());
  }
  EXPECT_EQ(sum, once.Until(absl::Seconds(7)));
}

TEST(ArrivalsTest, SpeedMakesThePatternPassFaster) {
  trace::Trace trace{"t", "cpu", absl::Seconds(10), {0, 1}, ""};
  Arrivals arrivals(workload::MakeTraceDemand(trace),
                    {.peak_cores = 1, .speed = 10, .unit_cpu = absl::Milliseconds(10)});
  EXPECT_THAT(arrivals.Until(absl::Seconds(1)), IsEmpty());
  EXPECT_NEAR(static_cast<double>(arrivals.Until(absl::Seconds(2)).size()), 100, 1);
}

TEST(ToJsonLineTest, HasMeanAndNearestRankP95) {
  Interval interval;
  interval.elapsed = absl::Seconds(3);
  interval.end = absl::FromUnixSeconds(1000);
  interval.demanded_cpu_seconds = 0.5;
  interval.backlog = 7;
  for (int i = 100; i >= 1; --i) {
    interval.latencies.push_back(absl::Milliseconds(i));
  }
  const auto json = nlohmann::json::parse(ToJsonLine(interval));
  EXPECT_EQ(json["t"], 3.0);
  EXPECT_EQ(json["unix_seconds"], 1000.0);
  EXPECT_EQ(json["demanded_cpu_seconds"], 0.5);
  EXPECT_EQ(json["backlog"], 7);
  EXPECT_EQ(json["finished_units"], 100);
  EXPECT_EQ(json["latency_mean_seconds"], 0.0505);
  EXPECT_EQ(json["latency_p95_seconds"], 0.095);
}

TEST(ToJsonLineTest, NothingFinishedHasNoLatency) {
  const auto json = nlohmann::json::parse(ToJsonLine(Interval()));
  EXPECT_TRUE(json["latency_mean_seconds"].is_null());
  EXPECT_TRUE(json["latency_p95_seconds"].is_null());
}

TEST(ParseWorkerOptionsTest, TakesBothFormsOfAFlag) {
  const auto options =
      ParseWorkerOptions({"--pattern", "bursty", "--peak-cores=1.5", "--memory-mib", "64",
                          "--seed=7", "--speed", "10", "--report=out.jsonl"});
  CS_ASSERT_OK(options);
  EXPECT_EQ(options->pattern, "bursty");
  EXPECT_EQ(options->peak_cores, 1.5);
  EXPECT_EQ(options->memory_mib, 64);
  EXPECT_EQ(options->seed, 7);
  EXPECT_EQ(options->speed, 10);
  EXPECT_EQ(options->report_file, "out.jsonl");
}

TEST(ParseWorkerOptionsTest, NamesAllFaultsAtOnce) {
  EXPECT_THAT(ParseWorkerOptions(
                  {"--pattern", "zigzag", "--peak-cores=nan", "--what", "--seed", "x", "--report"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--pattern"), HasSubstr("zigzag"), HasSubstr("--peak-cores"),
                             HasSubstr("--what"), HasSubstr("--seed"), HasSubstr("--report"))));
  EXPECT_THAT(ParseWorkerOptions({"--pattern=trace"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--trace")));
}

TEST(MakeDemandTest, PlaysPatternsAndTraces) {
  for (const char* pattern : {"web", "batch", "bursty", "flat"}) {
    const auto options = ParseWorkerOptions({"--pattern", pattern});
    CS_ASSERT_OK(options);
    CS_EXPECT_OK(MakeDemand(*options));
  }
  const testing::TempDir dir;
  const std::string file = dir.Write("x.csv", "t_seconds,cpu\n0,0.25\n1,0.75\n");
  const auto options = ParseWorkerOptions({"--pattern", "trace", "--trace", file});
  CS_ASSERT_OK(options);
  const auto demand = MakeDemand(*options);
  CS_ASSERT_OK(demand);
  EXPECT_EQ((*demand)->FractionAt(absl::Milliseconds(1500)), 0.75);
  WorkerOptions missing = *options;
  missing.trace_file = dir.File("no.csv");
  EXPECT_THAT(MakeDemand(missing), StatusIs(absl::StatusCode::kNotFound));
}

// Real threads: what is reported adds up, and a backlog that is full refuses and counts.
TEST(WorkerTest, AccountsForEveryUnit) {
  const std::unique_ptr<Clock> clock = MakeRealClock();
  Worker::Config config;
  config.max_backlog = 20;
  config.report_period = absl::Milliseconds(50);
  // Five cores' worth for one thread: most must be refused.
  Worker worker(*clock, Arrivals(workload::MakeConstantDemand(1), Peak(5)), config);
  std::stop_source stop;
  std::vector<Interval> intervals;
  worker.Run(stop.get_token(), [&](Interval interval) {
    intervals.push_back(std::move(interval));
    if (intervals.size() == 4) {
      stop.request_stop();
    }
  });
  ASSERT_GE(intervals.size(), 4U);
  int64_t finished = 0;
  int64_t dropped = 0;
  for (const Interval& interval : intervals) {
    finished += static_cast<int64_t>(interval.latencies.size());
    dropped += interval.dropped_units;
    EXPECT_LE(interval.backlog, 21);
  }
  const Interval& last = intervals.back();
  const double arrived = std::floor(last.total_demanded_cpu_seconds / 0.004 + 1e-6);
  // A unit between the queue and the burning is in neither count for a moment.
  EXPECT_NEAR(static_cast<double>(finished + dropped + last.backlog), arrived, 2);
  EXPECT_GT(dropped, 0);
  EXPECT_GT(finished, 0);
  EXPECT_NEAR(last.total_done_cpu_seconds, 0.004 * static_cast<double>(finished), 1e-9);
}

}  // namespace
}  // namespace cloudscale::worker
