#include "cli/render/table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/check/check.h"

namespace cloudscale::cli {
namespace {

constexpr int kGap = 2;

int TotalWidth(const std::vector<int>& widths) {
  int total = widths.empty() ? 0 : -kGap;
  for (const int width : widths) {
    total += width + kGap;
  }
  return total;
}

}  // namespace

void Table::AddRow(std::vector<Cell> row) {
  CS_CHECK(row.size() <= columns_.size());
  row.resize(columns_.size());
  for (Cell& cell : row) {
    cell.text = Printable(cell.text);
  }
  rows_.push_back(std::move(row));
}

int Table::NaturalWidth(size_t column) const {
  int width = DisplayWidth(columns_[column].title);
  for (const auto& row : rows_) {
    width = std::max(width, DisplayWidth(row[column].text));
  }
  return width;
}

std::vector<int> Table::CutWidths(const std::vector<size_t>& shown, int width) const {
  std::vector<int> widths;
  for (const size_t i : shown) {
    widths.push_back(NaturalWidth(i));
  }
  int excess = width > 0 ? TotalWidth(widths) - width : 0;
  for (size_t k = shown.size(); k-- > 0 && excess > 0;) {
    const int least = columns_[shown[k]].min_width;
    if (least > 0 && widths[k] > least) {
      const int cut = std::min(excess, widths[k] - least);
      widths[k] -= cut;
      excess -= cut;
    }
  }
  return widths;
}

Table::Layout Table::Fit(int width) const {
  Layout layout;
  for (size_t i = 0; i < columns_.size(); ++i) {
    layout.columns.push_back(i);
  }
  while (true) {
    layout.widths = CutWidths(layout.columns, width);
    if (width <= 0 || TotalWidth(layout.widths) <= width) {
      return layout;
    }
    const auto victim = std::max_element(
        layout.columns.begin(), layout.columns.end(),
        [&](size_t a, size_t b) { return columns_[a].drop_order < columns_[b].drop_order; });
    if (victim == layout.columns.end() || columns_[*victim].drop_order == 0) {
      return layout;  // nothing left to leave out: the terminal wraps
    }
    layout.columns.erase(victim);
  }
}

std::vector<std::string> Table::Lines(const Style& style, int width) const {
  const Layout layout = Fit(width);
  std::vector<std::string> lines;
  const auto add = [&](auto&& text_of, auto&& colour_of) {
    std::string line;
    for (size_t k = 0; k < layout.columns.size(); ++k) {
      const size_t i = layout.columns[k];
      const bool is_last = k + 1 == layout.columns.size();
      std::string text = cli::Fit(text_of(i), layout.widths[k], columns_[i].align);
      if (is_last) {
        text = std::string(absl::StripTrailingAsciiWhitespace(text));
      }
      absl::StrAppend(&line, style.Paint(colour_of(i), text), is_last ? "" : "  ");
    }
    lines.push_back(std::string(absl::StripTrailingAsciiWhitespace(line)));
  };
  add([&](size_t i) -> const std::string& { return columns_[i].title; },
      [](size_t) { return Colour::kBold; });
  for (const auto& row : rows_) {
    add([&](size_t i) -> const std::string& { return row[i].text; },
        [&](size_t i) { return row[i].colour; });
  }
  return lines;
}

std::string Table::Render(const Style& style, int width) const {
  std::string text;
  for (const std::string& line : Lines(style, width)) {
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace cloudscale::cli
