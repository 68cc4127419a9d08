#include "sim/backtest/trace_csv.h"

#include <zlib.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::backtest {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsNan;
using ::testing::SizeIs;

TEST(TraceCsvTest, ReadsLongFormWithInterleavedTraces) {
  const auto traces =
      ParseTraceCsv("trace,t,value\nb,0,0.1\na,0,0.2\nb,60,0.3\na,300,0.4\nb,120,0.5\n", "x.csv");
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(2));
  EXPECT_EQ((*traces)[0].name, "b");
  EXPECT_EQ((*traces)[0].step_seconds, 60);
  EXPECT_THAT((*traces)[0].demand, ElementsAre(0.1, 0.3, 0.5));
  EXPECT_EQ((*traces)[1].step_seconds, 300);
  EXPECT_EQ((*traces)[1].capacity, 1);
}

TEST(TraceCsvTest, ReadsTwoColumnsWithAndWithoutHeading) {
  for (const char* text : {"t_seconds,cpu\n10,0.5\n20,0.25\n", "10,0.5\n20,0.25",
                           "\xEF\xBB\xBFtime,load\r\n10,0.5\r\n20,0.25\r\n\r\n",
                           "when,t,value\nx,10,0.5\nx,20,0.25\n"}) {
    const auto traces = ParseTraceCsv(text, "dir/web.csv.gz");
    CS_ASSERT_OK(traces);
    EXPECT_EQ(traces->front().name, "web");
    EXPECT_EQ(traces->front().start_seconds, 10);
    EXPECT_EQ(traces->front().step_seconds, 10);
    EXPECT_THAT(traces->front().demand, ElementsAre(0.5, 0.25));
    EXPECT_EQ(traces->front().resource, predictor::Resource::kCpu);
  }
}

