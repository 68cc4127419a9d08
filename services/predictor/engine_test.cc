#include "services/predictor/engine.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);

std::unique_ptr<PredictorEngine> MakeEngine(PredictorOptions options = {}) {
  auto engine = PredictorEngine::Create(std::move(options));
  EXPECT_THAT(engine, cloudscale::testing::IsOk());
  return *std::move(engine);
}

const MonoTime kReceived = MonoTime::FromStart(absl::Hours(1));

Observation Fresh(double demand) { return {.is_fresh = true, .usage = demand, .demand = demand}; }

// Feeds one VM on one host, one sample a second.
class Feeder {
 public:
  explicit Feeder(PredictorEngine& engine) : engine_(engine) {}

  // Returns the CPU forecast of the VM when the sample caused one.
  std::optional<SeriesForecast> Sample(std::optional<double> demand) {
    const VmObservation vm = {.vm_uuid = "vm-1",
                              .resource = {demand ? Fresh(*demand) : Observation(), Observation()}};
    const auto result = engine_.Ingest({.host_id = "host",
                                        .boot_id = "boot",
                                        .sequence = ++sequence_,
                                        .time = kStart + absl::Seconds(sequence_),
                                        .monotonic_time = absl::Seconds(sequence_),
                                        .vms = absl::MakeConstSpan(&vm, 1)},
                                       kReceived);
    EXPECT_THAT(result, cloudscale::testing::IsOk());
    return Take();
  }

  // No batch at all.
  void Skip(int samples) { sequence_ += samples; }

  std::optional<SeriesForecast> Take() {
    std::optional<SeriesForecast> mine;
    for (PublishedForecast& published :
         engine_.TakeForecasts("host", kStart + absl::Seconds(sequence_))) {
      if (published.id.vm_uuid == "vm-1") {
        mine = std::move(published.forecast);
      }
    }
    return mine;
  }

  // `steps` whole steps of the values that `demand` gives for the running step.
  template <typename Demand>
  std::optional<SeriesForecast> Steps(int steps, Demand demand) {
    std::optional<SeriesForecast> last;
    for (int s = 0; s < steps; ++s, ++step_) {
      for (int i = 0; i < 10; ++i) {
        if (auto forecast = Sample(demand(step_))) {
          last = std::move(forecast);
        }
      }
    }
    return last;
  }

  [[nodiscard]] const Series& series() const { return *engine_.Find("vm-1", "", Resource::kCpu); }

 private:
  PredictorEngine& engine_;
  int64_t sequence_ = 0;
  int step_ = 0;
};

double Flat(int) { return 2; }

TEST(PredictorEngineTest, StepIsTheLargestSample) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(1, Flat);
  for (int i = 0; i < 10; ++i) {
    feeder.Sample(i == 4 ? 3.5 : 1.0);
  }
  feeder.Steps(1, Flat);
  const Series& series = feeder.series();
  EXPECT_DOUBLE_EQ(series.history_value(series.history_size() - 2), 3.5);
}

TEST(PredictorEngineTest, P17WhatBecomesDueDuringARoundComesAfterIt) {
  auto engine = MakeEngine();
  auto step = [&, sequence = int64_t{0}]() mutable {
    const VmObservation vms[] = {{.vm_uuid = "vm-1", .resource = {Fresh(1), Observation()}},
                                 {.vm_uuid = "vm-2", .resource = {Fresh(1), Observation()}}};
    sequence += 10;
    EXPECT_THAT(engine->Ingest({.host_id = "host",
                                .boot_id = "boot",
                                .sequence = sequence,
                                .time = kStart + absl::Seconds(sequence),
                                .monotonic_time = absl::Seconds(sequence),
                                .vms = vms},
                               kReceived),
                cloudscale::testing::IsOk());
  };
  step();
  step();
  ASSERT_EQ(engine->due_count("host"), 3U);  // both VMs and their sum
  PredictorEngine::Due due;
  // The list never runs empty, and yet each series comes again only after the others.
  std::vector<std::string> order;
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(engine->NextDue("host", due));
    order.push_back(due.series->id().vm_uuid);
    step();
    EXPECT_EQ(engine->due_count("host"), 3U);
  }
  for (size_t i = 3; i < order.size(); ++i) {
    EXPECT_EQ(order[i], order[i - 3]) << i;
    EXPECT_NE(order[i], order[i - 1]) << i;
  }
}

