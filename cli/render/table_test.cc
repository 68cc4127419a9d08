#include "cli/render/table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cloudscale::cli {
namespace {

Table Sample() {
  Table table({{.title = "VM", .min_width = 4},
               {.title = "CAP", .align = Align::kRight},
               {.title = "NOTE", .drop_order = 1},
               {.title = "REASON", .drop_order = 2, .min_width = 6}});
  table.AddRow({{"web-1"}, {"1.50"}, {"a"}, {"follows the forecast"}});
  table.AddRow({{"database"}, {"12.00"}});
  return table;
}

TEST(TableTest, AlignsColumnsWithoutTrailingSpaces) {
  EXPECT_EQ(Sample().Render(Style(), 0),
            "VM          CAP  NOTE  REASON\n"
            "web-1      1.50  a     follows the forecast\n"
            "database  12.00\n");
}

TEST(TableTest, CutsFlexibleColumnsBeforeItLeavesAnyOut) {
  EXPECT_EQ(Sample().Render(Style(), 34),
            "VM          CAP  NOTE  REASON\n"
            "web-1      1.50  a     follows th…\n"
            "database  12.00\n");
}

TEST(TableTest, LeavesOutTheHighestDropOrderFirstAndNeverOrderZero) {
  EXPECT_EQ(Sample().Render(Style(), 20),
            "VM         CAP  NOTE\n"
            "web-1     1.50  a\n"
            "databa…  12.00\n");
  EXPECT_EQ(Sample().Render(Style(), 5),
            "VM      CAP\n"
            "web…   1.50\n"
            "dat…  12.00\n");
}

TEST(TableTest, PaintsCellsButMeasuresWithoutColours) {
  Table table({{.title = "A"}, {.title = "B"}});
  table.AddRow({{"x", Colour::kRed}, {"y"}});
  EXPECT_EQ(table.Render(Style{.is_coloured = true}, 0),
            "\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m\n\x1b[31mx\x1b[0m  y\n");
}

TEST(TableTest, NamesCannotDriveTheTerminal) {
  Table table({{.title = "A"}});
  table.AddRow({{"\x1b[2J"}});
  EXPECT_EQ(table.Render(Style(), 0), "A\n?[2J\n");
}

}  // namespace
}  // namespace cloudscale::cli
