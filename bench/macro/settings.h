#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cloudscale::bench {

// The flags of a benchmark (`--name value`) with their defaults, and the form of its output.
// Thread safety: thread-compatible.
class Settings {
 public:
  // `defaults` lists every flag there is.
  explicit Settings(std::map<std::string, std::string> defaults) : values_(std::move(defaults)) {}

  // INVALID_ARGUMENT for an unknown flag, a missing value, or a number out of range.
  absl::Status Parse(int argc, char** argv);

  [[nodiscard]] const std::string& Text(const std::string& name) const { return values_.at(name); }
  // Above 0; checked by Parse for every flag whose default is a number.
  [[nodiscard]] double Number(const std::string& name) const;
  [[nodiscard]] bool is_json() const { return is_json_; }

  // Prints the settings as `# name=value` lines; nothing for JSON, where `PrintRow` is alone.
  void PrintHeader(const std::string& what) const;

 private:
  std::map<std::string, std::string> values_;
  bool is_json_ = false;
};

// One measurement: names and values in order. CSV prints the names once, JSON one object a line.
class RowPrinter {
 public:
  explicit RowPrinter(bool is_json) : is_json_(is_json) {}
  void Print(const std::vector<std::pair<std::string, std::string>>& row);

 private:
  const bool is_json_;
  std::vector<std::string> names_;
};

}  // namespace cloudscale::bench
