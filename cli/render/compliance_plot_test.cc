#include "cli/render/compliance_plot.h"

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kStart = absl::FromUnixSeconds(1767225600);

CompliancePlot Hour() {
  CompliancePlot plot;
  plot.title = "shop <p95>";
  plot.latency_label = "p95";
  plot.threshold_seconds = 0.2;
  plot.target_ratio = 0.99;
  plot.start = kStart;
  plot.end = kStart + absl::Hours(1);
  plot.bucket = absl::Minutes(1);
  return plot;
}

size_t Lines(const std::string& svg) {
  return std::vector<std::string>(absl::StrSplit(svg, "<polyline")).size() - 1;
}

TEST(CompliancePlotTest, ShowsBothPanelsWithTheirPromises) {
  CompliancePlot plot = Hour();
  for (int i = 0; i < 60; ++i) {
    plot.points.push_back({.start = kStart + absl::Minutes(i),
                           .latency_seconds = i < 30 ? 0.1 : 0.4,
                           .compliance_ratio = i < 30 ? 1.0 : 0.5});
  }
  const std::string svg = RenderCompliancePlot(plot);
  EXPECT_THAT(svg, AllOf(HasSubstr("response time, p95"), HasSubstr("good windows"),
                         HasSubstr("promised"), HasSubstr("shop &lt;p95&gt;"),
                         HasSubstr("00:30:00"), HasSubstr("400ms"), HasSubstr("</svg>")));
  EXPECT_EQ(Lines(svg), 2u);
}

TEST(CompliancePlotTest, LeavesGapsWhereNothingIsKnown) {
  CompliancePlot plot = Hour();
  for (const int minute : {0, 1, 10, 11}) {
    plot.points.push_back({.start = kStart + absl::Minutes(minute),
                           .latency_seconds = minute == 11 ? std::nullopt : std::optional(0.1),
                           .compliance_ratio = 1.0});
  }
  EXPECT_EQ(Lines(RenderCompliancePlot(plot)), 4u) << "two parts in each panel";
}

TEST(CompliancePlotTest, NothingAtAllIsStillADocument) {
  CompliancePlot plot = Hour();
  plot.threshold_seconds.reset();
  const std::string svg = RenderCompliancePlot(plot);
  EXPECT_THAT(svg, AllOf(HasSubstr("</svg>"), Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
  EXPECT_EQ(Lines(svg), 0u);
}

}  // namespace
}  // namespace cloudscale::cli
