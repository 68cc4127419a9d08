#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/scaler/observation.h"
#include "services/scaler/policy.h"

// What was decided and why. Numbers of the enums equal those of the contract.
namespace cloudscale::scaler {

enum class Outcome {
  kApplied = 1,
  kRecommended = 2,
  kHeld = 3,
  kPaused = 4,
  kRefused = 5,
  kDeferred = 6,
  kAwaitingApproval = 7,
  kFailed = 8,
};

enum class ClampKind {
  kMin = 1,
  kMax = 2,
  kVmMaximum = 3,
  kStepUp = 4,
  kStepDown = 5,
  kDeadBand = 6,
  kCoolDown = 7,
  kQuietSteps = 8,
  kNoBlindShrink = 9,
  kHostCapacity = 10,
  kReservation = 11,
  kMemoryFloor = 12,
  kBalloon = 13,
  kPause = 14,
  kCanary = 15,
  kRateLimit = 16,
  kRounding = 17,
  kMigration = 18,
  kGuarantee = 19,
};

enum class ReasonCode {
  kForecast = 1,
  kUnderEstimate = 2,
  kThrottled = 3,
  kSloBoost = 4,
  kMemoryPressure = 5,
  kReactiveFallback = 6,
  kNotWarm = 7,
  kDataMissing = 8,
  kDataStale = 9,
  kWithinDeadBand = 10,
  kCoolingDown = 11,
  kWaitingQuiet = 12,
  kAtMin = 13,
  kAtMax = 14,
  kStepLimited = 15,
  kHostShort = 16,
  kModeForbids = 18,
  kPaused = 19,
  kRateLimited = 20,
  kNotManaged = 21,
  kUnsupported = 22,
  kHypervisorRefused = 23,
  kVerifyFailed = 24,
  kForeignChange = 25,
  kBalloonSlow = 26,
  kMigrating = 27,
  kVmNotRunning = 28,
  kOperator = 29,
  kRestored = 30,
  kRolledBack = 31,
  kFailStatic = 32,
  kDonor = 33,
  kReserved = 34,
  kLoadShifted = 36,
  kNoChange = 37,
};

struct ClampStep {
  ClampKind kind = ClampKind::kMin;
  double before = 0;
  double after = 0;
  std::string detail;
  friend bool operator==(const ClampStep&, const ClampStep&) = default;
};

struct Reason {
  ReasonCode code = ReasonCode::kNoChange;
  std::string text;
  friend bool operator==(const Reason&, const Reason&) = default;
};

// How close a rule that waits for a condition to last is to acting.
struct FiringCounter {
  std::string rule;
  int64_t current = 0;
  int64_t required = 0;
  std::optional<absl::Duration> remaining;
  friend bool operator==(const FiringCounter&, const FiringCounter&) = default;
};

struct DecisionInputs;

// The receipt of one decision for one VM and resource. `previous` absent = uncapped or unknown.
struct Decision {
  std::string decision_id;  // host, sequence, VM, resource
  ObservationHeader header;
  absl::Time decided_at;
  std::string vm_uuid;
  std::string vm_name;
  Resource resource = Resource::kCpu;
  Mode mode = Mode::kRecommend;
  Outcome outcome = Outcome::kHeld;
  std::optional<double> usage;
  std::optional<double> demand;
  SampleQuality quality = SampleQuality::kUnknown;
  std::optional<double> forecast;
  double forecast_quantile_ratio = 0;
  std::string model;
  std::optional<absl::Duration> forecast_age;
  Padding padding;
  double raw_wish = 0;
  std::vector<ClampStep> clamps;
  double target = 0;
  std::optional<double> previous;
  std::vector<Reason> reasons;
  std::string action_id;
  std::vector<FiringCounter> counters;
  double alpha = 1;
  int64_t under_estimate_streak = 0;
  bool is_reactive = false;
  bool is_fast_correction = false;  // made between two full steps
  // Everything that the decision was made from; `Decide(*inputs)` gives the same again.
  std::shared_ptr<const DecisionInputs> inputs;

  // True when the allocation should change.
  [[nodiscard]] bool wants_change() const { return wants_change_; }
  bool wants_change_ = false;
};

// All fields in a fixed order and full precision; two decisions are the same exactly when their
// texts are.
[[nodiscard]] std::string ToReceiptText(const Decision& decision);

// A change for the executor: absolute target, absent = lift the limit.
struct PlannedAction {
  std::string vm_uuid;
  Resource resource = Resource::kCpu;
  std::string decision_id;
  std::optional<double> target;
  std::optional<double> expected_before;  // what must hold now, else somebody else was here
  bool is_growth = false;
  bool is_correction = false;  // exempt from rate limits
  std::vector<Reason> reasons;
};

// The models of this series should be trained anew.
struct RetrainRequest {
  std::string vm_uuid;
  Resource resource = Resource::kCpu;
  std::string detail;
};

// What the forecasts of this series should aim at, since they say that they aim at something else.
struct TargetRequest {
  std::string vm_uuid;
  Resource resource = Resource::kCpu;
  double target_violation_ratio = 0.02;
};

struct StepResult {
  std::vector<Decision> decisions;             // in order of VM and resource
  std::vector<PlannedAction> actions;          // shrinks first: donors before acceptors
  std::vector<PlannedAction> recommendations;  // what would be done in AUTO
  std::vector<RetrainRequest> retrains;
  std::vector<TargetRequest> targets;
  bool is_full_step = false;
};

}  // namespace cloudscale::scaler
