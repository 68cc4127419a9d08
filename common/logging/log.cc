#include "common/logging/log.h"

#include <memory>

#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace cloudscale {
namespace {

// Lines longer than this are cut: a value may come from a peer.
constexpr size_t kMaxLineLength = 4096;

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

spdlog::logger& Logger() {
  // Leaked on purpose: threads may still log while static objects are destroyed.
  static spdlog::logger* const logger = [] {
    auto* created =
        new spdlog::logger("cloudscale", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    created->flush_on(spdlog::level::debug);
    return created;
  }();
  return *logger;
}

bool NeedsQuotes(absl::string_view value) {
  if (value.empty()) {
    return true;
  }
  for (const char c : value) {
    if (c == ' ' || c == '"' || c == '=' || static_cast<unsigned char>(c) < 0x20) {
      return true;
    }
  }
  return false;
}

}  // namespace

LogLine::LogLine(LogLevel level, absl::string_view event)
    : level_(level), enabled_(Logger().should_log(ToSpdlog(level))) {
  if (enabled_) {
    text_ = std::string(event);
  }
}

LogLine::~LogLine() {
  if (enabled_) {
    if (text_.size() > kMaxLineLength) {
      text_.resize(kMaxLineLength);
      text_ += "…";
    }
    Logger().log(ToSpdlog(level_), "{}", text_);
  }
}

void LogLine::Append(absl::string_view key, absl::string_view value) {
  absl::StrAppend(&text_, " ", key, "=");
  if (!NeedsQuotes(value)) {
    absl::StrAppend(&text_, value);
    return;
  }
  text_.push_back('"');
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      text_.push_back('\\');
    }
    text_.push_back(static_cast<unsigned char>(c) < 0x20 ? ' ' : c);
  }
  text_.push_back('"');
}

void SetLogLevel(LogLevel level) { Logger().set_level(ToSpdlog(level)); }

bool ParseLogLevel(absl::string_view text, LogLevel* level) {
  if (text == "debug") {
    *level = LogLevel::kDebug;
  } else if (text == "info") {
    *level = LogLevel::kInfo;
  } else if (text == "warning") {
    *level = LogLevel::kWarning;
  } else if (text == "error") {
    *level = LogLevel::kError;
  } else {
    return false;
  }
  return true;
}

}  // namespace cloudscale
