#include "agents/guest/main/agent_config.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "agents/guest/proc_parse.h"
#include "agents/guest/transport/socket_address.h"

namespace cloudscale::guest {
namespace {

constexpr absl::Duration kMinPeriod = absl::Milliseconds(100);
constexpr absl::Duration kMaxPeriod = absl::Seconds(60);

// Takes a value; false when it is none of the field's.
using Setter = std::function<bool(const std::string&)>;

std::map<std::string, Setter> Setters(AgentConfig& config) {
  const auto text = [](std::string* field) {
    return [field](const std::string& value) {
      *field = value;
      return true;
    };
  };
  return {
      {"vm_uuid", text(&config.vm_uuid)},
      {"monitor_address", text(&config.monitor_address)},
      {"device", text(&config.device)},
      {"proc_path", text(&config.proc_path)},
      {"tls.cert_file", text(&config.tls.cert_file)},
      {"tls.key_file", text(&config.tls.key_file)},
      {"tls.ca_file", text(&config.tls.ca_file)},
      {"period",
       [&](const std::string& value) { return absl::ParseDuration(value, &config.period); }},
      {"buffer_reports",
       [&](const std::string& value) { return absl::SimpleAtoi(value, &config.buffer_reports); }},
      {"log_level", [&](const std::string& value) {
         std::string level = absl::AsciiStrToLower(value);
         level = std::string(absl::StripPrefix(level, "log_level_"));
         return ParseLogLevel(level, &config.log_level);
       }}};
}

// Cuts a comment off, which begins the line or follows a space, outside of quotes.
absl::string_view WithoutComment(absl::string_view line) {
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if (quote != 0) {
      if (line[i] == quote) {
        quote = 0;
      }
    } else if (line[i] == '"' || line[i] == '\'') {
      quote = line[i];
    } else if (line[i] == '#' && (i == 0 || line[i - 1] == ' ')) {
      return line.substr(0, i);
    }
  }
  return line;
}

// False for what would need more of YAML than is read here.
bool TakeScalar(absl::string_view given, std::string* value) {
  if (given.empty()) {
    return false;
  }
  const char first = given.front();
  if (first == '"' || first == '\'') {
    const bool is_closed = given.size() >= 2 && given.back() == first;
    given = given.substr(1, is_closed ? given.size() - 2 : 0);
    *value = std::string(given);
    return is_closed && !absl::StrContains(given, first) && !absl::StrContains(given, '\\');
  }
  *value = std::string(given);
  return !absl::StrContains("[{&*!|>%@`,-?:", first) && !absl::StrContains(given, ": ") &&
         given.back() != ':';
}

bool IsLoopback(const std::string& address) {
  const absl::StatusOr<SocketAddress> target = ResolveAddress(address, "");
  if (!target.ok()) {
    return false;
  }
  switch (target->storage.ss_family) {
    case AF_UNIX:
      return true;
    case AF_INET: {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(&target->storage);
      return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    default: {
      const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&target->storage);
      return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
  }
}

void ValidateTls(const AgentConfig& config, bool has_tls, Violations& violations) {
  if (config.tls.is_set()) {
    if (!has_tls) {
      violations.Add("tls", "set", "not set: only cloudscale-guest-agent-tls speaks TLS");
    }
    RequireNotEmpty(violations, "tls.cert_file", config.tls.cert_file);
    RequireNotEmpty(violations, "tls.key_file", config.tls.key_file);
    RequireNotEmpty(violations, "tls.ca_file", config.tls.ca_file);
  } else if (!config.monitor_address.empty() && !IsLoopback(config.monitor_address)) {
    violations.Add("tls", "", "certificate files, as monitor_address is not on loopback");
  }
}

}  // namespace

absl::StatusOr<AgentConfig> ParseAgentConfig(absl::string_view text) {
  AgentConfig config;
  const std::map<std::string, Setter> setters = Setters(config);
  std::set<std::string> seen;
  std::string section;
  Violations violations;
  int64_t number = 0;
  for (const absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::string_view line = absl::StripTrailingAsciiWhitespace(WithoutComment(raw));
    if (line.empty() || line == "---") {
      continue;
    }
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    const absl::string_view key = absl::StripAsciiWhitespace(parts.first);
    const absl::string_view given = absl::StripAsciiWhitespace(parts.second);
    const bool is_inner = line.front() == ' ';
    section = is_inner ? section : "";
    const std::string path = section.empty() ? std::string(key) : absl::StrCat(section, ".", key);
    const std::string where = absl::StrCat(path, " (line ", number, ")");
    const auto setter = setters.find(path);
    if (line.front() == '\t' || (is_inner && section.empty()) || !absl::StrContains(line, ':')) {
      violations.Add(where, "", "a line \"key: value\"");
    } else if (path == "tls" && given.empty()) {
      section = path;
    } else if (setter == setters.end()) {
      violations.Add(where, "", "a known field");
    } else if (!seen.insert(path).second) {
      violations.Add(where, "", "given once");
    } else if (std::string value; !TakeScalar(given, &value) || !setter->second(value)) {
      violations.Add(where, given.substr(0, 64), "a value of this field, on one line");
    }
  }
  if (!violations.empty()) {
    return violations.ToStatus();
  }
  return config;
}

absl::StatusOr<AgentConfig> LoadAgentConfig(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  return ParseAgentConfig(text);
}

void ValidateAgentConfig(const AgentConfig& config, bool has_tls, Violations& violations) {
  if (!config.vm_uuid.empty() && !ParseUuid(config.vm_uuid).ok()) {
    violations.Add("vm_uuid", config.vm_uuid, "a UUID, or empty for the machine's own");
  }
  if (config.device.empty() == config.monitor_address.empty()) {
    violations.Add("monitor_address", config.monitor_address,
                   "either host:port or unix:path, or empty and a device");
  } else if (config.device.empty() && !CheckAddress(config.monitor_address).ok()) {
    violations.Add("monitor_address", config.monitor_address, "host:port or unix:path");
  }
  ValidateTls(config, has_tls, violations);
  RequireInRange(violations, "period", absl::ToDoubleSeconds(config.period),
                 absl::ToDoubleSeconds(kMinPeriod), absl::ToDoubleSeconds(kMaxPeriod));
  RequireInRange(violations, "buffer_reports", static_cast<double>(config.buffer_reports), 1, 3600);
  RequireNotEmpty(violations, "proc_path", config.proc_path);
}

}  // namespace cloudscale::guest
