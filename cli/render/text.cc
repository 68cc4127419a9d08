#include "cli/render/text.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cloudscale::cli {
namespace {

constexpr absl::string_view kEllipsis = "…";

uint8_t ByteAt(absl::string_view text, size_t i) { return static_cast<uint8_t>(text[i]); }

// Length of the code point at `i`, 1 to 4; 0 when the bytes there are not UTF-8.
size_t CodePointLength(absl::string_view text, size_t i) {
  const uint8_t first = ByteAt(text, i);
  size_t length = 0;
  if (first < 0x80) {
    length = 1;
  } else if (first >= 0xC2 && first < 0xE0) {
    length = 2;
  } else if (first >= 0xE0 && first < 0xF0) {
    length = 3;
  } else if (first >= 0xF0 && first < 0xF5) {
    length = 4;
  }
  if (length == 0 || i + length > text.size()) {
    return 0;
  }
  for (size_t k = 1; k < length; ++k) {
    if ((ByteAt(text, i + k) & 0xC0) != 0x80) {
      return 0;
    }
  }
  return length;
}

absl::string_view ColourCode(Colour colour) {
  switch (colour) {
    case Colour::kNone:
      return "";
    case Colour::kBold:
      return "1";
    case Colour::kDim:
      return "2";
    case Colour::kRed:
      return "31";
    case Colour::kGreen:
      return "32";
    case Colour::kYellow:
      return "33";
    case Colour::kBlue:
      return "34";
    case Colour::kMagenta:
      return "35";
    case Colour::kCyan:
      return "36";
  }
  return "";
}

// Skips an escape sequence (`ESC [ … letter`) at `i`; returns `i` when there is none.
size_t SkipEscape(absl::string_view text, size_t i) {
  if (text[i] != '\x1b' || i + 1 >= text.size() || text[i + 1] != '[') {
    return i;
  }
  size_t end = i + 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) {
    ++end;
  }
  return std::min(end + 1, text.size());
}

}  // namespace

std::string Style::Paint(Colour colour, absl::string_view text) const {
  if (!is_coloured || colour == Colour::kNone || text.empty()) {
    return std::string(text);
  }
  return absl::StrCat("\x1b[", ColourCode(colour), "m", text, "\x1b[0m");
}

std::string Printable(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = CodePointLength(text, i);
    const uint8_t first = ByteAt(text, i);
    const bool is_c1 = length == 2 && first == 0xC2 && ByteAt(text, i + 1) < 0xA0;
    if (length == 0 || first < 0x20 || first == 0x7F || is_c1) {
      result.push_back('?');
      i += std::max<size_t>(length, 1);
      continue;
    }
    absl::StrAppend(&result, text.substr(i, length));
    i += length;
  }
  return result;
}

int DisplayWidth(absl::string_view text) {
  int width = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t after = SkipEscape(text, i);
    if (after > i) {
      i = after;
      continue;
    }
    ++width;
    i += std::max<size_t>(CodePointLength(text, i), 1);
  }
  return width;
}

std::string Truncate(absl::string_view text, int width) {
  if (width <= 0) {
    return "";
  }
  if (DisplayWidth(text) <= width) {
    return std::string(text);
  }
  size_t i = 0;
  for (int cells = 0; cells < width - 1 && i < text.size(); ++cells) {
    i += std::max<size_t>(CodePointLength(text, i), 1);
  }
  return absl::StrCat(text.substr(0, i), kEllipsis);
}

std::string Fit(absl::string_view text, int width, Align align) {
  std::string cut = Truncate(text, width);
  const std::string space(static_cast<size_t>(std::max(0, width - DisplayWidth(cut))), ' ');
  return align == Align::kLeft ? absl::StrCat(cut, space) : absl::StrCat(space, cut);
}

std::string Repeat(absl::string_view unit, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&result, unit);
  }
  return result;
}

std::string Wrap(absl::string_view text, int width, absl::string_view indent) {
  std::string result;
  std::string line;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!line.empty() && DisplayWidth(line) + 1 + DisplayWidth(word) > width) {
      absl::StrAppend(&result, indent, line, "\n");
      line.clear();
    }
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  if (!line.empty()) {
    absl::StrAppend(&result, indent, line, "\n");
  }
  return result;
}

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int substitution = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
    }
  }
  return row[b.size()];
}

}  // namespace cloudscale::cli
