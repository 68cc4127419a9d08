#include "sim/backtest/backtest.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "sim/backtest/plot.h"
#include "sim/backtest/report.h"
#include "sim/backtest/testing/fake_methods.h"

namespace cloudscale::backtest {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using testing::FakeConstantMethod;
using testing::FakeMaxMethod;
using ::testing::HasSubstr;
using testing::Journal;
using ::testing::SizeIs;
using ::testing::StartsWith;

DemandTrace Hourly(std::string name, std::vector<double> demand) {
  return {.name = std::move(name), .step_seconds = 3600, .demand = std::move(demand)};
}

std::vector<double> Caps(const DemandTrace& trace, const predictor::SizingMethod& method,
                         double knob, int hold, Loop loop) {
  std::vector<double> caps;
  CS_EXPECT_OK(Play(trace, method, knob, hold, loop, /*with_expected=*/false,
                    [&caps](const PlayedStep& step) { caps.push_back(step.cap); }));
  return caps;
}

TEST(PlayTest, AMethodDecidesBeforeItSeesTheStepsThatTheCapHolds) {
  Journal journal;
  const FakeMaxMethod method("max", 1, {1}, "factor", &journal);
  const DemandTrace trace = Hourly("x", {0.1, 0.2, 0.3, 0.4, 0.5});
  EXPECT_THAT(Caps(trace, method, 1, 2, Loop::kOpen), ElementsAre(1, 1, 0.2, 0.2, 0.4));
  EXPECT_THAT(journal, ElementsAre("size 2", "observe 0.1", "observe 0.2", "size 2", "observe 0.3",
                                   "observe 0.4", "size 2", "observe 0.5"));
}

TEST(PlayTest, UnknownStepsAreSkippedNotObserved) {
  Journal journal;
  const FakeMaxMethod method("max", 1, {1}, "factor", &journal);
  constexpr double kUnknown = DemandTrace::kUnknown;
  const DemandTrace trace = Hourly("x", {0.1, kUnknown, kUnknown, 0.4, kUnknown});
  EXPECT_THAT(Caps(trace, method, 1, 4, Loop::kClosed), ElementsAre(1, 1, 1, 1, 0.4));
  EXPECT_THAT(journal, ElementsAre("size 4", "observe 0.1", "skip 2", "observe 0.4", "size 4"));
}

TEST(PlayTest, ClosedLoopShowsTheCapAndSaysThatDemandWasHeldBack) {
  Journal journal;
  const FakeMaxMethod method("max", 1, {1}, "factor", &journal);
  DemandTrace trace = Hourly("x", {2, 4, 4, 1});
  trace.capacity = 8;
  EXPECT_THAT(Caps(trace, method, 1, 1, Loop::kClosed), ElementsAre(1, 0.25, 0.25, 0.25));
  EXPECT_THAT(journal, ElementsAre("size 1", "observe 2", "size 1", "observe 2 censored", "size 1",
                                   "observe 2 censored", "size 1", "observe 1"));
  journal.clear();
  EXPECT_THAT(Caps(trace, method, 1, 1, Loop::kOpen), ElementsAre(1, 0.25, 0.5, 0.5));
  EXPECT_THAT(journal, ElementsAre("size 1", "observe 2", "size 1", "observe 4", "size 1",
                                   "observe 4", "size 1", "observe 1"));
}

TEST(PlayTest, CapsAreClampedAndNoNumberIsRefused) {
  const FakeConstantMethod method("constant", {0});
  const DemandTrace trace = Hourly("x", {0.1});
  EXPECT_THAT(Caps(trace, method, 0, 1, Loop::kOpen), ElementsAre(kMinCap));
  EXPECT_THAT(Caps(trace, method, -5, 1, Loop::kOpen), ElementsAre(kMinCap));
  EXPECT_THAT(Caps(trace, method, 7, 1, Loop::kOpen), ElementsAre(1));
  EXPECT_THAT(Play(trace, method, std::numeric_limits<double>::quiet_NaN(), 1, Loop::kOpen, false,
                   [](const PlayedStep&) {}),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("constant")));
}

// Two traces of 12 steps, 6 of them scored.
std::vector<DemandTrace> TwoTraces() {
  std::vector<double> half(12, 0.5);
  std::vector<double> steps = {1, 1, 1, 1, 1, 1, 0.2, 0.2, 0.2, 0.4, 0.4, 0.2};
  return {Hourly("half", half), Hourly("steps", steps)};
}

