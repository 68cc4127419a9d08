// Models of a series: chosen, in shadow, promoted, saved.
#include <cmath>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/engine_fixture.h"
#include "services/predictor/state_codec.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

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
  PredictorOptions options = OptionsWith("cloudscale");
  options.step = absl::Seconds(5);
  auto second = MakeEngine(options);
  EXPECT_THAT(second->Import(feeder.series().id(), feeder.series().ToState(), true),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("10s")));
  EXPECT_EQ(second->series_count(), 0);
}

// A series with everything in it: a day's wave, bursts, lost samples, a cap that holds back.
Observation Eventful(int64_t second, Rng& rng) {
  if (rng.Chance(0.01)) {
    return {};
  }
  Observation o = Fresh(2 + std::sin(static_cast<double>(second) / 900) + rng.Uniform(0, 0.5) +
                        (rng.Chance(0.01) ? 1.5 : 0));
  o.capacity = second < 4000 ? 4 : 8;
  o.is_censored = o.demand > 3;
  o.allocation = o.is_censored ? 3 : -1;
  return o;
}

void ObserveSecond(PredictorEngine& engine, int64_t second, const Observation& observation) {
  const VmObservation vm = {.vm_uuid = "vm-1", .resource = {observation, Observation()}};
  ASSERT_THAT(engine.Ingest({.host_id = "host",
                             .boot_id = "boot",
                             .sequence = second,
                             .time = kStart + absl::Seconds(second),
                             .monotonic_time = absl::Seconds(second),
                             .vms = absl::MakeConstSpan(&vm, 1)},
                            kReceived),
              cloudscale::testing::IsOk());
  engine.TakeForecasts("host", kStart + absl::Seconds(second));
}

class RestartTest : public ::testing::TestWithParam<const char*> {};

// All models, in use or in shadow, saved in the middle of a step.
TEST_P(RestartTest, P14GoesOnBitForBit) {
  auto whole = MakeEngine(OptionsWith(GetParam()));
  Rng rng(3);
  int64_t second = 1;
  for (; second < 3000; ++second) {
    ObserveSecond(*whole, second, Eventful(second, rng));
    if (second == 100) {
      const char* shadow = std::string(GetParam()) == "portfolio" ? "cloudscale" : "portfolio";
      ASSERT_THAT(whole->SelectModel("vm-1", std::nullopt, shadow, true, true, true),
                  cloudscale::testing::IsOk());
    }
  }
  PredictorEngine::Target target;
  target.vm_uuid = "vm-1";
  target.target_violation_ratio = 0.05;
  target.price_factor = 3;
  whole->UpdateTarget(target, kStart + absl::Seconds(second));
  ASSERT_NE((second - 1) % 10, 0);
  auto restarted = MakeEngine(OptionsWith(GetParam()));
  for (const char* vm : {"vm-1", ""}) {
    const Series* series = whole->Find(vm, "host", Resource::kCpu);
    const auto decoded = DecodeState(EncodeState(series->ToState()));
    ASSERT_THAT(decoded, cloudscale::testing::IsOk());
    ASSERT_THAT(restarted->Import(series->id(), *decoded, true),
                cloudscale::testing::IsOkAndHolds(true));
    EXPECT_EQ(restarted->Find(vm, "host", Resource::kCpu)->ToState(), series->ToState());
  }
  for (; second < 6000; ++second) {
    const Observation o = Eventful(second, rng);
    ObserveSecond(*whole, second, o);
    ObserveSecond(*restarted, second, o);
    for (const char* vm : {"vm-1", ""}) {
      const Series& a = *whole->Find(vm, "host", Resource::kCpu);
      const Series& b = *restarted->Find(vm, "host", Resource::kCpu);
      ASSERT_EQ(a.forecast()->quantiles, b.forecast()->quantiles) << second;
      ASSERT_EQ(a.forecast()->advised, b.forecast()->advised) << second;
      if (second % 500 == 0) {
        ASSERT_EQ(a.ToState(), b.ToState()) << second;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RestartTest,
                         ::testing::Values("portfolio", "cloudscale", "max", "autoregression"));

TEST(PredictorEngineTest, ShadowIsPromotedOnlyWhenItIsReallyBetter) {
  for (const bool is_better : {true, false}) {
    auto engine = MakeEngine(OptionsWith(is_better ? "max" : "portfolio"));
    Feeder feeder(*engine);
    const auto wave = [](int step) { return step % 37 < 5 ? 3.0 : 0.5; };
    feeder.Steps(5, wave);
    ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, is_better ? "portfolio" : "max",
                                    /*is_shadow=*/true, /*apply=*/true, /*may_promote=*/true),
                cloudscale::testing::IsOk());
    feeder.Steps(200, wave);
    EXPECT_EQ(feeder.series().challenge().advantage(), 0);  // too early to tell
    const auto forecast = feeder.Steps(3000, wave);
    ASSERT_TRUE(forecast.has_value());
    EXPECT_EQ(forecast->model->name(), "portfolio");
    EXPECT_EQ(feeder.series().tracks()[1].model()->name(), "max");  // may win its place back
    EXPECT_EQ(engine->promotion_count(), is_better ? 1 : 0);
    EXPECT_LT(feeder.series().challenge().advantage(), 0)
        << is_better << " " << feeder.series().challenge().blocks();
  }
}

TEST(PredictorEngineTest, ShadowWithoutLeaveIsNotPromoted) {
  auto engine = MakeEngine(OptionsWith("max"));
  Feeder feeder(*engine);
  const auto wave = [](int step) { return step % 37 < 5 ? 3.0 : 0.5; };
  feeder.Steps(5, wave);
  ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, "portfolio", true, true),
              cloudscale::testing::IsOk());
  EXPECT_EQ(feeder.Steps(1400, wave)->model->name(), "max");
  EXPECT_GT(feeder.series().challenge().advantage(), 4);
  EXPECT_EQ(engine->promotion_count(), 0);
}