TEST(PredictorEngineTest, StepCanBeTheMean) {
  PredictorOptions options;
  options.aggregation = Aggregation::kMean;
  auto engine = MakeEngine(options);
  Feeder feeder(*engine);
  feeder.Steps(1, Flat);
  for (int i = 0; i < 10; ++i) {
    feeder.Sample(i);
  }
  feeder.Steps(1, Flat);
  const Series& series = feeder.series();
  // Samples are one second after the step's start: 0 to 8 and the 2 before them.
  EXPECT_DOUBLE_EQ(series.history_value(series.history_size() - 2), (36 + 2) / 10.0);
}

TEST(PredictorEngineTest, ForecastComesOncePerStepAndWarmsUp) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  int forecasts = 0;
  for (int i = 0; i < 200; ++i) {
    const auto forecast = feeder.Sample(1.5);
    if (forecast) {
      ++forecasts;
      EXPECT_EQ(forecast->is_warm, forecasts >= 10);
      EXPECT_NEAR(forecast->quantiles.back(), 1.5, 1e-9);
      EXPECT_EQ(forecast->expected.size(), 3u);
    }
  }
  EXPECT_EQ(forecasts, 20);
}

TEST(PredictorEngineTest, HostSumCountsEveryVm) {
  auto engine = MakeEngine();
  for (int64_t s = 1; s <= 40; ++s) {
    // The second VM is not readable from the 20th sample on: it still counts.
    const VmObservation vms[] = {
        {.vm_uuid = "a", .resource = {Fresh(1), Fresh(1e9)}},
        {.vm_uuid = "b", .resource = {s < 20 ? Fresh(2) : Observation(), Observation()}}};
    ASSERT_THAT(
        engine->Ingest(
            {.host_id = "host", .sequence = s, .time = kStart + absl::Seconds(s), .vms = vms},
            kReceived),
        cloudscale::testing::IsOk());
  }
  engine->TakeForecasts("host", kStart);
  const Series* cpu = engine->Find("", "host", Resource::kCpu);
  ASSERT_NE(cpu, nullptr);
  ASSERT_TRUE(cpu->forecast().has_value());
  EXPECT_NEAR(cpu->forecast()->quantiles.back(), 3, 1e-9);
  EXPECT_NEAR(engine->Find("", "host", Resource::kMemory)->last_demand(), 1e9, 1);
  EXPECT_EQ(engine->Find("b", "", Resource::kMemory), nullptr);
}

TEST(PredictorEngineTest, NotANumberIsRefusedWholeWithItsField) {
  auto engine = MakeEngine();
  const VmObservation vms[] = {{.vm_uuid = "a", .resource = {Fresh(1), Fresh(1)}},
                               {.vm_uuid = "b", .resource = {Fresh(std::nan("")), Fresh(-1)}}};
  EXPECT_THAT(
      engine->Ingest({.host_id = "host", .sequence = 1, .time = kStart, .vms = vms}, kReceived),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("vms[1].cpu.demand"), HasSubstr("vms[1].memory.usage"))));
  EXPECT_EQ(engine->series_count(), 0);
}

TEST(PredictorEngineTest, RepeatedBatchIsIgnored) {
  auto engine = MakeEngine();
  const VmObservation vm = {.vm_uuid = "a", .resource = {Fresh(1), Observation()}};
  ObservationBatch batch = {.host_id = "host",
                            .boot_id = "boot",
                            .sequence = 7,
                            .time = kStart,
                            .monotonic_time = absl::Seconds(100),
                            .vms = absl::MakeConstSpan(&vm, 1)};
  EXPECT_FALSE(engine->Ingest(batch, kReceived)->is_repeated);
  EXPECT_TRUE(engine->Ingest(batch, kReceived)->is_repeated);
  batch.boot_id = "next boot";
  batch.sequence = 1;
  batch.monotonic_time = absl::Seconds(1);
  batch.time += absl::Minutes(1);
  EXPECT_FALSE(engine->Ingest(batch, kReceived)->is_repeated);
}

