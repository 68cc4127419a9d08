#pragma once

#include <string>
#include <vector>

#include "cli/render/text.h"

namespace cloudscale::cli {

struct Column {
  std::string title;
  Align align = Align::kLeft;
  // Columns with the highest number are left out first when the terminal is too narrow; 0 stays.
  int drop_order = 0;
  // May be cut down to this many cells before columns are left out; 0: never cut.
  int min_width = 0;
};

struct Cell {
  std::string text;  // may hold anything; shown through `Printable`
  Colour colour = Colour::kNone;
};

// A table of text that fits a terminal. Thread safety: thread-compatible.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells are empty; the row must not be longer than the columns.
  void AddRow(std::vector<Cell> row);
  [[nodiscard]] bool empty() const { return rows_.empty(); }

  // Title line and rows, without line ends and without trailing spaces. `width` in cells, 0 for
  // no limit.
  [[nodiscard]] std::vector<std::string> Lines(const Style& style, int width) const;
  [[nodiscard]] std::string Render(const Style& style, int width) const;

 private:
  struct Layout {
    std::vector<size_t> columns;
    std::vector<int> widths;
  };
  [[nodiscard]] Layout Fit(int width) const;
  [[nodiscard]] int NaturalWidth(size_t column) const;
  // Widths of the columns `shown`, cut towards their minimum as far as `width` demands.
  [[nodiscard]] std::vector<int> CutWidths(const std::vector<size_t>& shown, int width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

}  // namespace cloudscale::cli