TEST(PredictorEngineTest, P1AShadowThatAsksForLessIsNotBetterForAVmAtItsCap) {
  auto engine = MakeEngine(OptionsWith("portfolio"));
  Rng rng(1);
  for (int64_t second = 1; second <= 9000; ++second) {
    Observation o = Fresh(1);
    o.capacity = 8;
    o.allocation = 1;
    o.is_censored = true;
    ObserveSecond(*engine, second, o);
    if (second == 60) {
      ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, "last", true, true, true),
                  cloudscale::testing::IsOk());
    }
  }
  const Series* series = engine->Find("vm-1", "", Resource::kCpu);
  EXPECT_EQ(series->tracks()[0].model()->name(), "portfolio");
  EXPECT_GT(*series->forecast()->advised, 1.2);
}

TEST(PredictorEngineTest, AnObjectiveThatIsMissedDoesNotPromoteTheShadow) {
  auto engine = MakeEngine(OptionsWith("portfolio"));
  Feeder feeder(*engine);
  Rng rng(2);
  const auto demand = [&](int) { return rng.Uniform(1, 1.5); };
  feeder.Steps(200, demand);
  ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, "max", true, true, true),
              cloudscale::testing::IsOk());
  PredictorEngine::Target target;
  target.vm_uuid = "vm-1";
  target.price_factor = 100;
  target.price_factor_duration = absl::Hours(100);
  engine->UpdateTarget(target, kStart);
  feeder.Steps(1500, demand);
  EXPECT_EQ(engine->promotion_count(), 0);
  EXPECT_EQ(feeder.series().challenge().blocks(), 0);
}

