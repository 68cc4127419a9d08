#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/sync/mutex.h"
#include "services/scaler/journal.h"

namespace cloudscale::scaler {

// A journal that lives as long as the process; for simulation, tests and hosts that are told to
// keep nothing. Same contract as the durable one.
class MemoryJournal final : public Journal {
 public:
  explicit MemoryJournal(int64_t max_ended = kMaxEndedActions) : max_ended_(max_ended) {}

  absl::Status Put(const ActionRecord& record, absl::Span<const StateChange> changes) override;
  absl::StatusOr<ActionRecord> Get(const std::string& action_id) override;
  absl::StatusOr<std::vector<ActionRecord>> ListOpen() override;
  absl::StatusOr<std::vector<ActionRecord>> ListNewest(const std::string& vm_uuid,
                                                       const std::string& before_id,
                                                       int64_t limit) override;
  absl::Status PutState(absl::Span<const StateChange> changes) override;
  absl::StatusOr<std::map<std::string, std::string>> ListState(const std::string& prefix) override;

 private:
  void Change(absl::Span<const StateChange> changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Prune() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int64_t max_ended_;
  Mutex mutex_;
  int64_t next_order_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, ActionRecord> by_order_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> order_of_ ABSL_GUARDED_BY(mutex_);
  int64_t ended_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::string> state_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cloudscale::scaler