TEST(RunBacktestTest, ScoresAConstantByHand) {
  const std::vector<DemandTrace> traces = TwoTraces();
  const FakeConstantMethod method("constant", {0.3, 0.6});
  BacktestOptions options;
  options.methods = {&method};
  options.targets = {0.3};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  ASSERT_THAT(result->results, SizeIs(1));
  const MethodResult& r = result->results.front();
  ASSERT_THAT(r.sweep, SizeIs(2));
  // At 0.3 all of the first trace and a third of the second are in violation.
  EXPECT_DOUBLE_EQ(r.sweep[0].violation_ratio, (1 + 1 / 3.0) / 2);
  EXPECT_DOUBLE_EQ(r.sweep[1].violation_ratio, 0);
  const double demand = 0.5 / 0.5 + 1.6 / 6;  // scales: 0.5 and 1
  EXPECT_NEAR(r.sweep[0].over_allocation, (0.3 / 0.5 + 0.3) / demand, 1e-12);
  EXPECT_NEAR(r.sweep[1].over_allocation, (0.6 / 0.5 + 0.6) / demand, 1e-12);
  EXPECT_NEAR(r.sweep[0].fleet, 0.6 / (0.5 + 1.6 / 6), 1e-12);
  EXPECT_TRUE(r.targets.front().over_allocation.has_value());
  ASSERT_TRUE(r.published.has_value());
  EXPECT_DOUBLE_EQ(r.published->knob, 0.3);
  EXPECT_EQ(r.reference, 1U);
  EXPECT_THAT(r.traces, SizeIs(2));
}

TEST(RunBacktestTest, ATargetKnobIsPlayedAtTheTargetsAndCalibrated) {
  std::vector<double> week(7 * 24, 0.5);
  week[100] = 0.9;
  const std::vector<DemandTrace> traces = {Hourly("week", week), TwoTraces()[0]};
  const FakeConstantMethod method("asked", {0.6, 0.1}, "target violation ratio");
  BacktestOptions options;
  options.methods = {&method};
  options.targets = {0.02};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  const MethodResult& r = result->results.front();
  ASSERT_THAT(r.calibration, SizeIs(3));
  EXPECT_EQ(r.calibration[0].asked, 0.6);
  EXPECT_EQ(r.calibration[0].long_traces, 1);
  EXPECT_EQ(r.calibration[0].long_traces_near_ratio, 0);
  EXPECT_DOUBLE_EQ(r.calibration[0].got, 0.5 * 1 / (6 * 24));
  EXPECT_EQ(r.calibration[1].asked, 0.1);
  EXPECT_EQ(r.calibration[2].asked, 0.02);
  EXPECT_EQ(r.calibration[2].got, 1);
}

std::vector<DemandTrace> RandomTraces(int count) {
  Rng rng(7);
  std::vector<DemandTrace> traces;
  for (int i = 0; i < count; ++i) {
    std::vector<double> demand;
    for (int t = 0; t < 60 + 40 * i; ++t) {
      demand.push_back(rng.Chance(0.02) ? DemandTrace::kUnknown : rng.Uniform(0.0, 1.0));
    }
    traces.push_back(Hourly(absl::StrCat("trace-", i), demand));
  }
  return traces;
}

TEST(RunBacktestTest, ResultsAreTheSameToTheByteForAnyNumberOfThreads) {
  const std::vector<DemandTrace> traces = RandomTraces(9);
  const FakeMaxMethod a("a", 3, {0.5, 0.8, 1, 1.2});
  const FakeMaxMethod b("b", 6, {0.5, 0.8, 1, 1.2});
  BacktestOptions options;
  options.methods = {&a, &b};
  options.holds = {1, 6};
  options.loops = {Loop::kOpen, Loop::kClosed};
  options.targets = {0.2, 0.4};
  std::vector<std::string> reports;
  for (const int jobs : {1, 2, 7}) {
    options.jobs = jobs;
    int64_t last = 0;
    int64_t whole = -1;
    const auto result = RunBacktest(traces, options, [&last, &whole](int64_t done, int64_t total) {
      EXPECT_GE(done, last);
      last = done;
      whole = total;
    });
    CS_ASSERT_OK(result);
    EXPECT_EQ(last, whole);
    reports.push_back(JsonReport(*result) + TableReport(*result) +
                      FrontierPlot(*result, Loop::kOpen, 6));
  }
  EXPECT_EQ(reports[0], reports[1]);
  EXPECT_EQ(reports[0], reports[2]);
}

