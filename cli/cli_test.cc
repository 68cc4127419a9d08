#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/testing/cli_fixture.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(CliTest, StatusShowsEachServiceAndThoseThatAreNotThere) {
  EXPECT_EQ(Run({"status"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("monitor    serving"));
  EXPECT_THAT(out_, HasSubstr("lbctl      not here"));
  EXPECT_THAT(out_, HasSubstr("Saved 30.0 %"));
  EXPECT_EQ(Run({"status", "--json"}), 0);
  EXPECT_EQ(Json()["scaler"]["mode"], "MODE_AUTO");
  EXPECT_EQ(Json()["lbctl"]["error"]["code"], "UNIMPLEMENTED");
}

TEST_F(CliTest, ListingsReadAllPages) {
  EXPECT_EQ(Run({"vms"}), 0);
  EXPECT_THAT(out_, AllOf(HasSubstr("web-1"), HasSubstr("db-1")));
  EXPECT_EQ(Run({"vms", "--json"}), 0);
  EXPECT_EQ(Json()["vms"].size(), 2u);
  EXPECT_EQ(Json()["next_page_token"], "");
}

TEST_F(CliTest, VmsAreFoundByNameUuidAndBeginning) {
  for (const char* vm : {"web-1", "web", "11111111", testing::kWebUuid}) {
    EXPECT_EQ(Run({"why", vm}), 0) << vm << ": " << err_;
    EXPECT_THAT(out_, HasSubstr("web-1"));
  }
  EXPECT_EQ(Run({"why", "nothing"}), 1);
  EXPECT_THAT(err_, AllOf(HasSubstr("no VM 'nothing'"), HasSubstr("db-1")));
}

TEST_F(CliTest, WhyTellsTheWholeReceipt) {
  EXPECT_EQ(Run({"why", "web-1"}), 0);
  EXPECT_THAT(out_, HasSubstr("usage 1.40 cores, demand 1.50 cores, sample FRESH (number 1)"));
  EXPECT_THAT(out_, HasSubstr("1.60 cores = p95 of model markov, 3s old"));
  EXPECT_THAT(out_, HasSubstr("0.30 cores: BURST 0.30"));
  EXPECT_THAT(out_, HasSubstr("raw wish    1.90 cores"));
  EXPECT_THAT(out_, HasSubstr("clamp 1     1.90 -> 2.00  STEP_DOWN: at most 50 % down per step"));
  EXPECT_THAT(out_, HasSubstr("clamp 2     2.00 -> 2.00  ROUNDING"));
  EXPECT_THAT(out_, HasSubstr("target      2.00 cores, was 4.00 cores (-50.0 %)"));
  EXPECT_THAT(out_, HasSubstr("because     FORECAST: follows the forecast"));
  EXPECT_THAT(out_, HasSubstr("waiting     shrink_quiet_steps 2 of 3"));
  EXPECT_EQ(Run({"why", "web-1", "--json"}), 0);
  EXPECT_EQ(Json()["decisions"][0]["raw_wish"], 1.9);
}

TEST_F(CliTest, ForecastDrawsAChartAndATable) {
  EXPECT_EQ(Run({"forecast", "web-1", "--width", "60"}), 0) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("model markov"), HasSubstr("░"), HasSubstr("WITHIN"),
                          HasSubstr("p95")));
  EXPECT_EQ(Run({"forecast", "web-1", "--json"}), 0);
  EXPECT_EQ(Json()["forecast"]["model"], "markov");
  EXPECT_EQ(Json()["samples"].size(), 61u);
}

TEST_F(CliTest, TopOnceIsOneLookAndForEndsWithASummary) {
  EXPECT_EQ(Run({"top", "--once"}), 0) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("host-a"), HasSubstr("web-1")));
  EXPECT_EQ(Run({"top", "--for", "50ms", "--interval", "10ms", "--json"}), 0) << err_;
  EXPECT_EQ(Json()["host_id"], "host-a");
  EXPECT_EQ(Json()["totals"]["sample_count"], 1) << "one sequence, however many looks";
  EXPECT_EQ(Json()["actions"]["SET_CPU_CAP"]["failed_count"], 1);
}

TEST_F(CliTest, DecisionsAreListedOverPagesOrWatched) {
  EXPECT_EQ(Run({"decisions"}), 0);
  EXPECT_EQ(Lines().size(), 3u) << out_;
  EXPECT_EQ(Run({"decisions", "--watch", "--json", "-n", "2"}), 0);
  ASSERT_EQ(Lines().size(), 2u) << out_;
  EXPECT_EQ(nlohmann::json::parse(Lines()[1])["decision_id"], "host-a/2");
}

