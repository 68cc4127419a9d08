#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cloudscale/scaler/v1/policy.pb.h"

namespace cloudscale::cli {

// A change of a policy as the server wants it.
struct PolicyEdit {
  scaler::v1::Policy policy;        // only the values that were given
  std::vector<std::string> fields;  // mask: what is set or removed, sorted, each once
};

// Reads `cpu.max=2 mode=auto labels.tier=web memory.min=1GiB cpu.min=` into an edit. Keys are the
// fields of `Policy`; `cpu.max_cores` and `memory.max_bytes` are accepted as well. Values: sizes
// with units for memory, durations (`60s`), words of an enum without prefix in any case, lists with
// commas; nothing after `=` removes the value, so that it is inherited. Labels are given with
// `labels.NAME=VALUE` and are put into a copy of those in `current`. INVALID_ARGUMENT has all
// faults at once, one a line.
[[nodiscard]] absl::StatusOr<PolicyEdit> ParsePolicyEdit(std::span<const std::string> pairs,
                                                         const scaler::v1::Policy& current);

// All keys that may be set, with what they take: `cpu.max` → `cores`. In order of the proto.
struct PolicyKey {
  std::string key;
  std::string takes;
};
[[nodiscard]] std::vector<PolicyKey> ListPolicyKeys();

// `key value source` of every value of a policy, in order of the proto.
struct PolicyValue {
  std::string key;
  std::string value;
  std::string source;  // VM, HOST, DEFAULT; empty when not known
};
[[nodiscard]] std::vector<PolicyValue> ListPolicyValues(const scaler::v1::Policy& policy);

}  // namespace cloudscale::cli
