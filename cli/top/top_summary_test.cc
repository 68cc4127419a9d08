#include "cli/top/top_summary.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace cloudscale::cli {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;

LiveSample At(int64_t sequence, double demand, double cap, double saved, double granted,
              int64_t under, int64_t steps) {
  LiveSample sample;
  sample.host_id = "host-a";
  sample.sequence = sequence;
  sample.step_time = absl::FromUnixSeconds(1000 + sequence);
  sample.totals = {.capacity_cores = 8.0,
                   .demand_cores = demand,
                   .granted_cores = cap,
                   .static_peak_cores = 4.0,
                   .saved_core_seconds = saved,
                   .granted_core_seconds = granted,
                   .under_estimate_count = under,
                   .step_count = steps};
  LiveVm vm{.uuid = "u1", .name = "web"};
  vm.cpu = {.demand = demand,
            .allocation = cap,
            .static_peak = 4.0,
            .saved_seconds = saved,
            .under_estimate_count = under,
            .step_count = steps};
  sample.vms = {vm};
  return sample;
}

TEST(SummaryBuilderTest, CountsOnlyWhatWasAddedWhileWatching) {
  SummaryBuilder builder;
  builder.Add(At(1, 1.0, 2.0, 100.0, 200.0, 5, 50));
  builder.Add(At(11, 3.0, 4.0, 130.0, 270.0, 7, 60));
  const TopSummary summary = builder.Build(absl::Seconds(10));
  EXPECT_EQ(summary.totals.sample_count, 2);
  EXPECT_DOUBLE_EQ(summary.totals.mean_demand_cores, 2.0);
  EXPECT_DOUBLE_EQ(summary.totals.mean_cap_cores, 3.0);
  EXPECT_DOUBLE_EQ(summary.totals.saved_core_seconds, 4.0 * 10 - 70) << "peak times time - granted";
  EXPECT_THAT(summary.totals.saved_ratio.value(), DoubleNear(-30.0 / 40, 1e-9));
  EXPECT_EQ(summary.totals.under_estimate_count, 2);
  EXPECT_DOUBLE_EQ(summary.totals.under_estimate_ratio.value(), 0.2);
  EXPECT_EQ(summary.scaler_duration, absl::Seconds(10));
  ASSERT_EQ(summary.vms.size(), 1u);
  EXPECT_DOUBLE_EQ(summary.vms[0].saved_core_seconds, (4.0 - 3.0) * 10);
  EXPECT_THAT(summary.vms[0].saved_ratio.value(), DoubleNear(0.25, 1e-9));
}

TEST(SummaryBuilderTest, APeakWhileWatchingSavesNothingForTheTimeBefore) {
  SummaryBuilder builder;
  builder.Add(At(1, 1.0, 2.0, 0.0, 170'000.0, 0, 8000));
  LiveSample peak = At(61, 5.0, 2.0, 86'400.0, 170'120.0, 0, 8006);
  peak.totals.static_peak_cores = 5.0;
  builder.Add(peak);
  EXPECT_DOUBLE_EQ(builder.Build(absl::Seconds(60)).totals.saved_core_seconds, 5.0 * 60 - 120);
}

TEST(SummaryBuilderTest, TheSameSequenceCountsOnce) {
  SummaryBuilder builder;
  builder.Add(At(1, 1.0, 2.0, 0, 0, 0, 0));
  builder.Add(At(1, 1.0, 2.0, 0, 0, 0, 0));
  EXPECT_EQ(builder.Build(absl::Seconds(1)).totals.sample_count, 1);
}

TEST(SummaryBuilderTest, CountersOfARestartedScalerBeginAtZero) {
  SummaryBuilder builder;
  builder.Add(At(100, 1.0, 2.0, 100.0, 200.0, 5, 50));
  builder.Add(At(3, 1.0, 2.0, 4.0, 6.0, 1, 2));
  const TopSummary summary = builder.Build(absl::Seconds(1));
  EXPECT_DOUBLE_EQ(summary.granted_core_seconds, 6.0);
  EXPECT_EQ(summary.totals.under_estimate_count, 1);
  EXPECT_EQ(summary.totals.step_count, 2);
}

TEST(SummaryBuilderTest, SavingsThatShrinkAreNotTakenForARestart) {
  SummaryBuilder builder;
  builder.Add(At(1, 1.0, 2.0, 100.0, 200.0, 0, 50));
  builder.Add(At(2, 1.0, 5.0, 99.0, 205.0, 0, 51));
  EXPECT_DOUBLE_EQ(builder.Build(absl::Seconds(1)).totals.saved_core_seconds, -1.0);
}

TEST(SummaryBuilderTest, AVmThatComesLaterCountsFromItsBeginning) {
  SummaryBuilder builder;
  LiveSample first = At(1, 1.0, 2.0, 0, 0, 0, 0);
  first.vms.clear();
  builder.Add(first);
  builder.Add(At(2, 1.0, 2.0, 0, 0, 3, 4));
  EXPECT_EQ(builder.Build(absl::Seconds(1)).vms[0].under_estimate_count, 3);
}

TEST(TopSummaryTest, JsonHasTheDocumentedKeys) {
  SummaryBuilder builder;
  builder.Add(At(1, 1.0, 2.0, 0.0, 0.0, 0, 0));
  builder.Add(At(2, 1.0, 2.0, 2.0, 2.0, 0, 1));
  TopSummary summary = builder.Build(absl::Seconds(60));
  summary.actions["SET_CPU_CAP"] = {.count = 4, .failed_count = 1};
  const auto json = nlohmann::json::parse(SummaryToJson(summary));
  for (const char* key : {"host_id", "duration_seconds", "scaler_duration_seconds",
                          "failed_look_count", "totals", "vms", "actions", "actions_complete"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  for (const char* key :
       {"sample_count", "mean_demand_cores", "mean_cap_cores", "static_peak_cores",
        "saved_core_seconds", "saved_ratio", "violation_count", "violation_ratio",
        "under_estimate_count", "under_estimate_ratio", "step_count"}) {
    EXPECT_TRUE(json["totals"].contains(key)) << key;
    EXPECT_TRUE(json["vms"][0].contains(key)) << key;
  }
  EXPECT_EQ(json["actions"]["SET_CPU_CAP"]["count"], 4);
  EXPECT_EQ(json["duration_seconds"], 60.0);
}

TEST(TopSummaryTest, TextNamesEachVmAndTheWhole) {
  SummaryBuilder builder;
  builder.Add(At(1, 1.0, 2.0, 0.0, 0.0, 0, 0));
  builder.Add(At(2, 1.0, 2.0, 2.0, 2.0, 0, 1));
  const std::string text = RenderSummary(builder.Build(absl::Seconds(60)), 0, Style());
  EXPECT_THAT(text, HasSubstr("web"));
  EXPECT_THAT(text, HasSubstr("all"));
  EXPECT_THAT(text, HasSubstr("Actions  none"));
  EXPECT_THAT(text, HasSubstr("50.0 % of static peak"));
}

}  // namespace
}  // namespace cloudscale::cli