TEST_F(CliTest, PolicySetSendsMaskEtagAndOnlyWhatWasGiven) {
  EXPECT_EQ(Run({"policy", "set", "web-1", "cpu.max_cores=2", "memory.min=1GiB", "mode=auto",
                 "weight=", "labels.env=prod"}),
            0)
      << err_;
  const auto& update = scaler_.last_update;
  EXPECT_EQ(update.policy().vm_uuid(), testing::kWebUuid);
  EXPECT_EQ(update.policy().etag(), "v1");
  EXPECT_EQ(update.policy().cpu().max(), 2.0);
  EXPECT_EQ(update.policy().memory().min(), 1024.0 * 1024 * 1024);
  EXPECT_EQ(update.policy().mode(), scaler::v1::MODE_AUTO);
  EXPECT_FALSE(update.policy().has_weight());
  EXPECT_EQ(update.policy().labels().at("env"), "prod");
  EXPECT_EQ(update.policy().labels().at("tier"), "web") << "other labels stay";
  EXPECT_THAT(update.update_mask().paths(),
              ElementsAre("cpu.max", "labels", "memory.min", "mode", "weight"));
  EXPECT_THAT(update.request_id(),
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_FALSE(update.validate_only());
}

TEST_F(CliTest, DryRunOnlyValidates) {
  EXPECT_EQ(Run({"policy", "set", "host", "mode=observe", "--dry-run"}), 0) << err_;
  EXPECT_TRUE(scaler_.last_update.validate_only());
  EXPECT_EQ(scaler_.last_update.policy().host_id(), "host-a");
  EXPECT_THAT(out_, HasSubstr("nothing was changed"));
}

TEST_F(CliTest, RefusalsAreTold_OneLineAField) {
  EXPECT_EQ(Run({"policy", "set", "web-1", "cpu.max=100"}), 1);
  EXPECT_THAT(err_, HasSubstr("policy.cpu.max: '100' is not allowed; allowed: 0 < value <= 64"));
  EXPECT_EQ(Run({"policy", "set", "web-1", "cpu.max=100", "--json"}), 1);
  const auto error = nlohmann::json::parse(err_)["error"];
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["violations"][0]["field"], "policy.cpu.max");
  EXPECT_EQ(Run({"policy", "set", "web-1", "cpu.max=1", "--etag", "old"}), 1);
  EXPECT_THAT(err_, HasSubstr("someone else changed it meanwhile"));
}

TEST_F(CliTest, BadPairsAreToldAllAtOnceBeforeAnyoneIsAsked) {
  EXPECT_EQ(Run({"policy", "set", "web-1", "cpu.max=lots", "nonsense=1", "mode=sometimes", "x"}),
            2);
  EXPECT_THAT(err_, AllOf(HasSubstr("cpu.max: 'lots' is not a number"), HasSubstr("nonsense"),
                          HasSubstr("allowed: observe|recommend|canary|auto"),
                          HasSubstr("'x' is not KEY=VALUE")));
  EXPECT_TRUE(scaler_.last_update.request_id().empty());
}

TEST_F(CliTest, ModeAndPauseSayWhatIsInForce) {
  EXPECT_EQ(Run({"mode", "AUTO", "--vm", "db"}), 0) << err_;
  EXPECT_EQ(scaler_.last_mode.vm_uuid(), testing::kDbUuid);
  EXPECT_THAT(out_, HasSubstr("OBSERVE -> AUTO, in force RECOMMEND"));
  EXPECT_EQ(Run({"pause", "--shrink", "--reason", "why not"}), 0);
  EXPECT_TRUE(scaler_.last_pause.pause().pause_shrink());
  EXPECT_FALSE(scaler_.last_pause.pause().has_pause_grow());
  EXPECT_THAT(out_, HasSubstr("host: shrink paused: why not"));
  EXPECT_EQ(Run({"resume"}), 0);
  EXPECT_TRUE(scaler_.last_pause.pause().has_pause_migrate());
  EXPECT_FALSE(scaler_.last_pause.pause().pause_migrate());
}

