#include "common/trace/csv.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::trace {
namespace {

using ::cloudscale::testing::IsOkAndHolds;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::StrEq;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<std::string> Fields(absl::string_view line) {
  CsvReader reader("x.csv");
  const auto taken = reader.TakeLine(line);
  CS_EXPECT_OK(taken);
  return {reader.fields().begin(), reader.fields().end()};
}

TEST(CsvReaderTest, SplitsAtCommasAndTrimsWhatIsNotQuoted) {
  EXPECT_THAT(Fields("a,b"), ElementsAre("a", "b"));
  EXPECT_THAT(Fields(" a b ,\t,c\r"), ElementsAre("a b", "", "c"));
  EXPECT_THAT(Fields(","), ElementsAre("", ""));
  EXPECT_THAT(Fields("\xEF\xBB\xBFt,v"), ElementsAre("t", "v"));
}

TEST(CsvReaderTest, QuotedFieldsMayHoldCommasQuotesAndOuterSpace) {
  EXPECT_THAT(Fields(R"("a,b",c)"), ElementsAre("a,b", "c"));
  EXPECT_THAT(Fields(R"("say ""x""" , """" ,"")"), ElementsAre("say \"x\"", "\"", ""));
  EXPECT_THAT(Fields(R"( " a ",",",""",""")"), ElementsAre(" a ", ",", "\",\""));
  EXPECT_THAT(Fields(R"("",)"), ElementsAre("", ""));
}

TEST(CsvReaderTest, AQuoteWithinAnUnquotedFieldIsAnyCharacter) {
  EXPECT_THAT(Fields(R"(5",a"b"c)"), ElementsAre("5\"", "a\"b\"c"));
}

TEST(CsvReaderTest, AQuotedFieldMayNotSpanLines) {
  CsvReader reader("x.csv");
  CS_EXPECT_OK(reader.TakeLine("name,value"));
  reader.NameColumns({"name", "value"});
  EXPECT_THAT(reader.TakeLine("1,\"two\"\"\x1b"),
              StatusIs(kInvalid, StrEq("x.csv:2: column 2 (value): found '\"two\"\"?', expected a "
                                       "closing quote on the same line")));
}

TEST(CsvReaderTest, NothingFollowsAClosingQuoteButAComma) {
  EXPECT_THAT(CsvReader("x.csv").TakeLine("a, \"b\" c,d"),
              StatusIs(kInvalid, StrEq("x.csv:1: column 2: found 'c,d' after the closing quote, "
                                       "expected a comma")));
}

TEST(CsvReaderTest, BlankLinesStandAtTheEndOnly) {
  CsvReader reader("x.csv");
  EXPECT_THAT(reader.TakeLine("1"), IsOkAndHolds(true));
  EXPECT_THAT(reader.TakeLine(" \r"), IsOkAndHolds(false));
  EXPECT_THAT(reader.TakeLine(""), IsOkAndHolds(false));
  EXPECT_THAT(reader.TakeLine("2"), StatusIs(kInvalid, HasSubstr("x.csv:2: found a blank line")));
}

TEST(CsvReaderTest, LinesAreBounded) {
  CsvReader reader("x.csv");
  CS_EXPECT_OK(reader.TakeLine(std::string(CsvReader::kMaxLineBytes, 'a')));
  EXPECT_THAT(reader.TakeLine(std::string(CsvReader::kMaxLineBytes + 1, 'a')),
              StatusIs(kInvalid, HasSubstr("x.csv:2: line longer than 65536 bytes")));
}

TEST(CsvReaderTest, NumbersAreFromZeroToTheirMaximum) {
  CsvReader reader("x.csv");
  CS_EXPECT_OK(reader.TakeLine("0.5,-0,1e18,2e18,-1,nan,inf,,x,1e999"));
  EXPECT_THAT(reader.Number(0, 1), IsOkAndHolds(0.5));
  const auto zero = reader.Number(1, 1);
  CS_ASSERT_OK(zero);
  EXPECT_FALSE(std::signbit(*zero));
  EXPECT_THAT(reader.Number(2, 1e18), IsOkAndHolds(1e18));
  EXPECT_THAT(reader.Number(3, kInfinity), IsOkAndHolds(2e18));
  EXPECT_THAT(reader.Number(3, 1e18),
              StatusIs(kInvalid, HasSubstr("found '2e18', expected a number from 0 to 1e18")));
  for (size_t column = 4; column < 10; ++column) {
    EXPECT_THAT(reader.Number(column, kInfinity),
                StatusIs(kInvalid, HasSubstr("expected a finite number, 0 or more")))
        << column;
  }
}

TEST(CsvReaderTest, TimesAreSecondsOrDates) {
  CsvReader reader("x.csv");
  CS_EXPECT_OK(
      reader.TakeLine("-5,2014-02-14 14:30:00.5,2014-02-14T15:30:00+01:00,noon,"
                      "infinite-future"));
  EXPECT_THAT(reader.Time(0, -10, 10), IsOkAndHolds(-5));
  EXPECT_THAT(reader.Time(1, 0, 1e10), IsOkAndHolds(1392388200.5));
  EXPECT_THAT(reader.Time(2, 0, 1e10), IsOkAndHolds(1392388200));
  EXPECT_THAT(reader.Time(0, 0, 1e10),
              StatusIs(kInvalid, StrEq("x.csv:1: column 1: found '-5', expected a time: seconds "
                                       "from 0 to 1e10, or 2026-03-01 12:31:05")));
  EXPECT_THAT(reader.Time(3, 0, 1e10), StatusIs(kInvalid, HasSubstr("found 'noon'")));
  EXPECT_THAT(reader.Time(4, 0, 1e10), StatusIs(kInvalid, HasSubstr("infinite-future")));
}

TEST(CsvReaderTest, RowsHaveAsManyFieldsAsThereAreNames) {
  CsvReader reader("x.csv");
  reader.NameColumns({"t", "value"});
  CS_EXPECT_OK(reader.TakeLine("1,2"));
  CS_EXPECT_OK(reader.CheckColumns());
  CS_EXPECT_OK(reader.TakeLine("1,2,3"));
  EXPECT_THAT(reader.CheckColumns(),
              StatusIs(kInvalid, StrEq("x.csv:2: found 3 columns, expected 2 (t,value)")));
}

TEST(TraceNameOfTest, IsTheFileWithoutDirectoryAndEndings) {
  EXPECT_THAT(TraceNameOf("dir/web.csv.gz"), Eq("web"));
  EXPECT_THAT(TraceNameOf("web.v2.csv"), Eq("web.v2"));
  EXPECT_THAT(TraceNameOf(".csv"), Eq("trace"));
}

}  // namespace
}  // namespace cloudscale::trace