TEST(PredictorEngineTest, LongerSamplingPeriodThatLowersTheSequenceIsNoRepeat) {
  auto engine = MakeEngine();
  const VmObservation vm = {.vm_uuid = "a", .resource = {Fresh(1), Observation()}};
  const absl::Duration uptime = absl::Hours(24);
  const auto is_repeated = [&](absl::Duration monotonic_time, absl::Duration period) {
    return engine
        ->Ingest({.host_id = "host",
                  .boot_id = "boot",
                  .sequence = monotonic_time / period,
                  .time = kStart + monotonic_time,
                  .monotonic_time = monotonic_time,
                  .sampling_period = period,
                  .vms = absl::MakeConstSpan(&vm, 1)},
                 kReceived)
        ->is_repeated;
  };
  for (int s = 0; s < 50; ++s) {
    ASSERT_FALSE(is_repeated(uptime + absl::Seconds(s), absl::Seconds(1)));
  }
  for (int s = 50; s < 100; s += 5) {  // the monitor was restarted, the host was not
    ASSERT_FALSE(is_repeated(uptime + absl::Seconds(s), absl::Seconds(5)));
  }
  EXPECT_EQ(engine->Find("a", "", Resource::kCpu)->history_size(), 9u);
  // A higher sequence does not make an old sample new.
  EXPECT_TRUE(is_repeated(uptime + absl::Seconds(90), absl::Seconds(1)));
}

TEST(PredictorEngineTest, P15WallClockJumpsDoNotMoveTheSeries) {
  auto engine = MakeEngine();
  for (int64_t s = 1; s <= 100; ++s) {
    const VmObservation vm = {.vm_uuid = "a", .resource = {Fresh(1), Observation()}};
    const absl::Duration jump = s < 50 ? absl::ZeroDuration() : -absl::Hours(1);
    ASSERT_THAT(engine->Ingest({.host_id = "host",
                                .boot_id = "boot",
                                .sequence = s,
                                .time = kStart + absl::Seconds(s) + jump,
                                .monotonic_time = absl::Seconds(s),
                                .vms = absl::MakeConstSpan(&vm, 1)},
                               kReceived),
                cloudscale::testing::IsOk());
  }
  EXPECT_EQ(engine->Find("a", "", Resource::kCpu)->history_size(), 10u);
}

TEST(PredictorEngineTest, VmThatMovesToAHostWithAnEarlierClockGoesOn) {
  auto engine = MakeEngine();
  const VmObservation vm = {.vm_uuid = "a", .resource = {Fresh(1), Observation()}};
  for (int64_t s = 1; s <= 300; ++s) {
    ASSERT_THAT(engine->Ingest({.host_id = s <= 150 ? "host-1" : "host-2",
                                .sequence = s,
                                .time = kStart + absl::Seconds(s) -
                                        (s <= 150 ? absl::ZeroDuration() : absl::Hours(2)),
                                .vms = absl::MakeConstSpan(&vm, 1)},
                               kReceived),
                cloudscale::testing::IsOk());
  }
  const Series* series = engine->Find("a", "", Resource::kCpu);
  EXPECT_GE(series->history_size(), 29u);
  EXPECT_TRUE(series->is_warm());
  EXPECT_EQ(series->id().host_id, "host-2");
}

TEST(PredictorEngineTest, ShortGapIsInterpolated) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(12, Flat);
  const size_t before = feeder.series().history_size();
  feeder.Skip(30);
  feeder.Steps(2, Flat);
  EXPECT_EQ(feeder.series().history_size(), before + 5);
  EXPECT_TRUE(feeder.series().is_warm());
}

TEST(PredictorEngineTest, LongGapMakesTheSeriesColdForSomeSteps) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(12, Flat);
  feeder.Skip(120);
  feeder.Steps(2, Flat);
  EXPECT_FALSE(feeder.series().is_warm());
  feeder.Steps(4, Flat);
  EXPECT_TRUE(feeder.series().is_warm());
}