TEST(RunBacktestTest, RefusesWhatCannotBeScored) {
  const FakeConstantMethod method("constant", {0.3});
  BacktestOptions options;
  options.methods = {&method};
  EXPECT_THAT(RunBacktest({Hourly("short", {1, 1, 1, 1, 1})}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("short")));
  options.holds = {0};
  options.targets = {0, 2};
  options.jobs = 0;
  EXPECT_THAT(RunBacktest({}, options), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 AllOf(HasSubstr("traces"), HasSubstr("hold"),
                                                       HasSubstr("targets"), HasSubstr("jobs"))));
}

TEST(RunBacktestTest, AMethodThatAnswersNoNumberEndsTheRun) {
  const FakeConstantMethod method("broken", {std::numeric_limits<double>::quiet_NaN()});
  BacktestOptions options;
  options.methods = {&method};
  options.jobs = 2;
  EXPECT_THAT(RunBacktest(TwoTraces(), options), StatusIs(absl::StatusCode::kInternal));
}

TEST(ChooseMethodsTest, UnknownNamesAreAnsweredWithTheKnownOnes) {
  const predictor::SizingRegistry registry;
  const auto all = ChooseMethods(registry, {"all"});
  CS_ASSERT_OK(all);
  EXPECT_EQ(all->size(), registry.methods().size());
  EXPECT_THAT(ChooseMethods(registry, {"oracle"}),
              StatusIs(absl::StatusCode::kNotFound, StartsWith("no method 'oracle'; known: ")));
}

TEST(ReportTest, TableIsAsItShouldLook) {
  const std::vector<DemandTrace> traces = TwoTraces();
  const FakeConstantMethod constant("constant", {0.3, 0.6});
  const FakeMaxMethod maximum("maximum", 2, {0.5, 1, 2});
  BacktestOptions options;
  options.methods = {&constant, &maximum};
  options.targets = {0.1, 0.3};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  const std::string report = TableReport(*result);
  EXPECT_EQ(
      report.substr(0, report.find("\n\n")),
      "Open loop, a cap holds 1 step, 2 traces\n"
      "method    a/d @10%  a/d @30%  fleet @30%  v90 @30%  depth @30%  own @30%    p95    p99     "
      "published\n"
      "constant     0.811     0.753        0.83     87.8%         38%      1.07  1.333  0.267  "
      "66.7% / 0.71\n"
      "maximum      1.160     0.858        0.95     61.6%         65%      1.01  2.333  0.733   "
      "8.3% / 1.21");
  options.knob = 0.6;
  const auto one = RunBacktest(traces, options);
  CS_ASSERT_OK(one);
  const std::string setting = TableReport(*one);
  EXPECT_EQ(setting.substr(0, setting.find("\n\n")),
            "Open loop, a cap holds 1 step, 2 traces\n"
            "method    knob  violations    a/d  fleet    v90  depth     p95     p99\n"
            "constant   0.6       0.00%  1.421   1.57   0.0%     0%   1.333   0.267\n"
            "maximum    0.6      75.00%  0.726   0.81  95.0%    70%  23.467  24.160");
}

TEST(ReportTest, MarkdownHasTheSameRowsAndTheCalibration) {
  const std::vector<DemandTrace> traces = TwoTraces();
  const FakeConstantMethod constant("constant", {0.3, 0.6});
  const FakeConstantMethod asked("asked", {0.6, 0.1}, "target violation ratio");
  BacktestOptions options;
  options.methods = {&constant, &asked};
  options.targets = {0.3};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  const std::string report = MarkdownReport(*result);
  EXPECT_THAT(report, StartsWith("### Open loop, a cap holds 1 step, 2 traces\n\n| method "));
  EXPECT_THAT(report, AllOf(HasSubstr("\n| ---      |"), HasSubstr("\n| constant |    0.753 |"),
                            HasSubstr("\n| asked against got |"),
                            HasSubstr("| 30.00% |  66.67% |      2.22 |")));
  EXPECT_EQ(report.find("\n\n\n"), std::string::npos);
}

