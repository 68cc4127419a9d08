#pragma once

#include <filesystem>
#include <string>

#include "absl/strings/string_view.h"

namespace cloudscale::testing {

// A directory of its own for one test, removed with everything in it at the end.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string File(absl::string_view relative) const {
    return (path_ / std::string(relative)).string();
  }
  // Writes a file, making parent directories; returns its path.
  std::string Write(absl::string_view relative, absl::string_view text) const;

 private:
  std::filesystem::path path_;
};

}  // namespace cloudscale::testing
