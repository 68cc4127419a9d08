#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/logging/log.h"
#include "common/status/violations.h"

namespace cloudscale::guest {

// GuestAgentConfig of proto/cloudscale/config/v1/config.proto, which says what each field means.
struct AgentConfig {
  struct Tls {
    std::string cert_file;
    std::string key_file;
    std::string ca_file;
    [[nodiscard]] bool is_set() const {
      return !cert_file.empty() || !key_file.empty() || !ca_file.empty();
    }
  };
  std::string vm_uuid;  // empty: the machine's own
  std::string monitor_address;
  std::string device;  // empty: monitor_address
  Tls tls;
  absl::Duration period = absl::Seconds(1);
  int64_t buffer_reports = 60;
  std::string proc_path = "/proc";
  LogLevel log_level = LogLevel::kInfo;
};

// Reads the part of YAML that this configuration needs: `key: value` lines, one level of
// indentation, comments, quotes. By hand, because a YAML library and protobuf's reflection are
// larger than the rest of the agent; what this takes, they take and understand alike (tested).
// INVALID_ARGUMENT with every fault.
[[nodiscard]] absl::StatusOr<AgentConfig> ParseAgentConfig(absl::string_view text);

// The same from a file; NOT_FOUND when it cannot be read.
[[nodiscard]] absl::StatusOr<AgentConfig> LoadAgentConfig(const std::string& path);

// Adds what is wrong with the values, by field path. `has_tls`: this program speaks TLS.
void ValidateAgentConfig(const AgentConfig& config, bool has_tls, Violations& violations);

}  // namespace cloudscale::guest
