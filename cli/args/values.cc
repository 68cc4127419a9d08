#include "cli/args/values.h"

#include <array>
#include <cmath>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::cli {
namespace {

struct Suffix {
  absl::string_view text;
  double factor;
};

constexpr double kKibi = 1024.0;
// Longer ones first, so that `GiB` is not read as `B`.
constexpr std::array<Suffix, 14> kSuffixes = {{{"kib", kKibi},
                                               {"mib", kKibi* kKibi},
                                               {"gib", kKibi* kKibi* kKibi},
                                               {"tib", kKibi* kKibi* kKibi* kKibi},
                                               {"ki", kKibi},
                                               {"mi", kKibi* kKibi},
                                               {"gi", kKibi* kKibi* kKibi},
                                               {"ti", kKibi* kKibi* kKibi* kKibi},
                                               {"kb", 1e3},
                                               {"mb", 1e6},
                                               {"gb", 1e9},
                                               {"k", 1e3},
                                               {"m", 1e6},
                                               {"g", 1e9}}};

}  // namespace

absl::StatusOr<absl::Duration> ParseDurationOrZero(absl::string_view text) {
  absl::Duration duration;
  double seconds = 0.0;
  if (absl::SimpleAtod(text, &seconds) && std::isfinite(seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration) || duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not a duration; allowed: 90s, 1m30s, 500ms or seconds"));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is below zero"));
  }
  return duration;
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::StatusOr<absl::Duration> duration = ParseDurationOrZero(text);
  if (duration.ok() && *duration == absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' must be above zero"));
  }
  return duration;
}

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  std::string lower = absl::AsciiStrToLower(text);
  absl::string_view number = lower;
  double factor = 1.0;
  for (const Suffix& suffix : kSuffixes) {
    if (absl::EndsWith(number, suffix.text)) {
      number.remove_suffix(suffix.text.size());
      factor = suffix.factor;
      break;
    }
  }
  if (factor == 1.0 && absl::EndsWith(number, "b")) {
    number.remove_suffix(1);
  }
  double value = 0.0;
  number = absl::StripAsciiWhitespace(number);
  if (!absl::SimpleAtod(number, &value) || !std::isfinite(value) || value < 0.0 ||
      value * factor > 9e18) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' is not a size; allowed: bytes or a number with Ki, Mi, Gi, Ti, k, M, G"));
  }
  return static_cast<int64_t>(std::llround(value * factor));
}

absl::StatusOr<double> ParseNumber(absl::string_view text) {
  double value = 0.0;
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a number"));
  }
  return value;
}

absl::StatusOr<bool> ParseBool(absl::string_view text) {
  const std::string lower = absl::AsciiStrToLower(text);
  if (lower == "true" || lower == "yes" || lower == "on" || lower == "1") {
    return true;
  }
  if (lower == "false" || lower == "no" || lower == "off" || lower == "0") {
    return false;
  }
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is neither true nor false"));
}

bool IsUuid(absl::string_view text) {
  constexpr size_t kLength = 36;
  if (text.size() != kLength) {
    return false;
  }
  for (size_t i = 0; i < kLength; ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash ? text[i] != '-' : !absl::ascii_isxdigit(static_cast<unsigned char>(text[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace cloudscale::cli