TEST(PredictorEngineTest, ARaisedPriceAsksForMoreUntilItExpires) {
  double advised[2] = {};
  double price[2] = {};
  auto plain = MakeEngine(OptionsWith("portfolio"));
  auto raised = MakeEngine(OptionsWith("portfolio"));
  Feeder feeders[2] = {Feeder(*plain), Feeder(*raised)};
  Rng rngs[2] = {Rng(4), Rng(4)};
  const auto steps = [&](int count) {
    for (int i = 0; i < 2; ++i) {
      const auto last = feeders[i].Steps(count, [&](int) { return rngs[i].Uniform(1, 4); });
      advised[i] = *last->advised;
      price[i] = *last->violation_price;
    }
  };
  steps(200);
  EXPECT_EQ(advised[0], advised[1]);
  PredictorEngine::Target target;
  target.vm_uuid = "vm-1";
  target.price_factor = 4;
  target.price_factor_duration = absl::Minutes(10);
  ASSERT_EQ(raised->UpdateTarget(target, kStart + absl::Seconds(2000)), 1);
  steps(30);
  EXPECT_GT(price[1], 2 * price[0]);
  EXPECT_GT(advised[1], 1.02 * advised[0]);
  steps(40);  // 700 s later
  EXPECT_LT(price[1], 1.1 * price[0]) << "it expires by itself";
}

TEST(PredictorEngineTest, WhatAnOperatorChoosesAfterAPromotionStands) {
  auto engine = MakeEngine(OptionsWith("max"));
  Feeder feeder(*engine);
  const auto wave = [](int step) { return step % 37 < 5 ? 3.0 : 0.5; };
  feeder.Steps(5, wave);
  ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, "portfolio", true, true, true),
              cloudscale::testing::IsOk());
  for (int i = 0; i < 4000 && engine->promotion_count() == 0; ++i) {
    feeder.Steps(1, wave);
  }
  ASSERT_EQ(engine->promotion_count(), 1);
  // The promoted model is kept over a restart.
  auto restarted = MakeEngine(OptionsWith("max"));
  ASSERT_THAT(restarted->Import(feeder.series().id(), feeder.series().ToState(), true),
              cloudscale::testing::IsOkAndHolds(true));
  EXPECT_EQ(restarted->Find("vm-1", "", Resource::kCpu)->tracks()[0].model()->name(), "portfolio");
  // Back to the default, without a shadow.
  for (const bool is_shadow : {true, false}) {
    ASSERT_THAT(engine->SelectModel("vm-1", Resource::kCpu, "", is_shadow, true),
                cloudscale::testing::IsOk());
  }
  EXPECT_EQ(feeder.Steps(3, wave)->model->name(), "max");
  EXPECT_EQ(feeder.series().tracks().size(), 1U);
  EXPECT_FALSE(feeder.series().is_model_chosen);
}

TEST(PredictorEngineTest, P1ForecastIsHeldOverARestartWithOtherHorizons) {
  PredictorOptions options = OptionsWith("portfolio");
  options.horizons = {1, 10, 60};
  auto first = MakeEngine(options);
  Feeder feeder(*first);
  const auto before = feeder.Steps(300, [](int step) { return step >= 290 ? 5.0 : 1.0; });
  ASSERT_TRUE(before.has_value());
  options.horizons = {1, 10, 60, 1080};
  auto second = MakeEngine(options);
  ASSERT_THAT(second->Import(feeder.series().id(), feeder.series().ToState(), true),
              cloudscale::testing::IsOkAndHolds(true));
  Feeder again(*second);
  again.Skip(3017);  // 17 samples are missing
  std::optional<SeriesForecast> next;
  for (int i = 0; i < 20 && !next; ++i) {
    next = again.Sample(1.0);
  }
  ASSERT_TRUE(next.has_value());
  EXPECT_TRUE(next->is_held);
  EXPECT_GE(*next->advised, *before->advised);
  for (size_t i = 0; i < before->quantiles.size(); ++i) {
    EXPECT_GE(next->quantiles[i], before->quantiles[i]);
  }
}

// --- One model for all ---

class ManyVms {
 public:
  static constexpr int kVms = 150;
  explicit ManyVms(PredictorEngine& engine) : engine_(engine) {}

