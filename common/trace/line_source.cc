#include "common/trace/line_source.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace cloudscale::trace {
namespace {

constexpr size_t kChunkBytes = size_t{64} << 10;

}  // namespace

absl::StatusOr<LineSource> LineSource::Open(const std::string& path, int64_t max_bytes) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is a directory, not a trace file"));
  }
  errno = 0;
  // Passes plain files through and inflates what begins with the gzip magic.
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) {
    return absl::ErrnoToStatus(errno == 0 ? ENOMEM : errno, absl::StrCat("open ", path));
  }
  return LineSource(path, file, max_bytes);
}

LineSource::LineSource(std::string path, gzFile_s* file, int64_t max_bytes)
    : path_(std::move(path)),
      file_(file),
      max_bytes_(max_bytes),
      buffer_(kMaxLineBytes + kChunkBytes) {}

LineSource::LineSource(LineSource&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, nullptr)),
      max_bytes_(other.max_bytes_),
      total_bytes_(other.total_bytes_),
      line_number_(other.line_number_),
      buffer_(std::move(other.buffer_)),
      begin_(other.begin_),
      end_(other.end_) {}

LineSource::~LineSource() {
  if (file_ != nullptr) {
    gzclose(file_);
  }
}

absl::StatusOr<bool> LineSource::Fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  const int got = gzread(file_, buffer_.data() + end_, static_cast<unsigned>(kChunkBytes));
  int code = Z_OK;
  const char* message = gzerror(file_, &code);
  if (got < 0 || (got == 0 && code != Z_OK && code != Z_STREAM_END)) {
    return absl::DataLossError(
        absl::StrCat(path_, ": after line ", line_number_, ": damaged or cut short: ", message));
  }
  total_bytes_ += got;
  if (total_bytes_ > max_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path_, ": more than ", max_bytes_, " bytes uncompressed"));
  }
  end_ += static_cast<size_t>(got);
  return got > 0;
}

absl::StatusOr<bool> LineSource::Next(absl::string_view& line) {
  size_t searched = 0;
  while (true) {
    const char* const start = buffer_.data() + begin_;
    const void* const found = std::memchr(start + searched, '\n', end_ - begin_ - searched);
    size_t length = 0;
    size_t consumed = 0;
    if (found != nullptr) {
      length = static_cast<size_t>(static_cast<const char*>(found) - start);
      consumed = length + 1;
    } else {
      searched = end_ - begin_;
      if (searched > kMaxLineBytes) {
        return absl::InvalidArgumentError(absl::StrCat(
            path_, ":", line_number_ + 1, ": line longer than ", kMaxLineBytes, " bytes"));
      }
      CS_ASSIGN_OR_RETURN(const bool more, Fill());
      if (more) {
        continue;
      }
      if (end_ == begin_) {
        return false;
      }
      length = consumed = end_ - begin_;
    }
    line = absl::string_view(buffer_.data() + begin_, length);
    if (!line.empty() && line.back() == '\r') {
      line.remove_suffix(1);
    }
    begin_ += consumed;
    ++line_number_;
    return true;
  }
}

absl::Status ForEachLine(LineSource& source,
                         absl::FunctionRef<absl::Status(absl::string_view)> take) {
  absl::string_view line;
  while (true) {
    CS_ASSIGN_OR_RETURN(const bool has_line, source.Next(line));
    if (!has_line) {
      return absl::OkStatus();
    }
    CS_RETURN_IF_ERROR(take(line));
  }
}

absl::Status ForEachLine(absl::string_view text,
                         absl::FunctionRef<absl::Status(absl::string_view)> take) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    CS_RETURN_IF_ERROR(take(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return absl::OkStatus();
}

}  // namespace cloudscale::trace
