#include "cli/top/top_view.h"

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

LiveSample TwoVms() {
  LiveSample sample;
  sample.host_id = "host-a";
  sample.mode = "AUTO";
  sample.is_warm = true;
  sample.sequence = 12;
  sample.totals = {.capacity_cores = 8.0,
                   .demand_cores = 2.5,
                   .usage_cores = 2.4,
                   .granted_cores = 3.5,
                   .headroom_cores = 4.5,
                   .static_peak_cores = 6.0,
                   .saved_core_seconds = 3600.0,
                   .granted_core_seconds = 5400.0,
                   .action_count = 7,
                   .failed_action_count = 1,
                   .under_estimate_count = 3,
                   .step_count = 200};
  sample.links = {{"monitor", "UP", ""}, {"predictor", "CONNECTING", "connection refused"}};
  LiveVm web{.uuid = "11111111-0000-0000-0000-000000000000", .name = "web-1", .mode = "AUTO"};
  web.reason = "FORECAST: follows the forecast";
  web.cpu = {.usage = 1.4,
             .demand = 1.5,
             .forecast = 1.6,
             .allocation = 2.0,
             .padding = 0.4,
             .static_peak = 4.0,
             .is_warm = true,
             .quality = "FRESH"};
  LiveVm db{.uuid = "22222222-0000-0000-0000-000000000000", .name = "db", .mode = "OBSERVE"};
  db.is_paused = true;
  db.cpu = {.usage = 1.0, .demand = 1.0, .static_peak = 2.0, .quality = "STALE"};
  sample.vms = {web, db};
  return sample;
}

TopFrame Frame() {
  return {.now = absl::FromUnixSeconds(45'065),
          .address = "127.0.0.1:1",
          .remaining = absl::Seconds(42)};
}

std::string Text(const std::vector<std::string>& lines) { return absl::StrJoin(lines, "\n"); }

TEST(TopViewTest, ShowsTheWholeHostAtFullWidth) {
  const LiveSample sample = TwoVms();
  DemandHistory history;
  history.Add(sample);
  EXPECT_EQ(Text(RenderTop(Frame(), &sample, history, {.width = 160}, Style())),
            R"(CloudScale  host host-a  mode AUTO  warm  12:31:05 UTC  ends in 42s
CPU      demand 2.50  usage 2.40  granted 3.50  headroom 4.50  of 8.00 cores
Savings  40.0 % against static peak (6.00 cores), 1.00 core-hours so far
So far   under-estimates 3 of 200 (1.5 %)  violations 0  actions 7 (1 failed)
Links    monitor UP  predictor CONNECTING (connection refused)

VM     DEMAND  USAGE  FORECAST   CAP  PADDING  LOAD          TREND             MODE            DATA   LAST REASON
web-1    1.50   1.40      1.60  2.00     0.40  █████░······                 ▄  AUTO            FRESH  FORECAST: follows the forecast
db       1.00   1.00         -  none     0.00  ██████░░░░░░                 ▅  OBSERVE paused  STALE)");
}

TEST(TopViewTest, FitsNarrowTerminalsByLeavingOutTheLeastImportant) {
  const LiveSample sample = TwoVms();
  const std::vector<std::string> lines =
      RenderTop(Frame(), &sample, DemandHistory(), {.width = 60}, Style());
  EXPECT_THAT(lines, Contains(HasSubstr("web-1")));
  EXPECT_THAT(lines, Contains(HasSubstr("CAP")));
  EXPECT_THAT(Text(lines), Not(HasSubstr("TREND")));
  for (size_t i = lines.size() - 3; i < lines.size(); ++i) {
    EXPECT_LE(DisplayWidth(lines[i]), 60) << lines[i];
  }
}

TEST(TopViewTest, CountsVmsThatDoNotFitTheHeight) {
  LiveSample sample = TwoVms();
  while (sample.vms.size() < 30) {
    sample.vms.push_back(sample.vms.front());
  }
  const std::vector<std::string> lines =
      RenderTop(Frame(), &sample, DemandHistory(), {.width = 100, .height = 20}, Style());
  EXPECT_EQ(lines.size(), 20u);
  EXPECT_THAT(lines.back(), HasSubstr("more VMs"));
}

TEST(TopViewTest, SaysWhyNothingIsShownBeforeTheFirstAnswer) {
  TopFrame frame = Frame();
  frame.error = "connection refused";
  const std::vector<std::string> lines =
      RenderTop(frame, nullptr, DemandHistory(), {.width = 80}, Style());
  EXPECT_THAT(lines, Contains(HasSubstr("127.0.0.1:1: connection refused")));
}

TEST(TopViewTest, TellsFailStaticFirst) {
  LiveSample sample = TwoVms();
  sample.fail_static_reason = "journal is broken";
  EXPECT_THAT(RenderTop(Frame(), &sample, DemandHistory(), {.width = 0}, Style())[1],
              HasSubstr("Nothing is changed: journal is broken"));
}

TEST(TopViewTest, OneLineFormHasSumsAndEachVm) {
  const LiveSample sample = TwoVms();
  EXPECT_EQ(RenderTopLine(Frame(), &sample),
            "12:31:05 host-a AUTO demand 2.50 granted 3.50 headroom 4.50 saved 40.0 % "
            "under-estimates 3 violations 0 | web-1 1.50/2.00 db 1.00/none");
}

TEST(DemandHistoryTest, IsBoundedAndForgetsVanishedVms) {
  LiveSample sample = TwoVms();
  DemandHistory history;
  for (size_t i = 0; i < DemandHistory::kMaxValues + 10; ++i) {
    history.Add(sample);
  }
  EXPECT_EQ(history.Of(sample.vms[0].uuid).size(), DemandHistory::kMaxValues);
  const std::string gone = sample.vms[1].uuid;
  sample.vms.pop_back();
  history.Add(sample);
  EXPECT_TRUE(history.Of(gone).empty());
}

}  // namespace
}  // namespace cloudscale::cli