// Every value of `now` is at least that of `before`.
void ExpectNotLower(const SeriesForecast& now, const SeriesForecast& before) {
  for (size_t i = 0; i < before.quantiles.size(); ++i) {
    ASSERT_GE(now.quantiles[i], before.quantiles[i]);
  }
  for (size_t i = 0; i < before.expected.size(); ++i) {
    ASSERT_GE(now.expected[i], before.expected[i]);
  }
  ASSERT_GE(now.padding.total(), before.padding.total());
}

TEST(PredictorEngineTest, P1LostSamplesNeverLowerAForecast) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    auto engine = MakeEngine();
    Feeder feeder(*engine);
    Rng rng(seed);
    auto held = feeder.Steps(40, [&](int) { return rng.Uniform(1, 3); });
    ASSERT_TRUE(held.has_value());
    // Demand falls, but in every step at least one sample is lost, in one way or another.
    for (int step = 0; step < 30; ++step) {
      const int lost = static_cast<int>(rng.UniformInt(9)) + 1;
      const bool whole_batch = rng.Chance(0.5);
      for (int i = 0; i < 10; ++i) {
        std::optional<SeriesForecast> forecast;
        if (i != lost) {
          forecast = feeder.Sample(0.1);
        } else if (whole_batch) {
          feeder.Skip(rng.Chance(0.1) ? 60 : 1);
        } else {
          forecast = feeder.Sample(std::nullopt);
        }
        if (forecast && step > 0) {
          ExpectNotLower(*forecast, *held);
        }
        if (forecast) {
          held = std::move(forecast);
        }
      }
    }
    // With whole steps again it follows the demand down.
    const auto after = feeder.Steps(100, [](int) { return 0.1; });
    ASSERT_TRUE(after.has_value());
    EXPECT_LT(after->quantiles.front(), held->quantiles.front());
    EXPECT_FALSE(after->is_held);
  }
}

TEST(PredictorEngineTest, RemovingSamplesNeverLowersTheStepsTheyBelongTo) {
  // P1, metamorphic: the same series with samples removed, as long as it is not the peak.
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto whole = MakeEngine();
    auto holey = MakeEngine();
    Feeder whole_feeder(*whole);
    Feeder holey_feeder(*holey);
    Rng rng(seed);
    for (int s = 0; s < 1000; ++s) {
      const double demand = s % 10 == 5 ? 3 : rng.Uniform(0, 1);
      whole_feeder.Sample(demand);
      if (s % 10 != 5 && rng.Chance(0.2)) {
        holey_feeder.Skip(1);
      } else {
        holey_feeder.Sample(demand);
      }
    }
    const Series& a = whole_feeder.series();
    const Series& b = holey_feeder.series();
    ASSERT_GE(b.history_size() + 1, a.history_size());  // the last sample may be lost as well
    for (size_t i = 0; i < b.history_size(); ++i) {
      ASSERT_GE(b.history_value(i), a.history_value(i));
    }
  }
}

TEST(PredictorEngineTest, CensoredStepsTeachOnlyUpwards) {
  PredictorOptions options;
  options.model = "last";
  auto engine = MakeEngine(options);
  Series series({"vm", "", Resource::kCpu}, engine->registry().Find("last"), engine->options());
  for (int64_t step = 0; step < 100; ++step) {
    Observation o = Fresh(step % 2 == 0 ? 4 : 1);
    o.is_censored = step % 2 == 1;
    series.Observe(step, kStart + step * absl::Seconds(10), step, absl::Seconds(10), o);
    ForecastJob job;
    Workspace workspace(options.parameters);
    if (series.Prepare(job)) {
      ComputeForecast(engine->options(), workspace, job);
      series.Commit(job, kStart);
    }
  }
  const std::vector<float> residuals = series.tracks()[0].residuals(0).Values();
  ASSERT_FALSE(residuals.empty());
  for (float residual : residuals) {
    EXPECT_GT(residual, 0);
  }
}

TEST(PredictorEngineTest, ThreeUnderEstimatesInARowTrainAnew) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(100, Flat);
  EXPECT_EQ(feeder.series().retrain_count(), 0);
  const size_t before = feeder.series().history_size();
  feeder.Steps(8, [](int step) { return 2.0 * std::pow(1.6, step - 99); });
  EXPECT_GE(feeder.series().retrain_count(), 1);
  EXPECT_LT(feeder.series().history_size(), before);
}

