#include "agents/guest/proc_parse.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

// More than any machine has; keeps arithmetic far from overflow.
constexpr int64_t kMaxCount = int64_t{1} << 53;

absl::Status Malformed(absl::string_view expected, absl::string_view text) {
  constexpr size_t kMaxQuoted = 64;
  return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(text.substr(0, kMaxQuoted)),
                                                 text.size() > kMaxQuoted ? "…" : "", "\" is not ",
                                                 expected));
}

bool ParseNumber(absl::string_view text, int64_t* value) {
  return !text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text.front())) &&
         absl::SimpleAtoi(text, value) && *value <= kMaxCount;
}

// Decimal digits with at most one point, as the kernel writes them; no "nan", "inf", "1e3".
bool ParseDecimal(absl::string_view text, double* value) {
  const bool is_plain = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '.';
  });
  return is_plain && absl::SimpleAtod(text, value) && *value <= static_cast<double>(kMaxCount);
}

// "key value" lines whose key is wanted.
absl::Status FindCounts(absl::string_view text,
                        const std::map<absl::string_view, std::optional<int64_t>*>& wanted) {
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const auto it = wanted.find(parts.first);
    if (it == wanted.end()) {
      continue;
    }
    int64_t value = 0;
    if (!ParseNumber(parts.second, &value) || it->second->has_value()) {
      return Malformed("a line \"key count\" that occurs once", line);
    }
    *it->second = value;
  }
  return absl::OkStatus();
}

absl::Status CheckAtMost(absl::string_view part, std::optional<int64_t> value,
                         absl::string_view whole, int64_t bound) {
  if (value.has_value() && *value > bound) {
    return absl::InvalidArgumentError(
        absl::StrCat(part, " of ", *value, " bytes above ", whole, " of ", bound));
  }
  return absl::OkStatus();
}

struct PressureLine {
  double ratio = 0;
  absl::Duration total;
};

// "avg10=1.03 avg60=0.90 avg300=0.95 total=10315949"
absl::StatusOr<PressureLine> ParsePressureLine(absl::string_view line) {
  std::optional<double> percent;
  std::optional<int64_t> total;
  for (absl::string_view field : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
    double average = 0;
    int64_t microseconds = 0;
    if (absl::ConsumePrefix(&field, "avg10=")) {
      // The kernel's average may overshoot by rounding.
      if (!ParseDecimal(field, &average) || average > 101) {
        return Malformed("a percentage", field);
      }
      percent = std::min(average, 100.0);
    } else if (absl::ConsumePrefix(&field, "total=")) {
      if (!ParseNumber(field, &microseconds)) {
        return Malformed("a count of microseconds", field);
      }
      total = microseconds;
    }
  }
  if (!percent.has_value() || !total.has_value()) {
    return Malformed("a pressure line with avg10 and total", line);
  }
  return PressureLine{*percent / 100.0, absl::Microseconds(*total)};
}

}  // namespace

absl::StatusOr<MemoryInfo> ParseMeminfo(absl::string_view text) {
  MemoryInfo result;
  std::optional<int64_t> total;
  const std::map<absl::string_view, std::optional<int64_t>*> wanted = {
      {"MemTotal", &total},
      {"MemAvailable", &result.available_bytes},
      {"MemFree", &result.free_bytes},
      {"Cached", &result.cached_bytes},
      {"SwapTotal", &result.swap_total_bytes},
      {"SwapFree", &result.swap_free_bytes},
  };
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const size_t colon = line.find(':');
    const auto it = wanted.find(line.substr(0, colon));
    if (colon == absl::string_view::npos || it == wanted.end()) {
      continue;
    }
    absl::string_view value = absl::StripAsciiWhitespace(line.substr(colon + 1));
    int64_t kib = 0;
    if (!absl::ConsumeSuffix(&value, " kB") || !ParseNumber(value, &kib) ||
        kib > kMaxCount / 1024 || it->second->has_value()) {
      return Malformed("a line \"key: count kB\" that occurs once", line);
    }
    *it->second = kib * 1024;
  }
  if (!total.has_value() || *total == 0) {
    return absl::InvalidArgumentError("no MemTotal above 0");
  }
  result.total_bytes = *total;
  CS_RETURN_IF_ERROR(CheckAtMost("MemAvailable", result.available_bytes, "MemTotal", *total));
  CS_RETURN_IF_ERROR(CheckAtMost("MemFree", result.free_bytes, "MemTotal", *total));
  if (result.swap_total_bytes.has_value()) {
    CS_RETURN_IF_ERROR(
        CheckAtMost("SwapFree", result.swap_free_bytes, "SwapTotal", *result.swap_total_bytes));
  }
  return result;
}

