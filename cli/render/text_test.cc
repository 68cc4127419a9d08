#include "cli/render/text.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

TEST(PrintableTest, KeepsTextAndReplacesWhatDrivesATerminal) {
  EXPECT_EQ(Printable("web-1 ü …"), "web-1 ü …");
  EXPECT_EQ(Printable("a\x1b[2Jb\nc\x7f"), "a?[2Jb?c?");
  EXPECT_EQ(Printable("a\xc2\x9b"
                      "2Jb"),
            "a?2Jb")
      << "C1 control sequence introducer";
  EXPECT_EQ(Printable("a\xff\xc3"), "a??") << "broken UTF-8";
}

TEST(DisplayWidthTest, CountsCodePointsAndSkipsColours) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("▁▂▃"), 3);
  EXPECT_EQ(DisplayWidth("\x1b[31mred\x1b[0m"), 3);
  EXPECT_EQ(DisplayWidth(""), 0);
}

TEST(TruncateTest, EndsWithAnEllipsisOnlyWhenCut) {
  EXPECT_EQ(Truncate("abcdef", 6), "abcdef");
  EXPECT_EQ(Truncate("abcdef", 4), "abc…");
  EXPECT_EQ(Truncate("äöüß", 3), "äö…");
  EXPECT_EQ(Truncate("abc", 0), "");
}

TEST(FitTest, GivesExactlyTheWidth) {
  EXPECT_EQ(Fit("ab", 4), "ab  ");
  EXPECT_EQ(Fit("ab", 4, Align::kRight), "  ab");
  EXPECT_EQ(Fit("abcdef", 4, Align::kRight), "abc…");
}

TEST(WrapTest, BreaksBetweenWordsOnly) {
  EXPECT_EQ(Wrap("one two three", 7, "  "), "  one two\n  three\n");
  EXPECT_EQ(Wrap("incomprehensible", 4, ""), "incomprehensible\n");
  EXPECT_EQ(Wrap("", 4, ""), "");
}

TEST(StyleTest, PaintsOnlyWhenColoured) {
  EXPECT_EQ(Style{.is_coloured = false}.Paint(Colour::kRed, "x"), "x");
  EXPECT_EQ(Style{.is_coloured = true}.Paint(Colour::kRed, "x"), "\x1b[31mx\x1b[0m");
  EXPECT_EQ(Style{.is_coloured = true}.Paint(Colour::kNone, "x"), "x");
}

TEST(EditDistanceTest, CountsSingleEdits) {
  EXPECT_EQ(EditDistance("status", "status"), 0);
  EXPECT_EQ(EditDistance("statis", "status"), 1);
  EXPECT_EQ(EditDistance("", "top"), 3);
  EXPECT_EQ(EditDistance("polcy", "policy"), 1);
}

}  // namespace
}  // namespace cloudscale::cli