TEST(PredictorEngineTest, UnderEstimatesRaiseRemedialPadding) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(30, Flat);
  const auto forecast = feeder.Steps(2, [](int) { return 3.0; });
  ASSERT_TRUE(forecast.has_value());
  EXPECT_GT(forecast->padding.remedial, 0.1);
}

TEST(PredictorEngineTest, QuantilesAreCalibratedByResiduals) {
  PredictorOptions options;
  options.model = "mean";
  options.horizons = {1};
  auto engine = MakeEngine(options);
  Feeder feeder(*engine);
  Rng rng(11);
  feeder.Steps(900, [&](int) { return rng.Uniform(1, 2); });
  const AccuracySums& sums = feeder.series().tracks()[0].accuracy(0);
  for (size_t r = 0; r < options.ratios.size(); ++r) {
    EXPECT_NEAR(sums.Average(sums.covered[r]), options.ratios[r], 0.08) << options.ratios[r];
  }
  EXPECT_GT(sums.step_count, 800);
  EXPECT_NEAR(sums.Average(sums.demand), 1.9, 0.1);  // a step is the largest of ten samples
}

TEST(PredictorEngineTest, UpperQuantilesOfTheChainHoldWhereTransitionsAreFew) {
  PredictorOptions options;
  options.horizons = {1};
  auto engine = MakeEngine(options);
  Feeder feeder(*engine);
  Rng rng(5);
  feeder.Steps(900, [&](int) { return rng.Exponential(1); });
  const AccuracySums& sums = feeder.series().tracks()[0].accuracy(0);
  ASSERT_DOUBLE_EQ(options.ratios[4], 0.98);
  // By its counted transitions alone the chain holds its 98 % quantile in less than 88 % of steps.
  EXPECT_GT(sums.Average(sums.covered[4]), 0.96);
}

TEST(PredictorEngineTest, SeriesAreBoundedAndRefusalsCounted) {
  PredictorOptions options;
  options.max_series = 5;
  auto engine = MakeEngine(options);
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) {
    names.push_back("vm-" + std::to_string(i));
  }
  std::vector<VmObservation> vms;
  for (const std::string& name : names) {
    vms.push_back({.vm_uuid = name, .resource = {Fresh(1), Observation()}});
  }
  const auto result =
      engine->Ingest({.host_id = "host", .sequence = 1, .time = kStart, .vms = vms}, kReceived);
  ASSERT_THAT(result, cloudscale::testing::IsOk());
  EXPECT_EQ(result->refused_vm_count, 15);
  EXPECT_EQ(engine->series_count(), 5);
  EXPECT_GE(engine->refused_count(), 15);
}

// Feeds one VM of one host whose wall clock is off by `error`, by the receiver's clock `received`.
void IngestOne(PredictorEngine& engine, absl::string_view host, absl::string_view uuid,
               absl::Duration received, absl::Duration error = absl::ZeroDuration()) {
  const VmObservation vm = {.vm_uuid = uuid, .resource = {Fresh(1), Observation()}};
  const auto result = engine.Ingest({.host_id = host,
                                     .boot_id = "boot",
                                     .sequence = received / absl::Seconds(1),
                                     .time = kStart + received + error,
                                     .monotonic_time = received,
                                     .vms = absl::MakeConstSpan(&vm, 1)},
                                    MonoTime::FromStart(received));
  ASSERT_THAT(result, cloudscale::testing::IsOk());
}

TEST(PredictorEngineTest, SeriesWithoutSamplesAreForgotten) {
  PredictorOptions options;
  options.series_ttl = absl::Hours(1);
  auto engine = MakeEngine(options);
  IngestOne(*engine, "h", "a", absl::Minutes(1));
  for (int half_hours = 1; half_hours < 4; ++half_hours) {
    IngestOne(*engine, "h", "b", half_hours * absl::Minutes(30));
  }
  EXPECT_EQ(engine->Find("a", "", Resource::kCpu), nullptr);
  EXPECT_NE(engine->Find("b", "", Resource::kCpu), nullptr);
  EXPECT_EQ(engine->series_count(), 2);  // and the host's sum
}