  // One sample of every VM, each the only one of its step; returns how many VMs were forecast.
  int Step() {
    std::vector<std::string> names;
    for (int i = 0; i < kVms; ++i) {
      names.push_back("vm-" + std::to_string(i));
    }
    std::vector<VmObservation> vms;
    for (int i = 0; i < kVms; ++i) {
      vms.push_back({.vm_uuid = names[static_cast<size_t>(i)],
                     .resource = {Fresh(1.0 + (step_ + i) % 3), Observation()}});
    }
    ++step_;
    EXPECT_THAT(engine_.Ingest({.host_id = "host",
                                .sequence = step_,
                                .time = kStart + step_ * absl::Seconds(10),
                                .sampling_period = absl::Seconds(10),
                                .vms = vms},
                               kReceived),
                cloudscale::testing::IsOk());
    int forecasts = 0;
    for (const PublishedForecast& published :
         engine_.TakeForecasts("host", kStart + step_ * absl::Seconds(10))) {
      forecasts += published.id.vm_uuid.empty() ? 0 : 1;
    }
    return forecasts;
  }

  [[nodiscard]] int CountOf(absl::string_view model) const {
    int count = 0;
    engine_.Visit({}, [&](const Series& series) {
      count += series.tracks().front().model()->name() == model ? 1 : 0;
      return true;
    });
    return count;
  }

  [[nodiscard]] std::string States() const {
    std::string states;
    engine_.Visit({}, [&](const Series& series) {
      states += EncodeState(series.ToState());
      return true;
    });
    return states;
  }

 private:
  PredictorEngine& engine_;
  int step_ = 0;
};

TEST(PredictorEngineTest, AModelForAllIsTaughtToAFewSeriesAtATime) {
  auto engine = MakeEngine(OptionsWith("max"));
  auto same = MakeEngine(OptionsWith("max"));
  ManyVms vms(*engine);
  ManyVms again(*same);
  for (int i = 0; i < 20; ++i) {
    vms.Step();
    again.Step();
  }
  const auto selection = engine->SelectModel("", std::nullopt, "portfolio", false, true);
  ASSERT_THAT(selection, cloudscale::testing::IsOk());
  ASSERT_THAT(same->SelectModel("", std::nullopt, "portfolio", false, true),
              cloudscale::testing::IsOk());
  EXPECT_EQ(selection->series_count, ManyVms::kVms);
  int taught = vms.CountOf("portfolio");
  EXPECT_EQ(taught, PredictorEngine::kChangedAtOnce);
  constexpr int kSeries = ManyVms::kVms + 1;  // and the host's sum
  while (engine->waiting_count() > 0) {
    EXPECT_EQ(vms.Step(), ManyVms::kVms);  // nobody waits for those that learn
    again.Step();
    const int now = vms.CountOf("portfolio");
    EXPECT_LE(now - taught, PredictorEngine::kChangedPerBatch);
    EXPECT_GT(now, taught);
    taught = now;
  }
  EXPECT_EQ(taught, kSeries);
  EXPECT_EQ(vms.States(), again.States());
}

TEST(PredictorEngineTest, P20StatesSavedWhileOthersWaitForTheModelGoOn) {
  auto engine = MakeEngine(OptionsWith("max"));
  ManyVms vms(*engine);
  for (int i = 0; i < 40; ++i) {
    vms.Step();
  }
  ASSERT_THAT(engine->SelectModel("", std::nullopt, "portfolio", false, true),
              cloudscale::testing::IsOk());
  vms.Step();
  ASSERT_GT(engine->waiting_count(), 0U);
  auto next = MakeEngine(OptionsWith("portfolio"));
  engine->Visit({}, [&](const Series& series) {
    EXPECT_THAT(next->Import(series.id(), series.ToState(), true),
                cloudscale::testing::IsOkAndHolds(true));
    const Series* const taken =
        next->Find(series.id().vm_uuid, series.id().host_id, series.id().resource);
    EXPECT_EQ(taken->tracks().front().model()->name(), "portfolio");
    EXPECT_EQ(taken->known_steps(), series.known_steps());
    EXPECT_EQ(taken->History(10).size(), 10U);
    EXPECT_TRUE(taken->is_warm());
    return true;
  });
}

