#pragma once

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

namespace cloudscale::rpc {

// Configuration is YAML outside and a protobuf schema inside: one schema for files, API and
// documentation.
//
// Fields are named as in the schema; durations are written `10s`, `250ms`, `5m`, `2h`; byte counts
// may carry KiB, MiB, GiB (or kB, MB, GB); choices have their full name or the part after the
// common prefix in any case (`auto`). An unknown field, a wrong type and a repeated key are faults.
// All faults are reported at once, each with its path and line: INVALID_ARGUMENT with field
// violations. `message` is changed only on success; NOT_FOUND when there is no file.
[[nodiscard]] absl::Status LoadYaml(const std::string& path, google::protobuf::Message* message);
[[nodiscard]] absl::Status ParseYaml(const std::string& text, google::protobuf::Message* message);

}  // namespace cloudscale::rpc
