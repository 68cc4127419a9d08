#include "common/trace/trace_reader.h"

#include <zlib.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/random/rng.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::trace {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;

class TraceReaderTest : public ::testing::Test {
 protected:
  std::string Plain(absl::string_view text) { return dir_.Write("x.csv", text); }
  std::string Gzip(absl::string_view text) {
    const std::string path = dir_.File("x.csv.gz");
    gzFile file = gzopen(path.c_str(), "wb");
    EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())),
              static_cast<int>(text.size()));
    EXPECT_EQ(gzclose(file), Z_OK);
    return path;
  }
  testing::TempDir dir_;
};

TEST_F(TraceReaderTest, ReadsPlainFractions) {
  const auto traces = ReadTraces(Plain("t_seconds,cpu\n0,0.5\n300,1\n600,0\n"));
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(1));
  const Trace& trace = traces->front();
  EXPECT_EQ(trace.name, "x");
  EXPECT_EQ(trace.resource, "cpu");
  EXPECT_EQ(trace.period, absl::Minutes(5));
  EXPECT_EQ(trace.length(), absl::Minutes(15));
  EXPECT_THAT(trace.values, ElementsAre(0.5, 1, 0));
  EXPECT_THAT(trace.note, IsEmpty());
}

TEST_F(TraceReaderTest, ReadsWindowsLineEndsByteOrderMarkAndNoFinalNewline) {
  const auto traces =
      ReadTraces(Plain("\xEF\xBB\xBFt_seconds,mem\r\n10,0.5\r\n11,0.25\r\n12,0.125"));
  CS_ASSERT_OK(traces);
  EXPECT_THAT(traces->front().values, ElementsAre(0.5, 0.25, 0.125));
  EXPECT_EQ(traces->front().period, absl::Seconds(1));
}

TEST_F(TraceReaderTest, ReadsInterleavedSeriesOfGzipLongForm) {
  const auto traces =
      ReadTraces(Gzip("trace,t,value\nb,0,0.1\na,0,0.2\nb,60,0.3\na,300,0.4\nb,120,0.5\n"));
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(2));
  EXPECT_EQ((*traces)[0].name, "b");
  EXPECT_EQ((*traces)[0].period, absl::Minutes(1));
  EXPECT_THAT((*traces)[0].values, ElementsAre(0.1, 0.3, 0.5));
  EXPECT_EQ((*traces)[1].name, "a");
  EXPECT_EQ((*traces)[1].period, absl::Minutes(5));
}

TEST_F(TraceReaderTest, ReadsQuotedNamesAndDates) {
  const auto traces = ReadTraces(
      Plain("trace,t,value\n\"a,\"\"b\"\"\",2014-02-14 14:30:00,0.1\n\"a,\"\"b\"\"\",2014-02-14 "
            "14:35:00,\"0.2\"\n"));
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(1));
  EXPECT_EQ(traces->front().name, "a,\"b\"");
  EXPECT_EQ(traces->front().period, absl::Minutes(5));
  EXPECT_THAT(traces->front().values, ElementsAre(0.1, 0.2));
}

TEST_F(TraceReaderTest, TextInMemoryIsReadAsAFileIs) {
  const auto traces = ParseTraces("t,cpu\n0,0.5\n10,1", "dir/web.csv");
  CS_ASSERT_OK(traces);
  EXPECT_EQ(traces->front().name, "web");
  EXPECT_THAT(traces->front().values, ElementsAre(0.5, 1));
  EXPECT_THAT(ParseTraces("t,cpu\n0,x\n", "dir/web.csv"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("web.csv:2: column 2")));
}

TEST_F(TraceReaderTest, ReadsFilesLargerThanOneChunk) {
  std::string text = "t_seconds,cpu\n";
  constexpr int kRows = 50000;
  for (int i = 0; i < kRows; ++i) {
    absl::StrAppend(&text, i, ",0.", 1000 + i % 1000, "\n");
  }
  for (const std::string& path : {Plain(text), Gzip(text)}) {
    const auto traces = ReadTraces(path);
    CS_ASSERT_OK(traces);
    ASSERT_THAT(traces->front().values, SizeIs(kRows));
    EXPECT_DOUBLE_EQ(traces->front().values[12345], 0.1345);
  }
}

TEST_F(TraceReaderTest, SelectsNamesInTheOrderAsked) {
  const std::string path = Plain("trace,t,value\na,0,0\na,1,0\nb,0,0\nb,1,0\nc,0,0\nc,1,0\n");
  const auto traces = ReadTraces(path, {.names = {"c", "a"}});
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(2));
  EXPECT_EQ((*traces)[0].name, "c");
  EXPECT_EQ((*traces)[1].name, "a");
  EXPECT_THAT(ReadTraces(path, {.names = {"a", "d", "e"}}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("'d', 'e'")));
}

