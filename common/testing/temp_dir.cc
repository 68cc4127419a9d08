#include "common/testing/temp_dir.h"

#include <stdlib.h>

#include <fstream>

#include "common/check/check.h"

namespace cloudscale::testing {

TempDir::TempDir() {
  std::string pattern =
      (std::filesystem::temp_directory_path() / "cloudscale-test-XXXXXX").string();
  CS_CHECK(mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;  // a leftover directory must not fail the test that made it
  std::filesystem::remove_all(path_, ignored);
}

std::string TempDir::Write(absl::string_view relative, absl::string_view text) const {
  const std::filesystem::path file = path_ / std::string(relative);
  std::filesystem::create_directories(file.parent_path());
  std::ofstream out(file, std::ios::binary);
  out << text;
  CS_CHECK(out.good());
  return file.string();
}

}  // namespace cloudscale::testing
