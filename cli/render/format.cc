#include "cli/render/format.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace cloudscale::cli {
namespace {

constexpr absl::string_view kAbsent = "-";

bool IsKnown(const std::optional<double>& value) {
  return value.has_value() && std::isfinite(*value);
}

}  // namespace

std::string FormatCores(std::optional<double> cores) {
  if (!IsKnown(cores)) {
    return std::string(kAbsent);
  }
  const double rounded = std::round(*cores * 100.0) / 100.0;
  return absl::StrFormat("%.2f", rounded == 0.0 ? 0.0 : rounded);
}

std::string FormatBytes(std::optional<double> bytes) {
  if (!IsKnown(bytes)) {
    return std::string(kAbsent);
  }
  constexpr std::array<absl::string_view, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = *bytes;
  size_t unit = 0;
  while (std::abs(value) >= 1024.0 && unit + 1 < kUnits.size()) {
    value /= 1024.0;
    ++unit;
  }
  if (unit == 0) {
    return absl::StrFormat("%.0f %s", value, kUnits[unit]);
  }
  return absl::StrFormat("%.*f %s", std::abs(value) < 100.0 ? 1 : 0, value, kUnits[unit]);
}

std::string FormatValue(Unit unit, std::optional<double> value) {
  return unit == Unit::kCores ? FormatCores(value) : FormatBytes(value);
}

std::string FormatQuantity(Unit unit, std::optional<double> value) {
  if (!IsKnown(value)) {
    return std::string(kAbsent);
  }
  return unit == Unit::kCores ? absl::StrCat(FormatCores(value), " cores") : FormatBytes(value);
}

std::string FormatCoreTime(double core_seconds) {
  constexpr double kHour = 3600.0;
  return std::abs(core_seconds) < kHour ? absl::StrFormat("%.0f core-seconds", core_seconds)
                                        : absl::StrFormat("%.2f core-hours", core_seconds / kHour);
}

std::string FormatPercent(std::optional<double> ratio) {
  if (!IsKnown(ratio)) {
    return std::string(kAbsent);
  }
  const double percent = *ratio * 100.0;
  return absl::StrFormat("%.*f %%", std::abs(percent) < 1.0 && percent != 0.0 ? 2 : 1, percent);
}

std::string FormatCount(int64_t count, absl::string_view singular, absl::string_view plural) {
  return absl::StrCat(count, " ", count == 1 ? singular : plural);
}

std::string DurationText(absl::Duration duration) {
  if (duration < absl::ZeroDuration()) {
    return absl::StrCat("-", DurationText(-duration));
  }
  if (duration == absl::InfiniteDuration()) {
    return "forever";
  }
  if (duration < absl::Seconds(1)) {
    return absl::StrFormat("%dms", absl::ToInt64Milliseconds(duration));
  }
  if (duration < absl::Seconds(10) && duration % absl::Seconds(1) != absl::ZeroDuration()) {
    return absl::StrFormat("%.1fs", absl::ToDoubleSeconds(duration));
  }
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < 60) {
    return absl::StrFormat("%ds", seconds);
  }
  if (seconds < 3600) {
    return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  }
  if (seconds < 86'400) {
    return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
  }
  return absl::StrFormat("%dd%02dh", seconds / 86'400, seconds / 3600 % 24);
}

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

std::string ClockText(absl::Time time) {
  return absl::FormatTime("%H:%M:%S", time, absl::UTCTimeZone());
}

std::optional<double> RatioOf(double part, double rest) {
  const double whole = part + rest;
  if (!(whole > 0.0)) {
    return std::nullopt;
  }
  return part / whole;
}

std::string ShortEnum(absl::string_view name, absl::string_view prefix) {
  return std::string(absl::StripPrefix(name, prefix));
}

}  // namespace cloudscale::cli