absl::StatusOr<PagingCounters> ParseVmstat(absl::string_view text, int64_t page_bytes) {
  PagingCounters result;
  CS_RETURN_IF_ERROR(FindCounts(text, {{"pswpin", &result.swap_in_bytes},
                                       {"pswpout", &result.swap_out_bytes},
                                       {"pgmajfault", &result.major_fault_count},
                                       {"oom_kill", &result.oom_kill_count}}));
  for (std::optional<int64_t>* pages : {&result.swap_in_bytes, &result.swap_out_bytes}) {
    if (pages->has_value()) {
      if (**pages > std::numeric_limits<int64_t>::max() / page_bytes) {
        return Malformed("a count of pages", absl::StrCat(**pages));
      }
      **pages *= page_bytes;
    }
  }
  return result;
}

absl::StatusOr<Pressure> ParsePressure(absl::string_view text) {
  Pressure result;
  bool has_some = false;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (absl::ConsumePrefix(&line, "some ")) {
      CS_ASSIGN_OR_RETURN(const PressureLine some, ParsePressureLine(line));
      result.some_ratio = some.ratio;
      result.some_total = some.total;
      has_some = true;
    } else if (absl::ConsumePrefix(&line, "full ")) {
      CS_ASSIGN_OR_RETURN(const PressureLine full, ParsePressureLine(line));
      result.full_ratio = full.ratio;
      result.full_total = full.total;
    }
  }
  if (!has_some) {
    return Malformed("pressure information with a \"some\" line", text);
  }
  return result;
}

absl::StatusOr<LoadInfo> ParseLoadavg(absl::string_view text) {
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::StripAsciiWhitespace(text), ' ');
  LoadInfo result;
  if (fields.size() != 5) {
    return Malformed("five fields", text);
  }
  const std::pair<absl::string_view, absl::string_view> threads =
      absl::StrSplit(fields[3], absl::MaxSplits('/', 1));
  if (!ParseDecimal(fields[0], &result.load_average) ||
      !ParseNumber(threads.first, &result.run_queue_length)) {
    return Malformed("load averages and \"runnable/all\" threads", text);
  }
  return result;
}

absl::StatusOr<CpuTicks> ParseStat(absl::string_view text) {
  CpuTicks result;
  bool has_sum = false;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (!absl::StartsWith(line, "cpu")) {
      continue;
    }
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (fields[0] != "cpu") {
      ++result.cpu_count;
      continue;
    }
    // user nice system idle iowait irq softirq steal; the guest fields behind are part of user.
    if (fields.size() < 9) {
      return Malformed("a cpu line with eight counts", line);
    }
    for (size_t i = 1; i <= 8; ++i) {
      int64_t ticks = 0;
      if (!ParseNumber(fields[i], &ticks)) {
        return Malformed("a cpu line with eight counts", line);
      }
      result.total += ticks;
      result.steal = ticks;  // the eighth
    }
    has_sum = true;
  }
  if (!has_sum || result.cpu_count == 0) {
    return absl::InvalidArgumentError("no cpu lines");
  }
  return result;
}

absl::StatusOr<absl::Duration> ParseUptime(absl::string_view text) {
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::StripAsciiWhitespace(text), ' ');
  double seconds = 0;
  if (fields.size() != 2 || fields[0].empty() || !ParseDecimal(fields[0], &seconds)) {
    return Malformed("\"uptime idle\" in seconds", text);
  }
  return absl::Seconds(seconds);
}

absl::StatusOr<std::string> ParseUuid(absl::string_view text) {
  std::string result = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  bool is_uuid = result.size() == 36;
  for (size_t i = 0; is_uuid && i < result.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    is_uuid =
        is_dash ? result[i] == '-' : absl::ascii_isxdigit(static_cast<unsigned char>(result[i]));
  }
  if (!is_uuid) {
    return Malformed("a UUID", text);
  }
  return result;
}

}  // namespace cloudscale::guest
