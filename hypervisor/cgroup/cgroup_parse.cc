#include "hypervisor/cgroup/cgroup_parse.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/check/check.h"
#include "common/status/macros.h"

namespace cloudscale::hypervisor::cgroup {
namespace {

constexpr int64_t kMinQuotaUs = 1000;
constexpr int64_t kNormalShares = 1024;
constexpr int64_t kNormalWeight = 100;
// Limits from here on mean "none" in v1: more memory than any machine has.
constexpr int64_t kUnlimitedBytes = int64_t{1} << 60;

absl::Status Malformed(absl::string_view expected, absl::string_view text) {
  constexpr size_t kMaxQuoted = 64;
  const bool is_long = text.size() > kMaxQuoted;
  return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(text.substr(0, kMaxQuoted)),
                                                 is_long ? "…" : "", "\" is not ", expected));
}

bool ParseNumber(absl::string_view text, int64_t* value) {
  return !text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text.front())) &&
         absl::SimpleAtoi(text, value);
}

}  // namespace

absl::StatusOr<int64_t> ParseCount(absl::string_view text) {
  int64_t value = 0;
  if (!ParseNumber(absl::StripAsciiWhitespace(text), &value)) {
    return Malformed("a count", text);
  }
  return value;
}

absl::StatusOr<std::optional<int64_t>> ParseLimit(absl::string_view text) {
  const absl::string_view stripped = absl::StripAsciiWhitespace(text);
  if (stripped == "max") {
    return std::nullopt;
  }
  int64_t value = 0;
  if (!ParseNumber(stripped, &value)) {
    return Malformed("a limit in bytes or \"max\"", text);
  }
  return value >= kUnlimitedBytes ? std::nullopt : std::optional<int64_t>(value);
}

absl::StatusOr<std::map<std::string, int64_t>> ParseFlatKeyed(absl::string_view text) {
  std::map<std::string, int64_t> result;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
    int64_t value = 0;
    if (parts.size() != 2 || parts[0].empty() || !ParseNumber(parts[1], &value)) {
      return Malformed("a line \"key count\"", line);
    }
    if (!result.emplace(parts[0], value).second) {
      return Malformed("a key that occurs once", line);
    }
  }
  return result;
}

std::optional<double> CpuQuota::cores() const {
  if (!quota_us.has_value()) {
    return std::nullopt;
  }
  return static_cast<double>(*quota_us) / static_cast<double>(period_us);
}

absl::StatusOr<CpuQuota> ParseCpuMax(absl::string_view text) {
  const std::vector<absl::string_view> parts =
      absl::StrSplit(absl::StripAsciiWhitespace(text), ' ');
  CpuQuota result;
  int64_t quota = 0;
  if (parts.size() != 2 || !ParseNumber(parts[1], &result.period_us) || result.period_us <= 0) {
    return Malformed("\"quota period\" in microseconds", text);
  }
  if (parts[0] == "max") {
    return result;
  }
  if (!ParseNumber(parts[0], &quota) || quota <= 0) {
    return Malformed("\"quota period\" in microseconds", text);
  }
  result.quota_us = quota;
  return result;
}

absl::StatusOr<CpuQuota> ParseCfsQuota(absl::string_view quota, absl::string_view period) {
  CpuQuota result;
  CS_ASSIGN_OR_RETURN(result.period_us, ParseCount(period));
  if (result.period_us == 0) {
    return Malformed("a period above 0", period);
  }
  if (absl::StripAsciiWhitespace(quota) == "-1") {
    return result;
  }
  CS_ASSIGN_OR_RETURN(const int64_t value, ParseCount(quota));
  if (value == 0) {
    return Malformed("a quota above 0 or -1", quota);
  }
  result.quota_us = value;
  return result;
}

absl::StatusOr<double> ParsePressureSome(absl::string_view text) {
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (!absl::ConsumePrefix(&line, "some ")) {
      continue;
    }
    for (absl::string_view field : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
      double percent = 0;
      if (absl::ConsumePrefix(&field, "avg10=")) {
        if (!absl::SimpleAtod(field, &percent) || !(percent >= 0 && percent <= 100.5)) {
          return Malformed("a percentage", field);
        }
        return std::min(percent / 100.0, 1.0);
      }
    }
  }
  return Malformed("pressure information (\"some avg10=…\")", text);
}

int64_t SharesFromWeight(int64_t weight) {
  return std::max<int64_t>(2, (weight * kNormalShares + kNormalWeight / 2) / kNormalWeight);
}

int64_t WeightFromShares(int64_t shares) {
  const int64_t bounded = std::clamp<int64_t>(shares, 2, 262144);
  return std::clamp<int64_t>((bounded * kNormalWeight + kNormalShares / 2) / kNormalShares, 1,
                             10000);
}

int64_t QuotaFromCores(double cores, int64_t period_us) {
  CS_CHECK(std::isfinite(cores) && cores > 0);
  // Half a nanosecond of slack: 0.3 × 100000 is a hair above 30000 and must not become 30001.
  const double quota = std::ceil(cores * static_cast<double>(period_us) - 5e-4);
  return std::max(kMinQuotaUs, static_cast<int64_t>(quota));
}

std::string UuidFromName(absl::string_view host_id, absl::string_view group_path) {
  // FNV-1a, 128 bits: offset basis and prime as published by its authors.
  using Wide = unsigned __int128;
  const Wide prime = (Wide{0x0000000001000000ULL} << 64) | 0x000000000000013BULL;
  Wide hash = (Wide{0x6C62272E07BB0142ULL} << 64) | 0x62B821756295C58DULL;
  const auto mix = [&](absl::string_view part) {
    for (const char c : part) {
      hash = (hash ^ static_cast<unsigned char>(c)) * prime;
    }
    hash = (hash ^ 0) * prime;  // separator: ("ab", "c") is not ("a", "bc")
  };
  mix("cloudscale cgroup");
  mix(host_id);
  mix(group_path);
  auto high = static_cast<uint64_t>(hash >> 64);
  auto low = static_cast<uint64_t>(hash);
  high = (high & ~uint64_t{0xF000}) | 0x8000;                    // version 8
  low = (low & ~(uint64_t{0xC} << 60)) | (uint64_t{0x8} << 60);  // variant
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFFF, low >> 48, low & 0xFFFFFFFFFFFFULL);
}

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash ? text[i] != '-' : !absl::ascii_isxdigit(static_cast<unsigned char>(text[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace cloudscale::hypervisor::cgroup