TEST_F(TraceReaderTest, TakesOnlyTheFirstSeriesUpToTheMaximum) {
  ReadOptions options;
  options.max_traces = 2;
  const auto traces =
      ReadTraces(Plain("trace,t,value\na,0,0\na,1,0\nb,0,0\nc,0,0\nb,1,0\nc,1,0\n"), options);
  CS_ASSERT_OK(traces);
  ASSERT_THAT(*traces, SizeIs(2));
  EXPECT_EQ((*traces)[1].name, "b");
}

TEST_F(TraceReaderTest, ScalesPlainFileWithValuesAboveOneAndSaysSo) {
  const auto traces = ReadTraces(Plain("t_seconds,requests\n0,10\n60,40\n120,0\n"));
  CS_ASSERT_OK(traces);
  EXPECT_THAT(traces->front().values,
              ElementsAre(DoubleNear(0.2, 1e-12), DoubleNear(0.8, 1e-12), 0));
  EXPECT_THAT(traces->front().note, HasSubstr("50"));
}

TEST_F(TraceReaderTest, ValuesAboveOneNeedScalingOutsidePlainAutomatic) {
  ReadOptions options;
  options.scale = ValueScale::kFraction;
  EXPECT_THAT(ReadTraces(Plain("t_seconds,cpu\n0,0.5\n60,1.5\n"), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x.csv:3: value above 1")));
  const std::string path = Plain("trace,t,value\na,0,2\na,60,4\n");
  EXPECT_THAT(ReadTraces(path),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x.csv:2: value above 1")));
  options.scale = ValueScale::kByMaximum;
  const auto scaled = ReadTraces(path, options);
  CS_ASSERT_OK(scaled);
  EXPECT_THAT(scaled->front().values, ElementsAre(0.4, 0.8));
  options.scale = ValueScale::kRaw;
  const auto raw = ReadTraces(path, options);
  CS_ASSERT_OK(raw);
  EXPECT_THAT(raw->front().values, ElementsAre(2, 4));
}

TEST_F(TraceReaderTest, AllZeroSeriesSurvivesScaling) {
  const auto traces =
      ReadTraces(Plain("t_seconds,cpu\n0,0\n60,0\n"), {.scale = ValueScale::kByMaximum});
  CS_ASSERT_OK(traces);
  EXPECT_THAT(traces->front().values, ElementsAre(0, 0));
}

struct Broken {
  const char* what;
  const char* text;
  const char* message;
};

class BrokenTraceTest : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenTraceTest, IsRefusedNamingFileAndLine) {
  testing::TempDir dir;
  EXPECT_THAT(ReadTraces(dir.Write("x.csv", GetParam().text)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    All, BrokenTraceTest,
    ::testing::Values(
        Broken{"Empty", "", "x.csv:1: the file is empty"},
        Broken{"NoHeading", "0,0.5\n1,0.5\n", "x.csv:1: heading '0,0.5'"},
        Broken{"NoHeadingValue", "t,0.5\n1,0.5\n", "x.csv:1: heading"},
        Broken{"OnlyHeading", "t_seconds,cpu\n", "x.csv:1: no data"},
        Broken{"OnePoint", "t_seconds,cpu\n0,1\n", "x.csv:2: series 'x' has one point"},
        Broken{"NotNumber", "t_seconds,cpu\n0,1\n1,abc\n",
               "x.csv:3: column 2 (cpu): found 'abc', expected a finite number, 0 or more"},
        Broken{"NoValue", "t_seconds,cpu\n0,1\n1,\n",
               "x.csv:3: column 2 (cpu): found '', expected a finite number, 0 or more"},
        Broken{"NotTime", "t_seconds,cpu\nzero,1\n",
               "x.csv:2: column 1 (t_seconds): found 'zero', expected a time: seconds from 0 to "
               "1e10, or 2026-03-01 12:31:05"},
        Broken{"NaN", "t_seconds,cpu\n0,1\n1,nan\n",
               "x.csv:3: column 2 (cpu): found 'nan', expected a finite number, 0 or more"},
        Broken{"Infinite", "t_seconds,cpu\n0,inf\n1,1\n",
               "x.csv:2: column 2 (cpu): found 'inf', expected a finite number, 0 or more"},
        Broken{"Overflow", "t_seconds,cpu\n0,1e999\n1,1\n",
               "x.csv:2: column 2 (cpu): found '1e999', expected a finite number, 0 or more"},
        Broken{"Negative", "t_seconds,cpu\n0,1\n1,-0.1\n",
               "x.csv:3: column 2 (cpu): found '-0.1', expected a finite number, 0 or more"},
        Broken{"NegativeTime", "t_seconds,cpu\n-1,1\n",
               "x.csv:2: column 1 (t_seconds): found '-1', expected a time: seconds from 0 to "
               "1e10, or 2026-03-01 12:31:05"},
        Broken{"SameTime", "t_seconds,cpu\n0,1\n0,1\n",
               "x.csv:3: column 1 (t_seconds): found '0', expected a time after that of the row "
               "before (0)"},
        Broken{"TimeBack", "t_seconds,cpu\n0,1\n5,1\n4,1\n",
               "x.csv:4: column 1 (t_seconds): found '4', expected a time after that of the row "
               "before (5)"},
        Broken{"Gap", "t_seconds,cpu\n0,1\n5,1\n15,1\n",
               "x.csv:4: column 1 (t_seconds): found '15', expected a time 5 s after that of the "
               "row before, not 10 s"},
        Broken{"TooManyColumns", "t_seconds,cpu\n0,1,2\n",
               "x.csv:2: found 3 columns, expected 2 (t_seconds,cpu)"},
        Broken{"TooFewColumns", "trace,t,value\na,1\n",
               "x.csv:2: found 2 columns, expected 3 (trace,t,value)"},
        Broken{"NoName", "trace,t,value\n,1,1\n",
               "x.csv:2: column 1 (trace): found '', expected the name of a series"},
        Broken{"OpenQuote", "trace,t,value\n\"a,1,1\nb\",2,1\n",
               "x.csv:2: column 1 (trace): found '\"a,1,1', expected a closing quote"},
        Broken{"TooShortPeriod", "t_seconds,cpu\n0,1\n0.0001,1\n",
               "x.csv:3: column 1 (t_seconds): found '0.0001', expected one at least 0.001 s"},
        Broken{"BlankLine", "t_seconds,cpu\n0,1\n\n1,1\n", "x.csv:3: found a blank line"},
        Broken{"HugeTime", "t_seconds,cpu\n0,1\n1e300,1\n",
               "x.csv:3: column 1 (t_seconds): found '1e300', expected a time: seconds from 0 to "
               "1e10, or 2026-03-01 12:31:05"}),
    [](const auto& param) { return param.param.what; });

TEST_F(TraceReaderTest, MissingFileIsNotFound) {
  EXPECT_THAT(ReadTraces(dir_.File("none.csv")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.csv")));
  EXPECT_THAT(ReadTraces(dir_.path().string()), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(TraceReaderTest, CutGzipIsDataLoss) {
  std::string text = "t_seconds,cpu\n";
  for (int i = 0; i < 20000; ++i) {
    absl::StrAppend(&text, i, ",0.", (i * 7919) % 10007, "\n");
  }
  const std::string path = Gzip(text);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THAT(ReadTraces(path), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("x.csv.gz")));
}

TEST_F(TraceReaderTest, BoundsHold) {
  const std::string path = Plain("t_seconds,cpu\n0,1\n1,1\n2,1\n");
  ReadOptions options;
  options.max_points = 2;
  EXPECT_THAT(ReadTraces(path, options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("x.csv:4")));
  options = {};
  options.max_bytes = 10;
  EXPECT_THAT(ReadTraces(path, options), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(ReadTraces(Plain("t_seconds,cpu\n0," + std::string(200000, '1') + "\n")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x.csv:2: line longer")));
  options = {};
  options.max_traces = 0;
  options.max_points = 0;
  EXPECT_THAT(ReadTraces(path, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("max_traces"), HasSubstr("max_points"))));
}

// Damaged input must end in an error or in a valid trace, never in anything else.
TEST_F(TraceReaderTest, RandomlyDamagedFilesGiveErrorsOrValidTraces) {
  const std::string good[] = {"t_seconds,cpu\n0,0.5\n300,1\n600,0\n900,0.25\n",
                              "trace,t,value\na,0,0.1\nb,0,0.2\na,60,0.3\nb,300,0.4\n"};
  constexpr char kAlphabet[] = "0123456789.,-+eEnaif\n\r\0 ";
  Rng rng(1);
  int read = 0;
  for (int round = 0; round < 300; ++round) {
    std::string text = good[round % 2];
    const int64_t damages = 1 + rng.UniformInt(3);
    for (int64_t i = 0; i < damages; ++i) {
      const auto at = static_cast<size_t>(rng.UniformInt(static_cast<int64_t>(text.size())));
      text[at] = kAlphabet[rng.UniformInt(sizeof(kAlphabet) - 1)];
      if (rng.Chance(0.2)) {
        text.resize(1 + at);
      }
    }
    const auto traces = ReadTraces(Plain(text));
    if (!traces.ok()) {
      EXPECT_THAT(traces, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x.csv:")))
          << text;
      continue;
    }
    ++read;
    for (const Trace& trace : *traces) {
      EXPECT_GE(trace.values.size(), 2U) << text;
      EXPECT_GT(trace.period, absl::ZeroDuration()) << text;
      EXPECT_THAT(trace.values, Each(AllOf(Ge(0.0), Le(1.0)))) << text;
    }
  }
  EXPECT_GT(read, 10);
}

}  // namespace
}  // namespace cloudscale::trace