TEST(PredictorEngineTest, P15HostWithAWrongClockForgetsNobodyAndIsNotForgotten) {
  PredictorOptions options;
  options.series_ttl = absl::Hours(1);
  auto engine = MakeEngine(options);
  for (int rounds = 1; rounds < 10; ++rounds) {
    const absl::Duration now = absl::Minutes(2 * rounds);
    IngestOne(*engine, "past", "a", now, -absl::Hours(24 * 365));
    IngestOne(*engine, "right", "b", now + absl::Seconds(1));
    IngestOne(*engine, "future", "c", now + absl::Seconds(2), absl::Hours(24 * 365));
    for (const char* uuid : {"a", "b", "c"}) {
      const Series* series = engine->Find(uuid, "", Resource::kCpu);
      ASSERT_NE(series, nullptr) << uuid;
      ASSERT_EQ(series->history_size(), static_cast<size_t>(rounds - 1)) << uuid;
    }
  }
  // The receiver's clock alone ages them.
  IngestOne(*engine, "right", "b", absl::Hours(3));
  EXPECT_EQ(engine->Find("a", "", Resource::kCpu), nullptr);
  EXPECT_EQ(engine->Find("c", "", Resource::kCpu), nullptr);
  EXPECT_EQ(engine->Find("", "future", Resource::kCpu), nullptr);
  EXPECT_NE(engine->Find("b", "", Resource::kCpu), nullptr);
}

TEST(PredictorEngineTest, ImportedSeriesAgeFromTheFirstBatchReceivedAfterwards) {
  PredictorOptions options;
  options.series_ttl = absl::Hours(1);
  auto first = MakeEngine(options);
  Feeder feeder(*first);
  feeder.Steps(20, Flat);
  auto second = MakeEngine(options);
  ASSERT_THAT(second->Import(feeder.series().id(), feeder.series().ToState(), true),
              cloudscale::testing::IsOkAndHolds(true));
  const absl::Duration up = absl::Hours(24 * 100);
  IngestOne(*second, "other", "b", up);
  EXPECT_NE(second->Find("vm-1", "", Resource::kCpu), nullptr);
  IngestOne(*second, "other", "b", up + absl::Hours(2));
  EXPECT_EQ(second->Find("vm-1", "", Resource::kCpu), nullptr);
}

TEST(PredictorEngineTest, ChoosingAModelChangesForecastsAndCanBeUndone) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(20, [](int step) { return 1.0 + step % 3; });
  const auto chosen = engine->SelectModel("vm-1", Resource::kCpu, "max", false, /*apply=*/true);
  ASSERT_THAT(chosen, cloudscale::testing::IsOk());
  EXPECT_EQ(chosen->previous_model, "cloudscale");
  EXPECT_EQ(chosen->series_count, 1);
  EXPECT_EQ(feeder.Steps(2, Flat)->model->name(), "max");
  ASSERT_THAT(engine->SelectModel("", std::nullopt, "mean", false, true),
              cloudscale::testing::IsOk());
  EXPECT_EQ(feeder.Steps(2, Flat)->model->name(), "max");  // its own choice stands
  ASSERT_THAT(engine->SelectModel("vm-1", std::nullopt, "", false, true),
              cloudscale::testing::IsOk());
  EXPECT_EQ(feeder.Steps(2, Flat)->model->name(), "mean");
  EXPECT_THAT(engine->SelectModel("", std::nullopt, "oracle", false, true),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("oracle")));
}

TEST(PredictorEngineTest, ShadowRunsBesideAndIsJudged) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  feeder.Steps(5, Flat);
  ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, "max", true, true),
              cloudscale::testing::IsOk());
  EXPECT_EQ(feeder.Steps(10, Flat)->model->name(), "cloudscale");
  ASSERT_EQ(feeder.series().tracks().size(), 2u);
  EXPECT_EQ(feeder.series().tracks()[1].model()->name(), "max");
  EXPECT_GT(feeder.series().tracks()[1].accuracy(0).step_count, 5);
}