TEST_F(CliTest, RestoreAsksFirst) {
  EXPECT_EQ(Run({"restore"}), 2) << "nobody is there to answer";
  EXPECT_THAT(scaler_.restores, IsEmpty());
  EXPECT_EQ(Run({"restore"}, "n\n", /*is_terminal=*/true), 0);
  EXPECT_THAT(scaler_.restores, ElementsAre(true)) << "only a dry run";
  EXPECT_EQ(Run({"restore"}, "y\n", /*is_terminal=*/true), 0);
  EXPECT_THAT(scaler_.restores, ElementsAre(true, true, false));
  EXPECT_EQ(Run({"restore", "--yes"}), 0);
  EXPECT_THAT(scaler_.restores, ElementsAre(true, true, false, false));
}

TEST_F(CliTest, P16ARestoreThatLeavesASizeIsAnError) {
  scaler_.restore_state = scaler::v1::ACTION_STATE_FAILED;
  EXPECT_EQ(Run({"restore", "--yes"}), 1);
  EXPECT_THAT(err_, HasSubstr("1 of 1 sizes were not restored"));
}

TEST_F(CliTest, CallUnaryByReflection) {
  EXPECT_EQ(Run({"call", "cloudscale.scaler.v1.ScalerService/GetStatus"}), 0) << err_;
  EXPECT_EQ(Json()["host_id"], "host-a");
  EXPECT_EQ(
      Run({"call", "monitor/getvm", std::string("{\"vm_uuid\": \"") + testing::kWebUuid + "\"}"}),
      0)
      << err_;
  EXPECT_EQ(Json()["vm"]["vm_uuid"], testing::kWebUuid);
}

TEST_F(CliTest, CallStreamsFromTheServerAsJsonLines) {
  EXPECT_EQ(Run({"call", "scaler/WatchDecisions"}), 0) << err_;
  ASSERT_EQ(Lines().size(), 4u);
  EXPECT_EQ(nlohmann::json::parse(Lines()[0])["is_heartbeat"], true);
  EXPECT_EQ(nlohmann::json::parse(Lines()[3])["sequence"], "3");
}

TEST_F(CliTest, CallStreamsToTheServerFromJsonLines) {
  const std::string lines =
      "{\"reports\": [{\"application\": \"shop\"}]}\n\n"
      "{\"reports\": [{\"application\": \"shop\"}, {\"application\": \"shop\"}]}\n";
  EXPECT_EQ(Run({"call", "sla/ReportLatencies", "-"}, lines), 0) << err_;
  EXPECT_EQ(Json()["accepted_count"], "3");
  const ::cloudscale::testing::TempDir directory;
  EXPECT_EQ(Run({"call", "sla/ReportLatencies", "@" + directory.Write("r.jsonl", lines)}), 0);
  EXPECT_EQ(Json()["accepted_count"], "3");
}

TEST_F(CliTest, CallEndsWhenTheServerEndsAClientStream) {
  std::string lines = "{\"reports\": [{}]}\n";
  for (int i = 0; i < 1000; ++i) {
    lines += "{\"reports\": [{\"application\": \"shop\"}]}\n";
  }
  EXPECT_EQ(Run({"call", "sla/ReportLatencies", "-"}, lines), 1);
  EXPECT_THAT(err_, HasSubstr("a report without application"));
}

TEST_F(CliTest, CallTellsBadInputFromBadAnswers) {
  EXPECT_EQ(Run({"call", "scaler/GetStatus", "{\"nonsense\": 1}"}), 2);
  EXPECT_THAT(err_, HasSubstr("cloudscale.scaler.v1.GetStatusRequest"));
  EXPECT_EQ(Run({"call", "scaler/GetStatus", "{"}), 2);
  EXPECT_EQ(Run({"call", "scaler/GetStatus", "@/nonexistent"}), 2);
  EXPECT_EQ(Run({"call", "scaler"}), 2);
  EXPECT_EQ(
      Run({"call", "sla/ReportLatencies", "-"}, "{\"reports\": [{\"application\": \"a\"}]}\n{"), 2);
  EXPECT_EQ(Run({"call", "scaler/Nothing"}), 1);
  EXPECT_THAT(err_, AllOf(HasSubstr("no method 'Nothing'"), HasSubstr("GetStatus")));
  EXPECT_EQ(Run({"call", "nobody/GetStatus"}), 1);
  EXPECT_THAT(err_, AllOf(HasSubstr("no service 'nobody'"), HasSubstr("ScalerService")));
  EXPECT_EQ(Run({"call", "monitor/GetVm", "{\"vm_uuid\": \"x\"}"}), 1);
  EXPECT_THAT(err_, HasSubstr("NOT_FOUND: no VM x"));
}

