#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cloudscale::cli {

// Which unit a value has.
enum class Unit { kCores, kBytes };

// Numbers for people. Absent and not finite values are `-`.
[[nodiscard]] std::string FormatCores(std::optional<double> cores);  // 1.25
[[nodiscard]] std::string FormatBytes(std::optional<double> bytes);  // 1.5 GiB
[[nodiscard]] std::string FormatValue(Unit unit, std::optional<double> value);
// With the unit in words: `1.25 cores`, `1.5 GiB`.
[[nodiscard]] std::string FormatQuantity(Unit unit, std::optional<double> value);
// Cores over time: core-seconds below one core-hour, core-hours from there.
[[nodiscard]] std::string FormatCoreTime(double core_seconds);
[[nodiscard]] std::string FormatPercent(std::optional<double> ratio);  // 38.2 %
[[nodiscard]] std::string FormatCount(int64_t count, absl::string_view singular,
                                      absl::string_view plural);
// 850ms, 12s, 3m20s, 2h05m, 4d03h.
[[nodiscard]] std::string DurationText(absl::Duration duration);
// 2026-03-01 12:31:05 UTC.
[[nodiscard]] std::string TimeText(absl::Time time);
[[nodiscard]] std::string ClockText(absl::Time time);  // 12:31:05

// Share of `part` in `part + rest`; nullopt when the whole is not above zero.
[[nodiscard]] std::optional<double> RatioOf(double part, double rest);

// `MODE_AUTO` without the prefix `MODE_`, in the case in which it is written; unchanged without it.
[[nodiscard]] std::string ShortEnum(absl::string_view name, absl::string_view prefix);

}  // namespace cloudscale::cli
