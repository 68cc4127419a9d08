#pragma once

#include <span>
#include <string>

namespace cloudscale::cli {

// The last `width` values as one cell each, from `▁` (0) to `█` (`top` and above); not finite ones
// are blank. Left-padded with blanks. Empty for `width` of 0 and below.
[[nodiscard]] std::string Sparkline(std::span<const double> values, double top, int width);

// A bar of `width` cells: `█` up to `used`, `░` up to `granted`, `·` up to `top`. Use above the
// grant is shown as `▓`. Values beyond `top` fill the bar.
[[nodiscard]] std::string LoadBar(double used, double granted, double top, int width);

}  // namespace cloudscale::cli