TEST_F(CliTest, ListAndDescribeSpeakTheContracts) {
  EXPECT_EQ(Run({"list"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("cloudscale.sla.v1.SlaService\n"));
  EXPECT_EQ(Run({"list", "sla"}), 0);
  EXPECT_THAT(out_, HasSubstr("ReportLatencies(stream ReportLatenciesRequest) -> "));
  EXPECT_EQ(Run({"describe", "cloudscale.scaler.v1.Policy"}), 0) << err_;
  EXPECT_THAT(out_, AllOf(StartsWith("message Policy {"), HasSubstr("target_violation_ratio")));
  EXPECT_EQ(Run({"describe", "cloudscale.scaler.v1.Mode"}), 0);
  EXPECT_THAT(out_, HasSubstr("MODE_CANARY = 3"));
  EXPECT_EQ(Run({"describe", "scaler/SetMode", "--json"}), 0);
  EXPECT_EQ(Json()["name"], "SetMode");
  EXPECT_EQ(Run({"describe", "cloudscale.scaler.v1.Nothing"}), 1);
}

TEST_F(CliTest, HealthHasExitCodeOneWhileAServiceDoesNotServe) {
  const std::vector<std::string> services = {
      "", "cloudscale.monitor.v1.MonitorService", "cloudscale.predictor.v1.PredictorService",
      "cloudscale.scaler.v1.ScalerService", "cloudscale.sla.v1.SlaService"};
  for (const std::string& service : services) {
    server_->SetServing(service, true);
  }
  EXPECT_EQ(Run({"health"}), 0) << err_;
  server_->SetServing(services[3], false);
  EXPECT_EQ(Run({"health"}), 1);
  EXPECT_THAT(err_, HasSubstr("not serving: cloudscale.scaler.v1.ScalerService"));
}

TEST_F(CliTest, NobodyThereIsExitCodeThreeWithAddressAndAdvice) {
  const std::string address = server_->address();
  server_->Shutdown();
  for (const auto& command : {std::vector<std::string>{"status"},
                              {"vms"},
                              {"top", "--once"},
                              {"call", "scaler/GetStatus"},
                              {"why", "web-1"},
                              {"health"},
                              {"list"}}) {
    EXPECT_EQ(Run(command), 3) << command[0] << ": " << err_;
    EXPECT_THAT(err_, AllOf(HasSubstr(address), HasSubstr("is the server running there?")));
  }
}

TEST_F(CliTest, MistakesOfTheCallerAreExitCodeTwo) {
  EXPECT_EQ(RunAlone({"polcy"}), 2);
  EXPECT_EQ(RunAlone({"status", "--address", "nowhere"}), 2);
  EXPECT_THAT(err_, HasSubstr("has no port"));
  EXPECT_EQ(RunAlone({"status", "--address", "192.0.2.1:1"}), 2);
  EXPECT_THAT(err_, HasSubstr("--tls-ca"));
}

TEST_F(CliTest, CompletionKnowsTheVmsOfTheServer) {
  EXPECT_EQ(RunAlone({"__complete", "--address", server_->address(), "why", "we"}), 0);
  EXPECT_EQ(out_, std::string("web-1\t") + testing::kWebUuid + "\n");
  EXPECT_EQ(RunAlone({"__complete", "pol"}), 0);
  EXPECT_THAT(out_, StartsWith("policy\t"));
  EXPECT_EQ(RunAlone({"__complete", "policy", "s"}), 0);
  EXPECT_THAT(out_, AllOf(StartsWith("set\t"), Not(HasSubstr("status"))));
}

TEST_F(CliTest, VersionAnswersWithoutAServerToo) {
  EXPECT_EQ(Run({"version"}), 0);
  EXPECT_THAT(out_, HasSubstr("cloudscaled 9.9.9"));
  server_->Shutdown();
  EXPECT_EQ(Run({"version", "--json"}), 0);
  EXPECT_TRUE(Json()["server"].is_null());
}

// Two days of samples at 5 minutes that go up and down.
std::string RecordedDemand() {
  std::string text = "t,value\n";
  for (int i = 0; i < 576; ++i) {
    absl::StrAppend(&text, 300 * i, ",", 0.1 + 0.05 * ((i * 7) % 12), "\n");
  }
  return text;
}

TEST_F(CliTest, BacktestComparesMethodsWithoutAServer) {
  server_->Shutdown();
  cloudscale::testing::TempDir dir;
  const std::string file = dir.Write("web.csv", RecordedDemand());
  ASSERT_EQ(RunAlone({"backtest", file, "--methods", "max24,last", "--hold", "1,6"}), 0) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("Open loop, a cap holds 1 step, 1 trace\n"),
                          HasSubstr("a cap holds 6 steps"), HasSubstr("max24"), HasSubstr("last")));
  EXPECT_THAT(out_, Not(HasSubstr("max6")));
  EXPECT_THAT(err_, IsEmpty());  // progress is for terminals
  ASSERT_EQ(RunAlone({"backtest", file, "--methods", "max24", "--closed-loop", "--json", "--jobs",
                      "3", "--knob", "1.5"}),
            0)
      << err_;
  EXPECT_EQ(Json()["runs"][0]["loop"], "closed");
  EXPECT_EQ(Json()["runs"][0]["sweep"][0]["knob"], 1.5);
  EXPECT_EQ(Json()["traces"][0]["name"], "web");
  // Lists do not swallow the files behind them; `--trace` may be given twice.
  const std::string other = dir.Write("db.csv", RecordedDemand());
  ASSERT_EQ(RunAlone({"backtest", "--trace", "web", "--trace", "db", "--methods", "last", file,
                      other, "--json"}),
            0)
      << err_;
  EXPECT_EQ(Json()["traces"].size(), 2U);
}

