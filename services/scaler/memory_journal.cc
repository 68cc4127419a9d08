#include "services/scaler/memory_journal.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::scaler {
namespace {

bool IsEnded(const ActionRecord& r) { return r.stage == JournalStage::kDone; }

}  // namespace

bool IsFinal(ActionState state) {
  switch (state) {
    case ActionState::kPending:
    case ActionState::kDeferred:
    case ActionState::kRunning:
    case ActionState::kVerifying:
      return false;
    case ActionState::kInfeasible:
    case ActionState::kSucceeded:
    case ActionState::kFailed:
    case ActionState::kRolledBack:
    case ActionState::kSkipped:
    case ActionState::kSuperseded:
      return true;
  }
  return true;
}

absl::Status MemoryJournal::Put(const ActionRecord& record, absl::Span<const StateChange> changes) {
  MutexLock lock(&mutex_);
  const auto [it, is_new] = order_of_.emplace(record.action_id, next_order_);
  if (is_new) {
    ++next_order_;
  } else {
    ended_ -= IsEnded(by_order_.at(it->second)) ? 1 : 0;
  }
  by_order_[it->second] = record;
  ended_ += IsEnded(record) ? 1 : 0;
  Change(changes);
  Prune();
  return absl::OkStatus();
}

void MemoryJournal::Prune() {
  for (auto it = by_order_.begin(); ended_ > max_ended_ && it != by_order_.end();) {
    if (IsEnded(it->second)) {
      order_of_.erase(it->second.action_id);
      it = by_order_.erase(it);
      --ended_;
    } else {
      ++it;
    }
  }
}

void MemoryJournal::Change(absl::Span<const StateChange> changes) {
  for (const auto& [key, value] : changes) {
    if (value) {
      state_[key] = *value;
    } else {
      state_.erase(key);
    }
  }
}

absl::StatusOr<ActionRecord> MemoryJournal::Get(const std::string& action_id) {
  MutexLock lock(&mutex_);
  const auto it = order_of_.find(action_id);
  if (it == order_of_.end()) {
    return absl::NotFoundError(absl::StrCat("no action ", action_id));
  }
  return by_order_.at(it->second);
}

absl::StatusOr<std::vector<ActionRecord>> MemoryJournal::ListOpen() {
  MutexLock lock(&mutex_);
  std::vector<ActionRecord> out;
  for (const auto& [order, record] : by_order_) {
    if (record.stage != JournalStage::kNone && !IsEnded(record)) {
      out.push_back(record);
    }
  }
  return out;
}

absl::StatusOr<std::vector<ActionRecord>> MemoryJournal::ListNewest(const std::string& vm_uuid,
                                                                    const std::string& before_id,
                                                                    int64_t limit) {
  MutexLock lock(&mutex_);
  int64_t below = next_order_;
  if (!before_id.empty()) {
    const auto it = order_of_.find(before_id);
    if (it == order_of_.end()) {
      return std::vector<ActionRecord>();  // pruned meanwhile: so is all that is older
    }
    below = it->second;
  }
  std::vector<ActionRecord> out;
  for (auto it = by_order_.lower_bound(below);
       it != by_order_.begin() && static_cast<int64_t>(out.size()) < limit;) {
    --it;
    if (vm_uuid.empty() || it->second.vm_uuid == vm_uuid) {
      out.push_back(it->second);
    }
  }
  return out;
}

absl::Status MemoryJournal::PutState(absl::Span<const StateChange> changes) {
  MutexLock lock(&mutex_);
  Change(changes);
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> MemoryJournal::ListState(
    const std::string& prefix) {
  MutexLock lock(&mutex_);
  std::map<std::string, std::string> out;
  for (auto it = state_.lower_bound(prefix);
       it != state_.end() && absl::StartsWith(it->first, prefix); ++it) {
    out.insert(*it);
  }
  return out;
}

}  // namespace cloudscale::scaler
