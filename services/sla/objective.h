#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status/violations.h"

namespace cloudscale::sla {

// A window is good when the percentile of response times stays at or below the threshold.
struct LatencyIndicator {
  absl::Duration threshold;       // 0 < x <= 10 min
  double percentile_ratio = 0.0;  // 0 < x <= 1
  friend bool operator==(const LatencyIndicator&, const LatencyIndicator&) = default;
};

// A window is good when at most this share of the requests fails.
struct ErrorIndicator {
  double max_error_ratio = 0.0;  // 0 <= x < 1
  friend bool operator==(const ErrorIndicator&, const ErrorIndicator&) = default;
};

// A window is good when notifications of slow requests come at most this often.
struct SlowRateIndicator {
  double max_per_second = 0.0;  // 0 <= x <= 100000; mean over the window
  friend bool operator==(const SlowRateIndicator&, const SlowRateIndicator&) = default;
};

using Indicator = std::variant<std::monostate, LatencyIndicator, ErrorIndicator, SlowRateIndicator>;

// A VM (and the balancer's server in front of it) that serves an application.
struct Member {
  std::string vm_uuid;
  std::string backend;
  std::string server;
  friend bool operator==(const Member&, const Member&) = default;
};

// What is done while an objective is missed.
struct BoostTerms {
  bool is_enabled = true;
  double factor = 1.25;                                   // 1 < x <= 2
  absl::Duration duration = absl::Seconds(60);            // 1 s to 1 h
  absl::Duration retrain_interval = absl::Seconds(1000);  // 0 or more; per VM
  friend bool operator==(const BoostTerms&, const BoostTerms&) = default;
};

// What the users of an application were promised.
struct Objective {
  std::string id;           // 1 to 64 characters of a-z0-9-
  std::string application;  // 1 to 64 characters
  Indicator indicator;
  absl::Duration window;      // 1 s to 1 h
  double target_ratio = 0.0;  // 0 < x < 1; share of windows that must be good over `period`
  absl::Duration period = absl::Hours(24 * 30);  // 1 h to 90 days
  int64_t min_request_count = 10;                // windows with fewer requests are not judged
  std::vector<Member> members;                   // at most kMaxMembers
  bool is_disabled = false;
  BoostTerms boost;
  int64_t revision = 0;  // counts up with every change of any objective
  absl::Time updated_at = absl::UnixEpoch();
};

inline constexpr size_t kMaxMembers = 256;

// Adds every fault of `objective` with its path below `prefix` (names as in the API). A promise
// that not even one bad window could keep is refused as well, since nobody could ever be told in
// time that it is in danger.
void ValidateObjective(const Objective& objective, absl::string_view prefix,
                       Violations& violations);

// True when both promise the same thing (same application, kind, percentile and window) with
// different terms, so that one event would be judged twice.
[[nodiscard]] bool Overlap(const Objective& a, const Objective& b);

// Threshold in the indicator's unit: seconds, a ratio, or notifications per second.
[[nodiscard]] double ThresholdOf(const Objective& objective);

// True when the parts that decide how windows are judged are equal, so that what was collected may
// be kept over a change.
[[nodiscard]] bool SameJudgement(const Objective& a, const Objective& b);

}  // namespace cloudscale::sla