TEST_F(CliTest, BacktestDrawsPlots) {
  cloudscale::testing::TempDir dir;
  const std::string file = dir.Write("web.csv", RecordedDemand());
  ASSERT_EQ(RunAlone({"backtest", file, "-m", "max24", "--plot", dir.File("plots")}), 0) << err_;
  EXPECT_THAT(out_, AllOf(HasSubstr("plots/frontier-open-hold1.svg"),
                          HasSubstr("plots/trace-web-max24-open-hold1.svg")));
  EXPECT_TRUE(std::filesystem::exists(dir.File("plots/trace-web-max24-open-hold1.svg")));
}

TEST_F(CliTest, BacktestDrawsTracesOfTheSameOrAnOddNameIntoFilesOfTheirOwn) {
  cloudscale::testing::TempDir dir;
  std::string odd = "trace,t,value\n";
  for (int i = 0; i < 40; ++i) {
    absl::StrAppend(&odd, "web,", i, ",0.5\n../up,", i, ",0.5\n");
  }
  const std::string one = dir.Write("one.csv", odd);
  const std::string two = dir.Write("two.csv", odd);
  ASSERT_EQ(RunAlone({"backtest", one, two, "-m", "max24", "--plot", dir.File("plots")}), 0)
      << err_;
  for (const char* word : {"one-web", "two-web", "one-___up", "two-___up"}) {
    EXPECT_TRUE(std::filesystem::exists(
        dir.File(absl::StrCat("plots/trace-", word, "-max24-open-hold1.svg"))))
        << word;
  }
}

TEST_F(CliTest, BacktestRefusesMistakesWithExitCodeTwo) {
  cloudscale::testing::TempDir dir;
  const std::string file = dir.Write("web.csv", RecordedDemand());
  EXPECT_EQ(RunAlone({"backtest", file, "--methods", "oracle"}), 2);
  EXPECT_THAT(err_, AllOf(HasSubstr("no method 'oracle'; known: "), HasSubstr("max24")));
  EXPECT_EQ(RunAlone({"backtest", dir.Write("bad.csv", "t,value\n0,1\n60,x\n")}), 2);
  EXPECT_THAT(err_, HasSubstr("bad.csv:3: column 2 (value): found 'x', expected a number"));
  EXPECT_EQ(RunAlone({"backtest", dir.File("none.csv")}), 2);
  EXPECT_EQ(RunAlone({"backtest", file, "--trace", "db"}), 2);
  EXPECT_THAT(err_, HasSubstr("no trace 'db'"));
  EXPECT_EQ(RunAlone({"backtest", file, "--targets", "2"}), 2);
  EXPECT_EQ(RunAlone({"backtest", file, "--hold", "0"}), 2);
  EXPECT_EQ(RunAlone({"backtest", file, "--capacity", "0"}), 2);
  EXPECT_EQ(RunAlone({"backtest"}), 2);
}

}  // namespace
}  // namespace cloudscale::cli
