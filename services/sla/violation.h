#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace cloudscale::sla {

// A time in which an objective was missed.
struct Violation {
  int64_t number = 0;  // counts up, unique; newer is larger
  std::string id;
  std::string objective_id;
  std::string application;
  bool is_open = true;
  absl::Time started_at;               // start of the first bad window
  std::optional<absl::Time> ended_at;  // end of the last bad window; absent while open
  double observed = 0.0;               // in the worst window: percentile in seconds or error ratio
  double threshold = 0.0;              // in the same unit
  int64_t request_count = 0;           // in the worst window
  int64_t bad_request_count = 0;       // in the worst window
  double burn_rate = 0.0;              // over the last hour
  std::vector<std::string> vm_uuids;   // sorted; at most kMaxMembers
  std::vector<std::string> effects;    // what was done; at most kMaxEffects, later ones not kept
  std::string source;
};

inline constexpr size_t kMaxEffects = 64;

}  // namespace cloudscale::sla
