#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trace/csv.h"

struct gzFile_s;

namespace cloudscale::trace {

// Lines of a plain or gzip file, one at a time, in bounded memory. Thread safety:
// thread-compatible.
class LineSource {
 public:
  static constexpr size_t kMaxLineBytes = CsvReader::kMaxLineBytes;

  // NOT_FOUND or PERMISSION_DENIED when it cannot be opened.
  static absl::StatusOr<LineSource> Open(const std::string& path, int64_t max_bytes);

  ~LineSource();
  LineSource(LineSource&& other) noexcept;
  LineSource& operator=(LineSource&&) = delete;

  // The next line without its end (LF or CRLF); false at the end of the file. `line` lives until
  // the next call.
  absl::StatusOr<bool> Next(absl::string_view& line);

  // Of the line that `Next` gave last; the first is 1.
  [[nodiscard]] int64_t line_number() const { return line_number_; }

 private:
  LineSource(std::string path, gzFile_s* file, int64_t max_bytes);
  absl::StatusOr<bool> Fill();  // false at the end of the file

  std::string path_;
  gzFile_s* file_;
  int64_t max_bytes_;
  int64_t total_bytes_ = 0;
  int64_t line_number_ = 0;
  std::vector<char> buffer_;
  size_t begin_ = 0;  // of what is not yet given out
  size_t end_ = 0;
};

// Gives every line to `take`, without its LF, until that fails.
[[nodiscard]] absl::Status ForEachLine(LineSource& source,
                                       absl::FunctionRef<absl::Status(absl::string_view)> take);
// The same for text in memory.
[[nodiscard]] absl::Status ForEachLine(absl::string_view text,
                                       absl::FunctionRef<absl::Status(absl::string_view)> take);

}  // namespace cloudscale::trace
