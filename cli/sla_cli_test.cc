// `cloudscalectl sla`.
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "cli/testing/cli_fixture.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"

namespace cloudscale::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

TEST_F(CliTest, SlaReportShowsEachObjectiveOverTime) {
  EXPECT_EQ(Run({"sla", "report"}), 0) << err_;
  ASSERT_THAT(Lines(), SizeIs(3));
  EXPECT_THAT(Lines()[0], AllOf(HasSubstr("PROMISED"), HasSubstr("BUDGET LEFT")));
  EXPECT_THAT(Lines()[2], AllOf(StartsWith("shop-p95"), HasSubstr("97.9 %"), HasSubstr("-108.0 %"),
                                HasSubstr("180ms"), HasSubstr("30m00s")));
  EXPECT_THAT(Lines()[2], HasSubstr("████████████▅███████████")) << "a bad hour at noon";
}

TEST_F(CliTest, SlaReportAsJsonAndCsv) {
  EXPECT_EQ(Run({"sla", "report", "--objective", "shop-p95", "--json"}), 0) << err_;
  EXPECT_EQ(Json()["compliances"][0]["objective_id"], "shop-p95");
  EXPECT_EQ(Json()["series"][0]["buckets"].size(), 24u);
  EXPECT_EQ(Json()["series"][0]["bucket_duration"], "3600s");
  EXPECT_EQ(Run({"sla", "report", "--csv"}), 0) << err_;
  ASSERT_THAT(Lines(), SizeIs(1 + 2 * 24));
  EXPECT_EQ(Lines()[1], "shop-errors,shop,2026-01-01T00:00:00Z,3600,10,10,1000,0,,0.1,,");
  EXPECT_EQ(Lines()[24 + 13], "shop-p95,shop,2026-01-01T12:00:00Z,3600,10,5,1000,0,,0.4,,0.4");
}

TEST_F(CliTest, SlaReportCountsBackFromTheServersTime) {
  EXPECT_EQ(Run({"sla", "report", "--since", "6h", "--until", "1h", "--buckets", "12"}), 0) << err_;
  const int64_t now = testing::kSlaStart + int64_t{24} * 3600;
  EXPECT_EQ(sla_.last_compliance.start_time().seconds(), now - 6 * 3600);
  EXPECT_EQ(sla_.last_compliance.end_time().seconds(), now - 3600);
  EXPECT_EQ(sla_.last_series.max_buckets(), 12);
}

TEST_F(CliTest, SlaReportDrawsAPlotForEachObjective) {
  const cloudscale::testing::TempDir dir;
  EXPECT_EQ(Run({"sla", "report", "--objective", "shop-p95", "--plot", dir.File("one.svg")}), 0)
      << err_;
  EXPECT_THAT(out_, HasSubstr("plot: "));
  EXPECT_THAT(ReadFile(dir.File("one.svg")),
              AllOf(HasSubstr("95.0 % of requests within 200ms"), HasSubstr("response time, p95"),
                    HasSubstr("good windows"), HasSubstr("</svg>")));
  EXPECT_EQ(Run({"sla", "report", "--plot", dir.File("all.svg"), "--json"}), 0) << err_;
  EXPECT_FALSE(Json().is_discarded()) << "nothing but JSON";
  EXPECT_THAT(ReadFile(dir.File("all-shop-errors.svg")), HasSubstr("at most 1.0 % errors"));
  EXPECT_THAT(ReadFile(dir.File("all-shop-p95.svg")), HasSubstr("</svg>"));
  EXPECT_EQ(Run({"sla", "report", "--plot", dir.File("none/x.svg")}), 2);
  EXPECT_THAT(err_, HasSubstr("cannot write"));
}

TEST_F(CliTest, SlaReportRefusesWhatContradicts) {
  EXPECT_EQ(Run({"sla", "report", "--csv", "--json"}), 2);
  EXPECT_EQ(Run({"sla", "report", "--since", "1h", "--until", "2h"}), 2);
  EXPECT_THAT(err_, HasSubstr("--until"));
  EXPECT_EQ(Run({"sla", "report", "--buckets", "0"}), 2);
  EXPECT_EQ(Run({"sla"}), 2);
}

TEST_F(CliTest, SlaReportLatenciesSendsWhatItReads) {
  EXPECT_EQ(Run({"sla", "report-latencies", "--app", "shop", "--unit", "ms", "--source", "test",
                 "--vm-uuid", testing::kWebUuid},
                "120\n 80.5 \n\nerror\n0\n"),
            0)
      << err_;
  EXPECT_THAT(out_, HasSubstr("3 response times and 1 failed request in 1 report"));
  ASSERT_THAT(sla_.reports, SizeIs(1));
  const sla::v1::LatencyReport& report = sla_.reports[0];
  EXPECT_THAT(report.values().latency_seconds(), ElementsAre(0.12, 0.0805, 0.0));
  EXPECT_EQ(report.error_count(), 1);
  EXPECT_EQ(report.source_id(), "test");
  EXPECT_EQ(report.vm_uuid(), testing::kWebUuid);
  EXPECT_GT(report.sequence(), 0);
}

TEST_F(CliTest, SlaReportLatenciesSplitsWhatIsTooMuchForAReport) {
  std::string input;
  for (int i = 0; i < 25000; ++i) {
    input += "0.1\n";
  }
  EXPECT_EQ(Run({"sla", "report-latencies", "--app", "shop", "--json"}, input), 0) << err_;
  EXPECT_EQ(Json()["accepted_count"], std::to_string(sla_.reports.size()));
  ASSERT_GE(sla_.reports.size(), 3u);
  int values = 0;
  for (size_t i = 0; i < sla_.reports.size(); ++i) {
    values += sla_.reports[i].values().latency_seconds_size();
    EXPECT_EQ(sla_.reports[i].sequence(), sla_.reports[0].sequence() + static_cast<int64_t>(i));
  }
  EXPECT_EQ(values, 25000);
}

TEST_F(CliTest, SlaReportLatenciesNamesTheLineThatIsWrong) {
  for (const char* wrong : {"fast", "-1", "3601", "nan", "1e999"}) {
    EXPECT_EQ(Run({"sla", "report-latencies", "--app", "shop"}, absl::StrCat("0.1\n", wrong, "\n")),
              2)
        << wrong;
    EXPECT_THAT(err_, AllOf(HasSubstr("line 2"), HasSubstr(wrong), HasSubstr("0 to 3600")));
  }
  EXPECT_EQ(Run({"sla", "report-latencies"}, "0.1\n"), 2) << "no application";
  EXPECT_EQ(Run({"sla", "report-latencies", "--app", "shop", "--period", "6m"}, "0.1\n"), 2);
  EXPECT_EQ(Run({"sla", "report-latencies", "--app", "shop"}, ""), 0) << "nothing to report";
  EXPECT_THAT(sla_.reports, SizeIs(0));
}

TEST_F(CliTest, SlaReportLatenciesThatAreRefusedHaveExitCodeOne) {
  EXPECT_EQ(Run({"sla", "report-latencies", "--app", "nobody"}, "0.1\n"), 1);
  EXPECT_THAT(err_, AllOf(HasSubstr("an application that an objective names"),
                          Not(HasSubstr("nothing was changed"))));
  EXPECT_EQ(RunAlone({"--address", "127.0.0.1:1", "--timeout", "200ms", "sla", "report-latencies",
                      "--app", "shop"},
                     "0.1\n"),
            3);
}

}  // namespace
}  // namespace cloudscale::cli
