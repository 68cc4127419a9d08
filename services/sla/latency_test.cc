#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/random/rng.h"
#include "services/sla/latency_histogram.h"
#include "services/sla/latency_report.h"

namespace cloudscale::sla {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> FaultyFields(const LatencyReport& report) {
  Violations v;
  ValidateReport(report, "reports[0]", v);
  std::vector<std::string> fields;
  for (const FieldViolation& fault : v.kept()) {
    fields.push_back(fault.field);
  }
  return fields;
}

LatencyReport Good() {
  LatencyReport r;
  r.application = "web";
  r.source_id = "client-1";
  r.sequence = 1;
  r.duration = absl::Seconds(1);
  r.data = std::vector<double>{0.1, 0.3};
  return r;
}

TEST(LatencyHistogramTest, QuantilesAreWithinFivePercentOfTheSortedValues) {
  Rng rng(7);
  LatencyHistogram h;
  std::vector<double> values;
  for (int i = 0; i < 5000; ++i) {
    values.push_back(rng.Exponential(0.05) + 1e-5);
    h.Add(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double ratio : {0.01, 0.5, 0.95, 0.99, 1.0}) {
    const auto rank = static_cast<size_t>(std::ceil(ratio * 5000.0));
    const double exact = values[rank - 1];
    EXPECT_GE(*h.Quantile(ratio), exact * (1 - 1e-9)) << ratio;
    EXPECT_LE(*h.Quantile(ratio), exact * LatencyHistogram::kBase) << ratio;
  }
}

TEST(LatencyHistogramTest, MergingEqualsAddingAll) {
  Rng rng(3);
  LatencyHistogram a, b, all;
  for (int i = 0; i < 1000; ++i) {
    const double value = rng.Exponential(0.1);
    (i % 3 == 0 ? a : b).Add(value);
    all.Add(value);
  }
  a.Merge(b);
  EXPECT_EQ(a.count(), 1000);
  EXPECT_EQ(a.counts(), all.counts());
  EXPECT_EQ(a.offset(), all.offset());
  EXPECT_EQ(a.Quantile(0.9), all.Quantile(0.9));
}

TEST(LatencyHistogramTest, ExtremesStayInBounds) {
  LatencyHistogram h;
  EXPECT_EQ(h.Quantile(0.5), std::nullopt);
  h.Add(0.0);
  EXPECT_EQ(h.zero_count(), 1);
  EXPECT_EQ(*h.Quantile(1.0), 0.0);
  h.Add(1e9);
  h.Add(2e-6);
  EXPECT_LE(h.counts().size(),
            static_cast<size_t>(LatencyHistogram::kMaxIndex - LatencyHistogram::kMinIndex + 1));
  EXPECT_EQ(h.count(), 3);
}

TEST(LatencyHistogramTest, PowersOfTheBaseAreInTheirOwnBucket) {
  for (const int32_t index : {-200, -1, 0, 1, 17, 150}) {
    LatencyHistogram h;
    h.Add(LatencyHistogram::UpperBound(LatencyHistogram::kBase, index));
    EXPECT_EQ(h.offset(), index);
  }
}

TEST(LatencyReportTest, AcceptsAGoodOne) {
  EXPECT_THAT(FaultyFields(Good()), ElementsAre());
  LatencyReport r = Good();
  r.data = ForeignHistogram{.base = 1.2,
                            .offset = -10,
                            .counts = {1, 2},
                            .zero_count = 1,
                            .total_count = 4,
                            .sum_seconds = 1.0,
                            .max_seconds = 0.3};
  EXPECT_THAT(FaultyFields(r), ElementsAre());
}

TEST(LatencyReportTest, NamesAllFaultsAtOnce) {
  LatencyReport r = Good();
  r.application = "";
  r.source_id = std::string(129, 'x');
  r.sequence = 0;
  r.duration = absl::Minutes(6);
  r.error_count = -1;
  r.data = std::vector<double>{0.1, -0.1, std::nan("")};
  EXPECT_THAT(
      FaultyFields(r),
      ElementsAre("reports[0].application", "reports[0].source_id", "reports[0].sequence",
                  "reports[0].duration", "reports[0].error_count",
                  "reports[0].values.latency_seconds[1]", "reports[0].values.latency_seconds[2]"));
}

TEST(LatencyReportTest, RefusesHistogramsThatDoNotAddUp) {
  LatencyReport r = Good();
  r.data = ForeignHistogram{.base = 1.0,
                            .offset = 0,
                            .counts = {1, 2},
                            .zero_count = 0,
                            .total_count = 5,
                            .sum_seconds = -1.0,
                            .max_seconds = {}};
  EXPECT_THAT(FaultyFields(r),
              ElementsAre("reports[0].histogram.base", "reports[0].histogram.total_count",
                          "reports[0].histogram.sum_seconds"));
  r.data = std::monostate{};
  EXPECT_THAT(FaultyFields(r), ElementsAre("reports[0].data"));
}

TEST(LatencyReportTest, CountsSingleValuesAboveAThresholdExactly) {
  LatencyReport r = Good();
  r.data = std::vector<double>{0.1999999, 0.2, 0.2000001};
  EXPECT_EQ(CountAbove(r, 0.2), 1);
}

TEST(LatencyReportTest, RebucketsForeignBasesWithoutLosingRequests) {
  LatencyReport r = Good();
  r.data = ForeignHistogram{.base = 2.0,
                            .offset = -4,
                            .counts = {10, 0, 20, 5},  // up to 1/16, 1/8, 1/4, 1/2 s
                            .zero_count = 3,
                            .total_count = 38,
                            .sum_seconds = 4.0,
                            .max_seconds = 0.4};
  const LatencyHistogram h = HistogramOf(r);
  EXPECT_EQ(h.count(), 38);
  EXPECT_EQ(h.zero_count(), 3);
  EXPECT_NEAR(*h.Quantile(0.5), 0.25 / std::sqrt(2.0), 0.01);
  EXPECT_LE(*h.Quantile(1.0), 0.4);
  EXPECT_EQ(CountAbove(r, 0.1), 25);
}

TEST(LatencyReportTest, ExtremeOffsetsDoNotOverflow) {
  LatencyReport r = Good();
  r.data = ForeignHistogram{.base = 1.05,
                            .offset = std::numeric_limits<int32_t>::max(),
                            .counts = {1, 1},
                            .zero_count = 0,
                            .total_count = 2,
                            .sum_seconds = 1.0,
                            .max_seconds = {}};
  EXPECT_EQ(HistogramOf(r).count(), 2);
  EXPECT_EQ(CountAbove(r, 1.0), 2);
}

}  // namespace
}  // namespace cloudscale::sla
