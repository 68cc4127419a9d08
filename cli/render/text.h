#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace cloudscale::cli {

// Text as a terminal shows it: UTF-8 code points are one cell wide (the tool prints no wider ones
// itself), escape sequences of `Style` take no room. All functions are pure and thread-safe.

enum class Colour { kNone, kBold, kDim, kRed, kGreen, kYellow, kBlue, kMagenta, kCyan };

// Whether colours are used at all; decided once from the terminal, `--no-color` and NO_COLOR.
struct Style {
  bool is_coloured = false;
  [[nodiscard]] std::string Paint(Colour colour, absl::string_view text) const;
};

// `text` without control characters: names come from guests and must not drive the terminal.
// Each control character becomes a `?`; broken UTF-8 as well.
[[nodiscard]] std::string Printable(absl::string_view text);

// Cells that `text` takes.
[[nodiscard]] int DisplayWidth(absl::string_view text);

// Cut to `width` cells with `…` as the last one when it does not fit. Not for painted text.
[[nodiscard]] std::string Truncate(absl::string_view text, int width);

enum class Align { kLeft, kRight };

// Truncated or padded to exactly `width` cells. Not for painted text.
[[nodiscard]] std::string Fit(absl::string_view text, int width, Align align = Align::kLeft);

// `count` times `unit`; empty for 0 and below.
[[nodiscard]] std::string Repeat(absl::string_view unit, int count);

// Words of `text` in lines of at most `width` cells; a longer word stands alone.
[[nodiscard]] std::string Wrap(absl::string_view text, int width, absl::string_view indent);

// How alike two words are: the number of single-character edits (Levenshtein).
[[nodiscard]] int EditDistance(absl::string_view a, absl::string_view b);

}  // namespace cloudscale::cli
