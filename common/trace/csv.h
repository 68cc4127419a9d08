#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cloudscale::trace {

// The rows of a CSV file, a line at a time: fields as in RFC 4180, but a quoted field ends on its
// line. Space around a field is not part of it unless quoted; a byte order mark and CRLF are taken
// away; blank lines stand at the end only.
//
// A fault is INVALID_ARGUMENT and says where it is, what was found and what is expected:
//
//   x.csv:17: column 3 (value): found 'abc', expected a number from 0 to 1e18
//
// Thread safety: thread-compatible.
class CsvReader {
 public:
  static constexpr size_t kMaxLineBytes = size_t{64} << 10;

  // `file` is the name in messages.
  explicit CsvReader(std::string file) : file_(std::move(file)) {}

  // The next line, without its LF; false when it is blank. No call may follow an error.
  [[nodiscard]] absl::StatusOr<bool> TakeLine(absl::string_view line);

  [[nodiscard]] const std::string& file() const { return file_; }
  // Of the line taken last; the first is 1.
  [[nodiscard]] int64_t line_number() const { return line_number_; }
  // Unquoted. They live as long as that line and until the next.
  [[nodiscard]] const std::vector<absl::string_view>& fields() const { return fields_; }

  // For messages, and how many fields `CheckColumns` demands.
  void NameColumns(const std::vector<std::string>& names);
  [[nodiscard]] const std::vector<std::string>& column_names() const { return names_; }
  [[nodiscard]] absl::Status CheckColumns() const;

  // The field as a number from 0 to `max`, which may be infinite: then any finite number. Never -0.
  [[nodiscard]] absl::StatusOr<double> Number(size_t column, double max) const;
  // The field as seconds from `min` to `max`: a number, `2026-03-01 12:31:05` (UTC) or RFC 3339.
  [[nodiscard]] absl::StatusOr<double> Time(size_t column, double min, double max) const;

  // Faults of the content: of a field of the line at hand, and of a line.
  [[nodiscard]] absl::Status FieldFault(size_t column, absl::string_view expected) const;
  [[nodiscard]] absl::Status LineFault(int64_t line, absl::string_view what) const;
  // RESOURCE_EXHAUSTED in the same form.
  [[nodiscard]] absl::Status TooMuch(int64_t line, absl::string_view what) const;
  // "column 3 (value)"; columns count from 0 here and from 1 there.
  [[nodiscard]] std::string ColumnText(size_t column) const;

 private:
  absl::Status Split(absl::string_view line);
  absl::Status TakeQuoted(absl::string_view& rest);

  const std::string file_;
  int64_t line_number_ = 0;
  int64_t blank_line_ = 0;  // the first; 0 = none
  std::vector<std::string> names_;
  std::vector<absl::string_view> fields_;
  std::string unquoted_;  // holds fields that had doubled quotes
};

// The beginning of `text`, fit for a message: control characters are shown as '?'.
[[nodiscard]] std::string Excerpt(absl::string_view text);

// The name of a file without directory, `.csv` and `.gz`: that of a trace without one of its own.
[[nodiscard]] std::string TraceNameOf(const std::string& path);

}  // namespace cloudscale::trace
