#include "services/scaler/shrink_gate.h"

#include <algorithm>
#include <utility>

namespace cloudscale::scaler {

void ShrinkGate::SetFollowed(std::set<std::string> vm_uuids, MonoTime until) {
  followed_ = std::move(vm_uuids);
  followed_until_ = until;
}

bool ShrinkGate::IsFollowed(const std::string& vm_uuid, MonoTime now) const {
  return now < followed_until_ && followed_.contains(vm_uuid);
}

ShrinkGate::Admission ShrinkGate::Admit(std::vector<PlannedAction> actions, bool is_full_step,
                                        MonoTime now) {
  Admission out;
  std::set<std::string> wanted_again;
  for (PlannedAction& action : actions) {
    const bool is_cpu = action.resource == Resource::kCpu;
    const bool is_shrink = is_cpu && !action.is_growth && action.target.has_value();
    if (is_shrink && wait_ > absl::ZeroDuration() &&
        (held_.contains(action.vm_uuid) || IsFollowed(action.vm_uuid, now))) {
      wanted_again.insert(action.vm_uuid);
      Hold(action, now);
      out.held.push_back(std::move(action));
    } else {
      if (is_cpu) {
        Withdraw(action.vm_uuid);
      }
      out.pass.push_back(std::move(action));
    }
  }
  if (is_full_step) {
    std::vector<std::string> unwanted;
    for (const auto& [uuid, held] : held_) {
      if (!wanted_again.contains(uuid)) {
        unwanted.push_back(uuid);
      }
    }
    for (const std::string& uuid : unwanted) {
      Withdraw(uuid);
    }
  }
  return out;
}

void ShrinkGate::Hold(PlannedAction action, MonoTime now) {
  const auto known = held_.find(action.vm_uuid);
  if (known == held_.end()) {
    announced_[action.vm_uuid] = *action.target;
    const std::string uuid = action.vm_uuid;
    held_[uuid] = {.action = std::move(action),
                   .deadline = now + wait_,
                   .reported_as = std::nullopt,
                   .is_answered = false};
    return;
  }
  action.target = std::max(*action.target, *known->second.action.target);
  announced_[action.vm_uuid] = *action.target;
  known->second.action = std::move(action);
}

void ShrinkGate::OnReported(int64_t number) {
  for (auto& [uuid, held] : held_) {
    if (!held.reported_as) {
      held.reported_as = number;
    }
  }
}

void ShrinkGate::OnAnswered(int64_t number) {
  for (auto& [uuid, held] : held_) {
    held.is_answered = held.is_answered || (held.reported_as && *held.reported_as <= number);
  }
}

std::vector<PlannedAction> ShrinkGate::TakeDue(MonoTime now) {
  std::vector<PlannedAction> due;
  for (const auto& [uuid, held] : held_) {
    if (held.is_answered || now >= held.deadline) {
      ++(held.is_answered ? counters_.answered : counters_.timed_out);
      due.push_back(held.action);
    }
  }
  for (const PlannedAction& action : due) {
    Drop(action.vm_uuid);
  }
  return due;
}

std::optional<MonoTime> ShrinkGate::next_deadline() const {
  std::optional<MonoTime> next;
  for (const auto& [uuid, held] : held_) {
    next = next ? std::min(*next, held.deadline) : held.deadline;
  }
  return next;
}

void ShrinkGate::Withdraw(const std::string& vm_uuid) {
  if (held_.contains(vm_uuid)) {
    ++counters_.withdrawn;
    Drop(vm_uuid);
  }
}

void ShrinkGate::WithdrawAll() {
  counters_.withdrawn += static_cast<int64_t>(held_.size());
  held_.clear();
  announced_.clear();
}

void ShrinkGate::Drop(const std::string& vm_uuid) {
  held_.erase(vm_uuid);
  announced_.erase(vm_uuid);
}

}  // namespace cloudscale::scaler
