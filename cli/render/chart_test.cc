#include "cli/render/chart.h"

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ForecastChart Ramp() {
  ForecastChart chart;
  chart.now = absl::FromUnixSeconds(1'000'000);
  for (int i = 0; i <= 60; ++i) {
    chart.history.push_back(
        {.time = chart.now - absl::Seconds(60 - i), .demand = i / 60.0, .cap = i < 30 ? 1.0 : 1.5});
  }
  chart.horizons = {{.horizon = absl::Seconds(10), .low = 0.9, .middle = 1.0, .high = 1.2},
                    {.horizon = absl::Seconds(100), .low = 1.0, .middle = 1.3, .high = 1.9}};
  chart.cap = 1.5;
  chart.low_label = "p10";
  chart.middle_label = "p50";
  chart.high_label = "p95";
  return chart;
}

TEST(ForecastChartTest, DrawsPastForecastBandAndCap) {
  EXPECT_EQ(RenderForecastChart(Ramp(), {.width = 51, .height = 8}, Style()),
            R"(     2.00 ┤                         ░░░░░░░░░░░░░░░
          │                         ░░░░░░░░░░░░░░░
          │            ──────────────•─•─•─•─•─•─•─
          │                        ░░░░░░░░░░░░░░░░
     1.00 ┤────────────      ⣀⡠⠤⠒⠊⠉•░░░░░░░░░░░░░░░
          │            ⣀⠤⠔⠒⠉⠉
          │     ⢀⣀⠤⠔⠒⠉⠉
     0.00 ┤⡠⠤⠒⠊⠉⠁
          └────────────────────────┬───────────────
           -1m00s                 now        +1m40s
           ⣀⠤⠒ demand   ─── cap   ••• p50   ░░░ p10 to p95
)");
}

TEST(ForecastChartTest, KeepsWithinTheWidth) {
  for (const int width : {40, 60, 133, 200}) {
    const std::string text = RenderForecastChart(Ramp(), {.width = width, .height = 10}, Style());
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      if (!absl::StrContains(line, "demand")) {  // the legend is as long as it is
        EXPECT_LE(DisplayWidth(line), width) << line;
      }
    }
  }
}

TEST(ForecastChartTest, PeaksAreNotAveragedAway) {
  ForecastChart chart;
  chart.now = absl::FromUnixSeconds(1'000'000);
  for (int i = 0; i < 5000; ++i) {
    chart.history.push_back(
        {.time = chart.now - absl::Seconds(5000 - i), .demand = i == 2500 ? 4.0 : 0.5});
  }
  const std::string text = RenderForecastChart(chart, {.width = 60, .height = 6}, Style());
  const std::string top(text.substr(0, text.find('\n')));
  EXPECT_THAT(top, HasSubstr("4.00 ┤"));
  EXPECT_GT(DisplayWidth(top), 12) << "the single peak reaches the top line: " << top;
}

TEST(ForecastChartTest, WorksWithoutHistoryWithoutForecastAndWithoutAnything) {
  ForecastChart only_forecast = Ramp();
  only_forecast.history.clear();
  EXPECT_THAT(RenderForecastChart(only_forecast, {.width = 60, .height = 6}, Style()),
              HasSubstr("░"));
  ForecastChart only_history = Ramp();
  only_history.horizons.clear();
  const std::string text = RenderForecastChart(only_history, {.width = 60, .height = 6}, Style());
  EXPECT_THAT(text, Not(HasSubstr("░")));
  EXPECT_THAT(text, HasSubstr("-1m00s"));
  EXPECT_THAT(RenderForecastChart(ForecastChart(), {}, Style()), HasSubstr("0.00 ┤"));
}

TEST(ForecastChartTest, ColoursAreOptional) {
  EXPECT_THAT(RenderForecastChart(Ramp(), {}, Style()), Not(HasSubstr("\x1b")));
  EXPECT_THAT(RenderForecastChart(Ramp(), {}, Style{.is_coloured = true}), HasSubstr("\x1b[35m░"));
}

}  // namespace
}  // namespace cloudscale::cli