TEST(PredictorEngineTest, ChoosingAgainWhileSomeWaitLeavesAllWithTheLastChoice) {
  auto engine = MakeEngine(OptionsWith("max"));
  ManyVms vms(*engine);
  for (int i = 0; i < 12; ++i) {
    vms.Step();
  }
  for (const char* model : {"portfolio", "mean", "portfolio", "mean"}) {
    ASSERT_THAT(engine->SelectModel("", std::nullopt, model, false, true),
                cloudscale::testing::IsOk());
    ASSERT_LE(engine->waiting_count(), static_cast<size_t>(ManyVms::kVms + 1));
    vms.Step();
  }
  ASSERT_THAT(engine->SelectModel("vm-149", std::nullopt, "max", false, true),
              cloudscale::testing::IsOk());
  while (engine->waiting_count() > 0) {
    vms.Step();
  }
  EXPECT_EQ(vms.CountOf("mean"), ManyVms::kVms);  // all but one, and the host's sum
  EXPECT_EQ(vms.CountOf("max"), 1);
}

TEST(PredictorEngineTest, AnotherModelStartsWithWhatTheOneBeforeRemembers) {
  for (const char* first : {"portfolio", "cloudscale"}) {
    const char* second = std::string(first) == "portfolio" ? "max" : "portfolio";
    auto engine = MakeEngine(OptionsWith(first));
    Feeder feeder(*engine);
    feeder.Steps(300, [](int step) { return step % 50 == 0 ? 3.0 : 1.0; });
    ASSERT_THAT(engine->SelectModel("vm-1", std::nullopt, second, false, true),
                cloudscale::testing::IsOk());
    const auto forecast = feeder.Steps(2, [](int) { return 1.0; });
    ASSERT_TRUE(forecast.has_value());
    EXPECT_TRUE(forecast->is_warm);
    // The burst every fifty steps is known.
    EXPECT_GE(forecast->quantiles.back(), 2.9) << second;
  }
}

// A hundred VMs, one after the other; returns the part of the steps 10 to 48 in which demand was
// above what was advised before, of the last 60.
double ViolationsOfYoungVms(bool has_fleet) {
  constexpr int kVms = 100;
  auto engine = MakeEngine(OptionsWith("portfolio"));
  Rng rng(4);
  int64_t now = 0;
  double violations = 0;
  double judged = 0;
  for (int vm = 0; vm < kVms; ++vm) {
    if (!has_fleet) {
      engine = MakeEngine(OptionsWith("portfolio"));
    }
    const std::string name = "vm-" + std::to_string(vm);
    double advised = 0;
    double level = 1;
    for (int step = 0; step < 60; ++step) {
      level = std::clamp(level * std::exp(rng.Normal(0, 0.1)), 0.2, 2.5);
      Observation o = Fresh(level + (rng.Chance(0.1) ? 1 : 0));
      o.capacity = 4;
      if (step >= 10 && step < 48 && vm >= kVms - 60) {
        violations += o.demand > advised ? 1 : 0;
        ++judged;
      }
      const VmObservation observation = {.vm_uuid = name, .resource = {o, Observation()}};
      EXPECT_THAT(engine->Ingest({.host_id = "host",
                                  .sequence = ++now,
                                  .time = kStart + 10 * absl::Seconds(now),
                                  .sampling_period = absl::Seconds(10),
                                  .vms = absl::MakeConstSpan(&observation, 1)},
                                 kReceived),
                  cloudscale::testing::IsOk());
      engine->TakeForecasts("host", kStart);
      const Series* series = engine->Find(name, "", Resource::kCpu);
      advised = series->forecast() ? *series->forecast()->advised : 4;
    }
  }
  return violations / judged;
}

TEST(PredictorEngineTest, NewVmsStartWithTheExperienceOfTheirKind) {
  const double without = ViolationsOfYoungVms(false);
  const double with = ViolationsOfYoungVms(true);
  EXPECT_GT(without, 0.04);  // twice the target
  EXPECT_LT(with, 0.8 * without);
}

