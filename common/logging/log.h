#pragma once

#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace cloudscale {

// Levels: ERROR = a person must act; WARNING = degraded, heals itself; INFO = state changes and
// every actuation with its reason; DEBUG = per sample.
enum class LogLevel { kDebug, kInfo, kWarning, kError };

// One line on stderr a event: `level event key=value key="quoted value"`, event names in stable
// snake_case. `LogLine(LogLevel::kInfo, "cap_applied").Field("vm", uuid).Field("cores", 1.5);`
// writes when it goes out of scope. An error is logged once, where it is handled. Thread safety:
// lines are written whole from any thread.
class LogLine {
 public:
  LogLine(LogLevel level, absl::string_view event);
  ~LogLine();
  LogLine(const LogLine&) = delete;
  LogLine& operator=(const LogLine&) = delete;

  template <typename T>
  LogLine& Field(absl::string_view key, const T& value) {
    if (enabled_) {
      if constexpr (std::is_same_v<T, absl::Status>) {
        Append(key, value.ToString());
      } else {
        Append(key, absl::StrCat(value));
      }
    }
    return *this;
  }

 private:
  void Append(absl::string_view key, absl::string_view value);

  const LogLevel level_;
  const bool enabled_;
  std::string text_;
};

// Lines below `level` are dropped. Default INFO. Call once at start.
void SetLogLevel(LogLevel level);

// Parses "debug", "info", "warning" or "error".
[[nodiscard]] bool ParseLogLevel(absl::string_view text, LogLevel* level);

}  // namespace cloudscale