TEST(PredictorEngineTest, TargetMovesTheAdvisedAllocation) {
  auto engine = MakeEngine();
  Feeder feeder(*engine);
  Rng rng(2);
  feeder.Steps(120, [&](int) { return rng.Uniform(1, 4); });
  const Series& series = feeder.series();
  const double before = engine->Publish(series, kStart).advised_allocation;
  PredictorEngine::Target target;
  target.vm_uuid = "vm-1";
  target.target_violation_ratio = 0.3;
  EXPECT_EQ(engine->UpdateTarget(target, kStart), 1);
  const double lean = engine->Publish(series, kStart).advised_allocation;
  EXPECT_LT(lean, before);
  target.price_factor = 100;
  EXPECT_EQ(engine->UpdateTarget(target, kStart), 1);
  EXPECT_GT(engine->Publish(series, kStart).advised_allocation, lean);
  EXPECT_EQ(engine->Publish(series, kStart + absl::Minutes(11)).advised_allocation, lean);
}

TEST(PredictorEngineTest, SlowForecasterSkipsToTheNewest) {
  auto engine = MakeEngine();
  const VmObservation vm = {.vm_uuid = "a", .resource = {Fresh(1), Observation()}};
  for (int64_t s = 1; s <= 500; ++s) {
    ASSERT_THAT(engine->Ingest({.host_id = "h",
                                .sequence = s,
                                .time = kStart + absl::Seconds(s),
                                .vms = absl::MakeConstSpan(&vm, 1)},
                               kReceived),
                cloudscale::testing::IsOk());
  }
  EXPECT_EQ(engine->TakeForecasts("h", kStart).size(), 2u);  // the VM and the sum, once each
}

TEST(PredictorEngineTest, SameInputGivesTheSameForecasts) {
  std::vector<double> results[2];
  for (auto& result : results) {
    auto engine = MakeEngine();
    Feeder feeder(*engine);
    Rng rng(8);
    for (int i = 0; i < 3000; ++i) {
      if (const auto forecast = feeder.Sample(rng.Uniform(0, 2))) {
        result.insert(result.end(), forecast->quantiles.begin(), forecast->quantiles.end());
      }
    }
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_GT(results[0].size(), 1000u);
}

TEST(PredictorEngineTest, ImportGoesOnWhereTheExportStopped) {
  auto first = MakeEngine();
  Feeder feeder(*first);
  feeder.Steps(60, [](int step) { return 1.0 + step % 4; });
  auto second = MakeEngine();
  const Series& series = feeder.series();
  ASSERT_THAT(second->Import(series.id(), series.ToState(), true),
              cloudscale::testing::IsOkAndHolds(true));
  const Series* copy = second->Find("vm-1", "", Resource::kCpu);
  ASSERT_NE(copy, nullptr);
  EXPECT_TRUE(copy->is_warm());
  EXPECT_EQ(copy->ToState(), series.ToState());
  EXPECT_EQ(copy->forecast()->quantiles, series.forecast()->quantiles);
  // The own state is not older, so it stays.
  EXPECT_THAT(second->Import(series.id(), series.ToState(), true),
              cloudscale::testing::IsOkAndHolds(false));
}

TEST(PredictorEngineTest, StateOfAnotherStepIsRefused) {
  auto first = MakeEngine();
  Feeder feeder(*first);
  feeder.Steps(20, Flat);
  PredictorOptions options;
  options.step = absl::Seconds(5);
  auto second = MakeEngine(options);
  EXPECT_THAT(second->Import(feeder.series().id(), feeder.series().ToState(), true),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("10s")));
  EXPECT_EQ(second->series_count(), 0);
}

TEST(PredictorOptionsTest, AllFaultsAreNamedAtOnce) {
  PredictorOptions options;
  options.step = absl::ZeroDuration();
  options.horizons = {10, 1};
  options.ratios = {0.5, 1.0};
  options.model = "oracle";
  options.history_steps = 1;
  const auto engine = PredictorEngine::Create(options);
  EXPECT_THAT(engine,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("step"), HasSubstr("horizons[1]"), HasSubstr("ratios[1]"),
                             HasSubstr("oracle"), HasSubstr("history_steps"))));
}

}  // namespace
}  // namespace cloudscale::predictor