TEST(PredictorEngineTest, OtherHorizonsKeepWhatWasLearntAboutTheNextStep) {
  auto first = MakeEngine(OptionsWith("portfolio"));
  Feeder feeder(*first);
  const auto last = feeder.Steps(300, [](int step) { return 1.0 + step % 4; });
  PredictorOptions options = OptionsWith("portfolio");
  options.horizons = {1, 60, 300};
  auto second = MakeEngine(options);
  ASSERT_THAT(second->Import(feeder.series().id(), feeder.series().ToState(), true),
              cloudscale::testing::IsOkAndHolds(true));
  Feeder again(*second);
  again.Skip(3000);
  const auto next = again.Steps(2, [](int step) { return 1.0 + step % 4; });
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->expected.size(), 3U);
  EXPECT_TRUE(next->is_warm);
  EXPECT_NEAR(*next->advised, 4, 1.2);
}

// 29 steps of a series of 1, 2 and 3 cores in turn, as written by the first version, whose default
// model was "cloudscale".
constexpr char kFirstVersion[] =
    "Q1NQUwEAAAAA5AtUAgAAAB2VugoAAAAAALgYbbzi+hgeAAAAAAAAAAAAAAAAAPA/AAAAAB0AAAAAAAAAAAAAQAAA"
    "AAAAAAhAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAA8D8AAAAA"
    "AAAAQAAAAAAAAAhAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAA"
    "8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhA"
    "AAAAAAAA8D8AAAAAAAAAQAAAAAAAAAhACgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAgAAAAAAAAAAAOA/zczMzMzM7D8CAAAA"
    "AAAAAAAA8D8AAAAAAAAIQAQAAAAAAAAAAADwPwAAAAAAAABAAAAAAAAACEAAAAAAAAAQQLg6frhpFu8/AAAAAAAA"
    "AAAAAAAAAADwvwEAAAAKAAAAY2xvdWRzY2FsZQIAAAABAAAAHAAAAAAAgD8AAADAAACAPwAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAABvdKiTfDA6QFS5J9Z6IPe+aIC5wg4XDEBK1qNPGrcCQH7r9lIaF/w/AJ2kjBG6"
    "4j943c4+Ri9RQP//Qekcq0pAtwV57gpvOEC3BXnuCm84QAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAcAAAAAAAAAAoAAAAKAAAAAACAPwAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAACsWjphSjiNAm3unGqkEB8Cbe6caqQQHQJHYOYAm6QBA44sUilKq/j+EcJnEb0brP4Dhyqtybz1APyHV5HtV"
    "PUBdCZeOEHIfQF0Jl44Qch9AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAoA"
    "AAAAAAAA0en0SvxCfrY=";

TEST(PredictorEngineTest, P20StateOfTheFirstVersionIsReadAndTheNewDefaultGoesOnWarm) {
  std::string bytes;
  ASSERT_TRUE(absl::Base64Unescape(kFirstVersion, &bytes));
  const auto state = DecodeState(bytes);
  ASSERT_THAT(state, cloudscale::testing::IsOk());
  EXPECT_EQ(state->history.size(), 29U);
  EXPECT_EQ(state->tracks[0].model, "cloudscale");
  EXPECT_FALSE(state->is_model_chosen);
  EXPECT_GT(state->tracks[0].horizons[0].accuracy.step_count, 20);
  PredictorOptions options = OptionsWith("portfolio");
  options.horizons = {1, 10};
  options.ratios = {0.5, 0.9};
  auto engine = MakeEngine(options);
  ASSERT_THAT(engine->Import({"vm-1", "host", Resource::kCpu}, *state, true),
              cloudscale::testing::IsOkAndHolds(true));
  const Series* series = engine->Find("vm-1", "", Resource::kCpu);
  EXPECT_TRUE(series->is_warm());
  EXPECT_EQ(series->forecast()->quantiles, state->forecast->quantiles);
  for (int64_t step = 31; step <= 34; ++step) {
    const VmObservation vm = {.vm_uuid = "vm-1",
                              .resource = {Fresh(1.0 + static_cast<double>(step % 3)), {}}};
    ASSERT_THAT(engine->Ingest({.host_id = "host",
                                .sequence = step,
                                .time = kStart + 10 * absl::Seconds(step),
                                .sampling_period = absl::Seconds(10),
                                .vms = absl::MakeConstSpan(&vm, 1)},
                               kReceived),
                cloudscale::testing::IsOk());
    engine->TakeForecasts("host", kStart + 10 * absl::Seconds(step));
  }
  EXPECT_TRUE(series->forecast()->is_warm);
  EXPECT_EQ(series->forecast()->model->name(), "portfolio");
  EXPECT_THAT(*series->forecast()->advised,
              ::testing::AllOf(::testing::Ge(2.9), ::testing::Le(3.6)));
  EXPECT_EQ(series->History(100).size(), 33U);
}