TEST(ReportTest, JsonHasNullForWhatIsNotReached) {
  const std::vector<DemandTrace> traces = {Hourly("idle", std::vector<double>(20, 0.0))};
  const FakeConstantMethod constant("constant", {0.3});
  BacktestOptions options;
  options.methods = {&constant};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  const auto json = nlohmann::json::parse(JsonReport(*result), nullptr, false);
  EXPECT_EQ(json["schema"], "cloudscale.backtest/1");
  EXPECT_EQ(json["traces"][0]["name"], "idle");
  EXPECT_TRUE(json["runs"][0]["targets"][0]["over_allocation"].is_null());
  EXPECT_TRUE(json["runs"][0]["sweep"][0]["over_allocation"].is_null());
  EXPECT_EQ(json["runs"][0]["sweep"][0]["violation_ratio"], 0.0);
}

TEST(PlotTest, NamesWhatItShowsWithUnitsAndEscapesNames) {
  std::vector<DemandTrace> traces = RandomTraces(2);
  traces[0].name = "a<b>&\"c\x01";
  const FakeMaxMethod method("maximum", 3, {0.5, 0.8, 1, 1.2});
  std::vector<PlayedStep> steps;
  CS_ASSERT_OK(Play(traces[0], method, 0.8, 1, Loop::kOpen, /*with_expected=*/true,
                    [&steps](const PlayedStep& step) { steps.push_back(step); }));
  const std::string plot =
      TracePlot(traces[0], BasisOf(traces[0]), "maximum", 0.8, 1, Loop::kOpen, steps);
  EXPECT_THAT(plot, AllOf(StartsWith("<svg "), HasSubstr("a&lt;b&gt;&amp;&quot;c?"),
                          HasSubstr("share of the VM (%)"), HasSubstr("(hours)")));
  EXPECT_EQ(plot.find("nan"), std::string::npos);
  BacktestOptions options;
  options.methods = {&method};
  options.targets = {0.2, 0.4};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  const std::string frontier = FrontierPlot(*result, Loop::kOpen, 1);
  EXPECT_THAT(frontier, AllOf(HasSubstr("maximum"), HasSubstr("log scale"), HasSubstr("waste")));
  EXPECT_EQ(frontier.find("nan"), std::string::npos);
}

TEST(PlotTest, TheFullCapBeforeTheFirstDemandDoesNotFlattenTheRest) {
  const DemandTrace trace = Hourly("low", std::vector<double>(48, 0.1));
  const FakeMaxMethod method("maximum", 3, {1});
  std::vector<PlayedStep> steps;
  CS_ASSERT_OK(Play(trace, method, 1.2, 1, Loop::kOpen, /*with_expected=*/true,
                    [&steps](const PlayedStep& step) { steps.push_back(step); }));
  ASSERT_EQ(steps.front().cap, 1);
  const std::string plot = TracePlot(trace, BasisOf(trace), "maximum", 1.2, 1, Loop::kOpen, steps);
  EXPECT_THAT(plot, AllOf(HasSubstr(">10</text>"), HasSubstr(">cap up to 100 %</text>"),
                          HasSubstr(">12</text>")));  // per cent of the VM, note, hours
  EXPECT_EQ(plot.find(">100</text>"), std::string::npos);
}

TEST(PlotTest, EveryMethodIsNamedAlsoThoseWithoutAColour) {
  const std::vector<DemandTrace> traces = RandomTraces(2);
  std::vector<FakeMaxMethod> methods;
  for (int i = 0; i < 10; ++i) {
    methods.emplace_back(absl::StrCat("maximum", i), i + 1, std::vector<double>{0.5, 0.8, 1, 1.2});
  }
  BacktestOptions options;
  for (const FakeMaxMethod& method : methods) {
    options.methods.push_back(&method);
  }
  options.targets = {0.2, 0.4};
  const auto result = RunBacktest(traces, options);
  CS_ASSERT_OK(result);
  const std::string frontier = FrontierPlot(*result, Loop::kOpen, 1);
  EXPECT_THAT(frontier, HasSubstr(">grey, best first:</text>"));
  for (const FakeMaxMethod& method : methods) {
    EXPECT_THAT(frontier, HasSubstr(absl::StrCat(">", method.name(), " · ")));
  }
}

}  // namespace
}  // namespace cloudscale::backtest
