#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/scaler/decision.h"

namespace cloudscale::scaler {

// Numbers of the enums equal those of the contract and are written to disk: never renumber.
enum class ActionKind {
  kSetCpuCap = 1,
  kSetCpuWeight = 2,
  kSetMemoryTarget = 3,
  kSetVcpuCount = 4
};
[[nodiscard]] constexpr ActionKind KindOf(Resource r) {
  return r == Resource::kCpu ? ActionKind::kSetCpuCap : ActionKind::kSetMemoryTarget;
}

enum class ActionState {
  kPending = 1,
  kDeferred = 2,
  kInfeasible = 3,
  kRunning = 4,
  kVerifying = 5,
  kSucceeded = 6,
  kFailed = 7,
  kRolledBack = 8,
  kSkipped = 9,
  kSuperseded = 10,
};
[[nodiscard]] bool IsFinal(ActionState state);

enum class JournalStage { kNone = 0, kIntent = 1, kApply = 2, kVerify = 3, kDone = 4 };

// One change of the outside world. Values: cores, weight, bytes or vCPUs by kind; absent = no
// limit.
struct ActionRecord {
  std::string action_id;
  std::string request_id;   // empty for automatic ones
  std::string decision_id;  // empty for requested ones
  std::string host_id;
  std::string vm_uuid;
  ActionKind kind = ActionKind::kSetCpuCap;
  ActionState state = ActionState::kPending;
  JournalStage stage = JournalStage::kNone;
  std::optional<double> target;
  std::optional<double> before;
  bool has_observed = false;
  std::optional<double> observed;
  int64_t fencing_token = 0;
  std::vector<Reason> reasons;
  absl::Time created_at;
  absl::Time updated_at;
  std::optional<absl::Time> expires_at;
  int64_t attempt_count = 0;
  std::string error;
  std::string undo_of;
  std::string superseded_by;
  std::string actor;
  int64_t version = 1;  // grows with each change; the etag
  friend bool operator==(const ActionRecord&, const ActionRecord&) = default;
};

// nullopt value = delete the key.
using StateChange = std::pair<std::string, std::optional<std::string>>;

// Everything of the scaler that must survive a crash: the action journal and a small key-value
// state (originals, last set values, policies, mode, leases). A call that returns OK is durable.
// All calls: UNAVAILABLE or RESOURCE_EXHAUSTED when the store cannot be written or read, DATA_LOSS
// when it is damaged. Thread safety: thread-safe.
class Journal {
 public:
  // Ended actions beyond this many are dropped, oldest first; open ones never.
  static constexpr int64_t kMaxEndedActions = 50'000;

  virtual ~Journal() = default;

  // Inserts or replaces by `action_id`, together with `changes`: all or nothing.
  virtual absl::Status Put(const ActionRecord& record, absl::Span<const StateChange> changes) = 0;

  // NOT_FOUND.
  virtual absl::StatusOr<ActionRecord> Get(const std::string& action_id) = 0;

  // Actions whose stage is INTENT, APPLY or VERIFY, oldest first.
  virtual absl::StatusOr<std::vector<ActionRecord>> ListOpen() = 0;

  // Newest first, at most `limit`, skipping those not older than `before_id` when it is not empty.
  virtual absl::StatusOr<std::vector<ActionRecord>> ListNewest(const std::string& vm_uuid,
                                                               const std::string& before_id,
                                                               int64_t limit) = 0;

  // All or nothing.
  virtual absl::Status PutState(absl::Span<const StateChange> changes) = 0;
  // Keys with this prefix, sorted.
  virtual absl::StatusOr<std::map<std::string, std::string>> ListState(
      const std::string& prefix) = 0;
};

}  // namespace cloudscale::scaler