// Before quantiles were corrected by how often they were exceeded.
TEST(PredictorEngineTest, P20StateOfTheSecondVersionIsReadWithAllThatItHasLearnt) {
  std::ifstream file(std::string(CLOUDSCALE_STATES) + "/second_version", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  ASSERT_GT(bytes.size(), 4U);
  ASSERT_EQ(bytes[4], 2);
  const auto state = DecodeState(bytes);
  ASSERT_THAT(state, cloudscale::testing::IsOk());
  auto engine = MakeEngine(OptionsWith("portfolio"));
  ASSERT_THAT(engine->Import({"vm-1", "host", Resource::kCpu}, *state, true),
              cloudscale::testing::IsOkAndHolds(true));
  const Series* series = engine->Find("vm-1", "", Resource::kCpu);
  EXPECT_EQ(series->known_steps(), 149);
  EXPECT_EQ(series->History(5000).size(), static_cast<size_t>(series->known_steps()));
  // It hands on the same in the present form.
  const auto again = DecodeState(EncodeState(series->ToState()));
  ASSERT_THAT(again, cloudscale::testing::IsOk());
  EXPECT_GT(again->tracks[0].online.size(), state->tracks[0].online.size());
  auto next = MakeEngine(OptionsWith("portfolio"));
  ASSERT_THAT(next->Import({"vm-1", "host", Resource::kCpu}, *again, true),
              cloudscale::testing::IsOkAndHolds(true));
  EXPECT_EQ(next->Find("vm-1", "", Resource::kCpu)->History(5000), series->History(5000));
}

TEST(PredictorEngineTest, P14DamagedModelStateIsRefusedAndChangesNothing) {
  auto first = MakeEngine(OptionsWith("portfolio"));
  Feeder feeder(*first);
  feeder.Steps(60, Flat);
  const SeriesState good = feeder.series().ToState();
  auto second = MakeEngine(OptionsWith("portfolio"));
  SeriesState bad = good;
  bad.tracks[0].online.pop_back();
  EXPECT_THAT(second->Import(feeder.series().id(), bad, true),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("portfolio")));
  bad = good;
  bad.tracks[0].online.push_back('x');
  EXPECT_THAT(second->Import(feeder.series().id(), bad, true),
              StatusIs(absl::StatusCode::kDataLoss));
  // Whatever is changed in it: refused, or something that can be gone on with.
  Rng rng(1);
  for (int i = 0; i < 300; ++i) {
    bad = good;
    std::string& online = bad.tracks[0].online;
    online[static_cast<size_t>(rng.UniformInt(static_cast<int64_t>(online.size())))] =
        static_cast<char>(rng.UniformInt(256));
    auto third = MakeEngine(OptionsWith("portfolio"));
    if (third->Import(feeder.series().id(), bad, true).ok()) {
      Feeder again(*third);
      again.Skip(600);
      const auto forecast = again.Steps(3, Flat);
      ASSERT_TRUE(forecast.has_value());
      for (const double quantile : forecast->quantiles) {
        ASSERT_GE(quantile, 0);
        ASSERT_LE(quantile, 1e31);
      }
    }
  }
  EXPECT_EQ(second->series_count(), 0);
}

}  // namespace
}  // namespace cloudscale::predictor
