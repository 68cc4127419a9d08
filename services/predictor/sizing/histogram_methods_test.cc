// The decayed histogram and what stands on it: `vpa`, `vpa_percentile`, `autopilot`.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "services/predictor/sizing/decayed_histogram.h"
#include "services/predictor/sizing/sizing_testing.h"

namespace cloudscale::predictor {
namespace {

struct Weighted {
  double value = 0;
  double weight = 0;
};

// The first value of the sorted list up to which the part lies.
double ListPercentile(std::vector<Weighted> list, double percentile) {
  std::sort(list.begin(), list.end(),
            [](const Weighted& a, const Weighted& b) { return a.value < b.value; });
  double total = 0;
  for (const Weighted& item : list) {
    total += item.weight;
  }
  double sum = 0;
  for (const Weighted& item : list) {
    sum += item.weight;
    if (sum >= percentile * total * (1 - 1e-12)) {
      return item.value;
    }
  }
  return list.back().value;
}

// Demand replaced by the end of its bucket, newest weight 1.
std::vector<Weighted> Aged(const std::vector<double>& demand, const std::vector<double>& starts,
                           double half_life) {
  std::vector<Weighted> list;
  for (size_t t = 0; t < demand.size(); ++t) {
    size_t bucket = 0;
    while (bucket + 2 < starts.size() && starts[bucket + 1] <= demand[t]) {
      ++bucket;
    }
    const auto age = static_cast<double>(demand.size() - 1 - t);
    list.push_back({std::min(1.0, starts[bucket + 1]), std::pow(0.5, age / half_life)});
  }
  return list;
}

std::vector<Weighted> LoadAdjusted(std::vector<Weighted> list) {
  for (Weighted& item : list) {
    item.weight *= item.value;
  }
  return list;
}

TEST(DecayedHistogramTest, BucketsAreThePublishedOnes) {
  const std::vector<double> equal = EqualBuckets(4);
  EXPECT_EQ(equal, (std::vector<double>{0, 0.25, 0.5, 0.75, 1}));
  const std::vector<double> growing = GrowingBuckets(0.01, 1.05);
  EXPECT_DOUBLE_EQ(growing[1], 0.01);
  EXPECT_NEAR(growing[2], 0.01 + 0.0105, 1e-12);
  EXPECT_NEAR(growing[3], 0.01 + 0.0105 + 0.011025, 1e-12);
  EXPECT_GE(growing.back(), 1);
  EXPECT_LT(growing[growing.size() - 2], 1);
  // 1.05^37 is the first power above 6.
  EXPECT_EQ(growing.size(), 38u);
  EXPECT_EQ(GrowingBuckets(0.0025, 1.05).size(), 64u);
}

TEST(DecayedHistogramTest, PercentilesAreThoseOfTheWeightedList) {
  for (const auto& starts : {EqualBuckets(200), GrowingBuckets(0.01, 1.05)}) {
    Rng rng(1);
    // So short that the weights are scaled back several times.
    const double half_life = 20;
    DecayedHistogram histogram(starts, std::exp2(-1 / half_life));
    std::vector<double> demand;
    for (int t = 0; t < 2000; ++t) {
      demand.push_back(std::min(1.0, rng.Exponential(0.2)));
      histogram.Add(demand.back());
      if (t % 97 != 0) {
        continue;
      }
      const auto list = Aged(demand, starts, half_life);
      auto with_extra = list;
      for (Weighted& item : with_extra) {
        item.weight *= std::exp2(-1 / half_life);
      }
      with_extra.push_back({Aged({0.7}, starts, half_life)[0].value, 1});
      for (const double p : {0.1, 0.5, 0.9, 0.95, 0.99}) {
        ASSERT_EQ(histogram.Percentile(p), ListPercentile(list, p)) << t << " " << p;
        ASSERT_EQ(histogram.LoadPercentile(p), ListPercentile(LoadAdjusted(list), p)) << t;
        ASSERT_EQ(histogram.Percentile(p, 0.7), ListPercentile(with_extra, p)) << t << " " << p;
      }
    }
  }
}

TEST(VpaTest, CpuIsThePercentileOfADayTimesTheMargin) {
  const auto starts = GrowingBuckets(0.01, 1.05);
  const std::vector<double> demand = NoisyDays(900, 288, 2);
  const auto vpa = StartMethod("vpa", CpuTraits());
  const auto p98 = StartMethod("vpa_percentile", CpuTraits(), 0.98);
  std::vector<double> seen;
  for (const double value : demand) {
    seen.push_back(value);
    vpa->Observe({.demand = value});
    p98->Observe({.demand = value});
    if (seen.size() % 89 == 0) {
      const auto list = Aged(seen, starts, 288);
      const double p90 = ListPercentile(list, 0.9);
      ASSERT_DOUBLE_EQ(vpa->Expected(3), p90);
      ASSERT_DOUBLE_EQ(vpa->Size(3), std::min(1.0, 1.15 * p90));
      ASSERT_DOUBLE_EQ(p98->Size(3), std::min(1.0, 1.15 * ListPercentile(list, 0.98)));
    }
  }
}

TEST(VpaTest, MemoryCountsThePeakOfEachDay) {
  const auto starts = GrowingBuckets(0.0025, 1.05);
  const auto end_of = [&](double value) { return Aged({value}, starts, 1)[0].value; };
  // Days of four steps.
  const auto vpa = StartMethod("vpa", MemoryTraits(absl::Hours(6)));
  ObserveAll(*vpa, {0.1, 0.5, 0.2, 0.1});
  EXPECT_DOUBLE_EQ(vpa->Expected(1), end_of(0.5));
  // Of the second day the peak counts twice as much as the first day's: 2/3 < 0.9.
  ObserveAll(*vpa, {0.1, 0.3});
  EXPECT_DOUBLE_EQ(vpa->Expected(1), end_of(0.5));
  ObserveAll(*vpa, {0.1, 0.1});
  EXPECT_DOUBLE_EQ(vpa->Expected(1), end_of(0.5));
  // Weights 1/8, 1/4, 1/2, 1 : 0.5 has 1/15 of all, below the tenth above P90.
  ObserveAll(*vpa, {0.3, 0.1, 0.1, 0.1});
  EXPECT_DOUBLE_EQ(vpa->Expected(1), end_of(0.5));
  ObserveAll(*vpa, {0.2});
  EXPECT_DOUBLE_EQ(vpa->Expected(1), end_of(0.3));
  // A peak counts at once.
  ObserveAll(*vpa, {0.8});
  EXPECT_DOUBLE_EQ(vpa->Expected(1), end_of(0.8));
}

TEST(VpaTest, GapsWeighNothing) {
  const auto vpa = StartMethod("vpa", CpuTraits());
  const auto gapless = StartMethod("vpa", CpuTraits());
  const std::vector<double> demand = NoisyDays(400, 288, 3);
  for (size_t t = 0; t < demand.size(); ++t) {
    if (t % 50 == 0) {
      vpa->Skip(1000);
    }
    vpa->Observe({.demand = demand[t]});
    gapless->Observe({.demand = demand[t]});
  }
  EXPECT_EQ(vpa->Size(1), gapless->Size(1));
}

TEST(AutopilotTest, LargestLoadPercentileOfTheLastHourTimesTheMargin) {
  const auto starts = EqualBuckets(200);
  for (const Resource resource : {Resource::kCpu, Resource::kMemory}) {
    const bool is_cpu = resource == Resource::kCpu;
    const double half_life = is_cpu ? 144 : 576;
    const double percentile = is_cpu ? 0.95 : 0.98;
    const auto autopilot = StartMethod("autopilot", is_cpu ? CpuTraits() : MemoryTraits());
    std::vector<double> demand;
    std::vector<double> recommended;
    // Half a day high, then low, so that the maximum of the hour matters.
    for (int t = 0; t < 700; ++t) {
      demand.push_back(t < 150 ? 0.6 - 0.0004 * t : 0.1 + 0.0001 * (t % 37));
      autopilot->Observe({.demand = demand.back()});
      recommended.push_back(
          ListPercentile(LoadAdjusted(Aged(demand, starts, half_life)), percentile));
      const size_t hour = std::min<size_t>(recommended.size(), 12);
      const double largest = *std::max_element(
          recommended.end() - static_cast<std::ptrdiff_t>(hour), recommended.end());
      ASSERT_DOUBLE_EQ(autopilot->Expected(1), largest) << t;
      ASSERT_DOUBLE_EQ(autopilot->Size(6), std::min(1.0, 1.15 * largest)) << t;
    }
    // With the shorter half-life it did forget.
    EXPECT_EQ(recommended.back() < recommended[150], is_cpu);
  }
}

TEST(AutopilotTest, ShortStepsKeepTheHourInParts) {
  // 3600 steps an hour, 300 a part.
  const auto autopilot = StartMethod("autopilot", CpuTraits(absl::Seconds(1)), 1);
  ObserveAll(*autopilot, {0.9});
  const double first = autopilot->Size(1);
  ObserveAll(*autopilot, std::vector<double>(3599, 0.1));
  EXPECT_EQ(autopilot->Size(1), first);
  ObserveAll(*autopilot, std::vector<double>(1, 0.1));
  EXPECT_LT(autopilot->Size(1), first);
}

}  // namespace
}  // namespace cloudscale::predictor
