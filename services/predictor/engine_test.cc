// Batches in, series kept and forgotten.
#include <cmath>
#include <string>
#include <vector>

#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/engine_fixture.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

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
  EXPECT_EQ(engine->Find("a", "", Resource::kCpu)->known_steps(), 9);
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
  EXPECT_EQ(engine->Find("a", "", Resource::kCpu)->known_steps(), 10);
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
  EXPECT_GE(series->known_steps(), 29);
  EXPECT_TRUE(series->is_warm());
  EXPECT_EQ(series->id().host_id, "host-2");
}

TEST(PredictorEngineTest, SeriesAreBoundedAndRefusalsCounted) {
  PredictorOptions options = OptionsWith("cloudscale");
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
  PredictorOptions options = OptionsWith("cloudscale");
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
  PredictorOptions options = OptionsWith("cloudscale");
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
      ASSERT_EQ(series->known_steps(), rounds - 1) << uuid;
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
  PredictorOptions options = OptionsWith("cloudscale");
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

TEST(PredictorOptionsTest, AllFaultsAreNamedAtOnce) {
  PredictorOptions options = OptionsWith("cloudscale");
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