TEST(TraceCsvTest, ReadsOneColumnWithAGivenStepOnly) {
  const auto traces = ParseTraceCsv("mem\n0.5\n0.25\n", "x.csv", {.step_seconds = 30});
  CS_ASSERT_OK(traces);
  EXPECT_EQ(traces->front().step_seconds, 30);
  EXPECT_THAT(traces->front().demand, ElementsAre(0.5, 0.25));
  EXPECT_EQ(traces->front().resource, predictor::Resource::kMemory);
  EXPECT_THAT(ParseTraceCsv("value\n0.5\n0.25\n", "x.csv"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--step")));
}

TEST(TraceCsvTest, ReadsDatesAndAChosenColumn) {
  const std::string text =
      "timestamp,host,cpu,disk\n2014-02-14 14:30:00,h,0.5,7\n2014-02-14T14:35:00Z,h,0.25,8\n";
  const auto traces = ParseTraceCsv(text, "x.csv", {.value_column = "disk"});
  CS_ASSERT_OK(traces);
  EXPECT_EQ(traces->front().step_seconds, 300);
  EXPECT_THAT(traces->front().demand, ElementsAre(7, 8));
  EXPECT_EQ(traces->front().capacity, 8);  // no fractions: the trace's own maximum
  EXPECT_THAT(ParseTraceCsv(text, "x.csv"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 columns that may be")));
  EXPECT_THAT(ParseTraceCsv(text, "x.csv", {.value_column = "net"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected one named 'net'")));
}

TEST(TraceCsvTest, QuotedFieldsMayHoldCommasAndQuotes) {
  const auto traces = ParseTraceCsv(
      "\"host, room\",vm,t,value\n\"h\"\"1\"\", a\",\"v, \"\"1\"\"\",0,\"1\"\nh2,\"v, "
      "\"\"1\"\"\",\"60\",2\n",
      "x.csv");
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(1));
  EXPECT_EQ(traces->front().name, "v, \"1\"");
  EXPECT_EQ(traces->front().step_seconds, 60);
  EXPECT_THAT(traces->front().demand, ElementsAre(1, 2));
}

TEST(TraceCsvTest, MissingRowsAreUnknownStepsAndJitterIsNot) {
  const auto traces = ParseTraceCsv("t,value\n0,1\n10.5,1\n20,1\n29.5,1\n60,1\n70,1\n", "x.csv");
  CS_ASSERT_OK(traces);
  EXPECT_EQ(traces->front().step_seconds, 10);
  EXPECT_THAT(traces->front().demand, ElementsAre(1, 1, 1, 1, IsNan(), IsNan(), 1, 1));
}

TEST(TraceCsvTest, AGapAmongTheFirstRowsDoesNotStretchTheStep) {
  const auto traces = ParseTraceCsv("t,value\n0,1\n60,1\n70,1\n80,1\n90,1\n", "x.csv");
  CS_ASSERT_OK(traces);
  EXPECT_EQ(traces->front().step_seconds, 10);
  EXPECT_THAT(traces->front().demand, SizeIs(10));
}

TEST(TraceCsvTest, SelectsNamesInTheOrderAsked) {
  const std::string text = "trace,t,value\na,0,0\na,1,0\nb,0,0\nb,1,0\nc,0,0\nc,1,0\n";
  const auto traces = ParseTraceCsv(text, "x.csv", {.names = {"c", "a", "c"}});
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(2));
  EXPECT_EQ((*traces)[0].name, "c");
  EXPECT_THAT(ParseTraceCsv(text, "x.csv", {.names = {"a", "d"}}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no trace named 'd'")));
}

TEST(TraceCsvTest, BoundsHoldAlsoForGaps) {
  TraceCsvOptions options;
  options.max_points = 100;
  EXPECT_THAT(ParseTraceCsv("t,value\n0,1\n1,1\n2,1\n1000000,1\n", "x.csv", options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("x.csv:5: with the gap")));
  options.max_points = 2;
  EXPECT_THAT(ParseTraceCsv("t,value\n0,1\n1,1\n2,1\n", "x.csv", options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("x.csv:4")));
  options = {};
  options.max_traces = 1;
  EXPECT_THAT(ParseTraceCsv("trace,t,value\na,0,1\nb,0,1\n", "x.csv", options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("x.csv:3")));
}

TEST(TraceCsvTest, ReadsGzipFilesAndReportsDamage) {
  testing::TempDir dir;
  std::string text = "t,value\n";
  for (int i = 0; i < 20000; ++i) {
    absl::StrAppend(&text, i, ",0.", (i * 7919) % 10007, "\n");
  }
  const std::string path = dir.File("web.csv.gz");
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_GT(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), 0);
  ASSERT_EQ(gzclose(file), Z_OK);
  const auto traces = ReadTraceCsv(path);
  CS_ASSERT_OK(traces);
  EXPECT_EQ(traces->front().name, "web");
  EXPECT_THAT(traces->front().demand, SizeIs(20000));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THAT(ReadTraceCsv(path), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("web.csv.gz")));
  EXPECT_THAT(ReadTraceCsv(dir.File("none.csv")), StatusIs(absl::StatusCode::kNotFound));
}

struct Broken {
  const char* what;
  const char* text;
  const char* message;
};

class BrokenTraceCsvTest : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenTraceCsvTest, IsRefusedWithLineColumnFoundAndExpected) {
  EXPECT_THAT(ParseTraceCsv(GetParam().text, "x.csv"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenTraceCsvTest,
    ::testing::Values(
        Broken{"Empty", "", "x.csv:1: the file is empty, expected a heading"},
        Broken{"Blank", "\n\n", "x.csv:1: the file is empty"},
        Broken{"OnlyHeading", "t,value\n", "x.csv:1: found no data after the heading"},
        Broken{"OnePoint", "t,value\n0,1\n", "x.csv:2: trace 'x' has one row"},
        Broken{"NotANumber", "t,value\n0,1\n1,abc\n",
               "x.csv:3: column 2 (value): found 'abc', expected a number from 0 to 1e18"},
        Broken{"NaN", "trace,t,value\na,0,nan\n", "x.csv:2: column 3 (value): found 'nan'"},
        Broken{"Infinite", "t,value\n0,inf\n", "x.csv:2: column 2 (value): found 'inf'"},
        Broken{"Negative", "t,value\n0,1\n1,-0.1\n", "x.csv:3: column 2 (value): found '-0.1'"},
        Broken{"Absurd", "t,value\n0,1.1e18\n", "found '1.1e18', expected a number from 0 to"},
        Broken{"NoValue", "t,value\n0,1\n1,\n", "x.csv:3: column 2 (value): found ''"},
        Broken{"ControlCharacters", "t,value\n0,\x1b[2J\n", "found '?[2J'"},
        Broken{"NotATime", "t,value\nzero,1\n", "x.csv:2: column 1 (t): found 'zero', expected a"},
        Broken{"HugeTime", "t,value\n1e300,1\n", "x.csv:2: column 1 (t): found '1e300'"},
        Broken{"SameTime", "t,value\n0,1\n0,1\n",
               "x.csv:3: column 1 (t): found '0', expected a la"},
        Broken{
            "TimeBack", "t,value\n0,1\n5,1\n4,1\n",
            "x.csv:4: column 1 (t): found '4', expected a time after that of the row before (5)"},
        Broken{"OffTheGrid", "t,value\n0,1\n10,1\n20,1\n35,1\n",
               "x.csv:5: column 1 (t): found 35, 1.5 steps after the row before"},
        Broken{"TooManyColumns", "t,value\n0,1,2\n", "x.csv:2: found 3 columns, expected 2"},
        Broken{"MissingColumn", "trace,t,value\na,1\n", "x.csv:2: found 2 columns, expected 3"},
        Broken{"NoDemandColumn", "trace,t\na,b\n",
               "x.csv:1: found the columns 'trace,t', expected"},
        Broken{"NoTimeColumn", "trace,value\na,1\n", "expected a column with the time"},
        Broken{"NoTraceName", "trace,t,value\n,1,1\n", "x.csv:2: column 1 (trace): found ''"},
        Broken{"OpenQuote", "trace,t,value\n\"a,1,1\nb\",2,1\n",
               "x.csv:2: column 1 (trace): found '\"a,1,1', expected a closing quote"},
        Broken{"TextAfterQuote", "trace,t,value\n\"a\"b,1,1\n",
               "x.csv:2: column 1 (trace): found 'b,1,1' after the closing quote"},
        Broken{"BlankLine", "t,value\n0,1\n\n1,1\n", "x.csv:3: found a blank line"},
        Broken{"NoHeadingManyColumns", "1,2,3,4\n", "x.csv:1: found 4 columns and no heading"}),
    [](const auto& param) { return param.param.what; });

// Damaged input must end in an error or in valid traces, never in anything else.
TEST(TraceCsvTest, RandomlyDamagedTextGivesErrorsOrValidTraces) {
  const std::string good[] = {"t,value\n0,0.5\n300,1\n600,0\n900,0.25\n",
                              "trace,t,value\na,0,0.1\nb,0,0.2\na,60,0.3\nb,300,0.4\n"};
  constexpr char kAlphabet[] = "0123456789.,-+eEnaif\n\r\0 \"";
  Rng rng(1);
  int read = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = good[round % 2];
    const int64_t damages = 1 + rng.UniformInt(3);
    for (int64_t i = 0; i < damages; ++i) {
      const auto at = static_cast<size_t>(rng.UniformInt(static_cast<int64_t>(text.size())));
      text[at] = kAlphabet[rng.UniformInt(sizeof(kAlphabet) - 1)];
    }
    TraceCsvOptions options;
    options.max_points = 100'000;
    const auto traces = ParseTraceCsv(text, "x.csv", options);
    if (!traces.ok()) {
      EXPECT_THAT(std::string(traces.status().message()), HasSubstr("x.csv:")) << text;
      continue;
    }
    ++read;
    for (const DemandTrace& trace : *traces) {
      EXPECT_GT(trace.step_seconds, 0) << text;
      for (const double d : trace.demand) {
        EXPECT_TRUE(std::isnan(d) || (d >= 0 && d <= TraceCsvParser::kMaxDemand)) << text;
      }
    }
  }
  EXPECT_GT(read, 20);
}

}  // namespace
}  // namespace cloudscale::backtest
