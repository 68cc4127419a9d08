#include "common/trace/csv.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "common/status/macros.h"

namespace cloudscale::trace {
namespace {

// 1e18 rather than 1e+18.
std::string Short(double number) {
  return absl::StrReplaceAll(absl::StrCat(number), {{"e+", "e"}});
}

std::optional<double> SecondsOf(absl::string_view text) {
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    return seconds;
  }
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error) ||
      absl::ParseTime("%Y-%m-%d %H:%M:%E*S", text, &time, &error)) {
    return absl::ToDoubleSeconds(time - absl::UnixEpoch());
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<bool> CsvReader::TakeLine(absl::string_view line) {
  ++line_number_;
  if (line.size() > kMaxLineBytes) {
    return LineFault(line_number_, absl::StrCat("line longer than ", kMaxLineBytes, " bytes"));
  }
  if (line_number_ == 1) {
    line = absl::StripPrefix(line, "\xEF\xBB\xBF");
  }
  line = absl::StripSuffix(line, "\r");
  if (absl::StripAsciiWhitespace(line).empty()) {
    blank_line_ = blank_line_ == 0 ? line_number_ : blank_line_;
    return false;
  }
  if (blank_line_ != 0) {
    return LineFault(blank_line_,
                     "found a blank line, expected data (blank lines only at the end)");
  }
  CS_RETURN_IF_ERROR(Split(line));
  return true;
}

absl::Status CsvReader::Split(absl::string_view line) {
  fields_.clear();
  unquoted_.clear();
  unquoted_.reserve(line.size());  // so that fields within stay where they are
  while (true) {
    absl::string_view rest = absl::StripLeadingAsciiWhitespace(line);
    if (!rest.empty() && rest.front() == '"') {
      CS_RETURN_IF_ERROR(TakeQuoted(rest));
    } else {
      const size_t end = std::min(line.find(','), line.size());
      fields_.push_back(absl::StripAsciiWhitespace(line.substr(0, end)));
      rest = line.substr(end);
    }
    if (rest.empty()) {
      return absl::OkStatus();
    }
    line = rest.substr(1);  // after the comma
  }
}

// `rest` begins with a quote; afterwards it is empty or begins with a comma.
absl::Status CsvReader::TakeQuoted(absl::string_view& rest) {
  const size_t column = fields_.size();
  absl::string_view text = rest.substr(1);
  const size_t begin = unquoted_.size();
  bool is_copied = false;  // only once a doubled quote was met
  size_t at = 0;
  while (true) {
    const size_t quote = text.find('"', at);
    if (quote == absl::string_view::npos) {
      return LineFault(line_number_, absl::StrCat(ColumnText(column), ": found '", Excerpt(rest),
                                                  "', expected a closing quote on the same line"));
    }
    const bool is_doubled = quote + 1 < text.size() && text[quote + 1] == '"';
    if (is_doubled || is_copied) {
      absl::StrAppend(&unquoted_, text.substr(at, quote - at), is_doubled ? "\"" : "");
      is_copied = true;
    }
    if (!is_doubled) {
      fields_.push_back(is_copied ? absl::string_view(unquoted_).substr(begin)
                                  : text.substr(0, quote));
      text.remove_prefix(quote + 1);
      break;
    }
    at = quote + 2;
  }
  text = absl::StripLeadingAsciiWhitespace(text);
  if (!text.empty() && text.front() != ',') {
    return LineFault(line_number_, absl::StrCat(ColumnText(column), ": found '", Excerpt(text),
                                                "' after the closing quote, expected a comma"));
  }
  rest = text;
  return absl::OkStatus();
}

void CsvReader::NameColumns(const std::vector<std::string>& names) {
  names_.clear();
  for (const std::string& name : names) {
    names_.push_back(Excerpt(name));
  }
}

absl::Status CsvReader::CheckColumns() const {
  return fields_.size() == names_.size()
             ? absl::OkStatus()
             : LineFault(line_number_, absl::StrCat("found ", fields_.size(), " columns, expected ",
                                                    names_.size(), " (",
                                                    Excerpt(absl::StrJoin(names_, ",")), ")"));
}

absl::StatusOr<double> CsvReader::Number(size_t column, double max) const {
  double number = 0;
  if (!absl::SimpleAtod(fields_[column], &number) || !std::isfinite(number) ||
      !(number >= 0 && number <= max)) {
    return FieldFault(column, std::isinf(max) ? "a finite number, 0 or more"
                                              : absl::StrCat("a number from 0 to ", Short(max)));
  }
  return number == 0 ? 0 : number;
}

absl::StatusOr<double> CsvReader::Time(size_t column, double min, double max) const {
  const std::optional<double> time = SecondsOf(fields_[column]);
  if (!time.has_value() || !(*time >= min && *time <= max)) {
    return FieldFault(column, absl::StrCat("a time: seconds from ", Short(min), " to ", Short(max),
                                           ", or 2026-03-01 12:31:05"));
  }
  return *time;
}

absl::Status CsvReader::FieldFault(size_t column, absl::string_view expected) const {
  return LineFault(line_number_, absl::StrCat(ColumnText(column), ": found '",
                                              Excerpt(fields_[column]), "', expected ", expected));
}

absl::Status CsvReader::LineFault(int64_t line, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(file_, ":", line, ": ", what));
}

absl::Status CsvReader::TooMuch(int64_t line, absl::string_view what) const {
  return absl::ResourceExhaustedError(absl::StrCat(file_, ":", line, ": ", what));
}

std::string CsvReader::ColumnText(size_t column) const {
  return absl::StrCat("column ", column + 1,
                      column < names_.size() ? absl::StrCat(" (", names_[column], ")") : "");
}

std::string Excerpt(absl::string_view text) {
  constexpr size_t kMaxShown = 40;
  std::string shown(text.substr(0, kMaxShown));
  for (char& c : shown) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      c = '?';
    }
  }
  return text.size() <= kMaxShown ? shown : shown + "...";
}

std::string TraceNameOf(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  for (absl::string_view suffix : {".gz", ".csv"}) {
    name = std::string(absl::StripSuffix(name, suffix));
  }
  return name.empty() ? "trace" : name;
}

}  // namespace cloudscale::trace
