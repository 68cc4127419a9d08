#include "services/scaler/rate_limiter.h"

#include <algorithm>

namespace cloudscale::scaler {

void RateLimiter::Forget(MonoTime now) {
  while (!log_.empty() && now - log_.front().first >= kWindow) {
    const auto it = of_vm_.find(log_.front().second);
    if (--it->second == 0) {
      of_vm_.erase(it);
    }
    log_.pop_front();
  }
}

bool RateLimiter::TryTake(const std::string& vm_uuid, MonoTime now) {
  Forget(now);
  const auto it = of_vm_.find(vm_uuid);
  if (static_cast<int64_t>(log_.size()) >= per_host_ ||
      (it != of_vm_.end() && it->second >= per_vm_)) {
    return false;
  }
  Count(vm_uuid, now);
  return true;
}

void RateLimiter::Count(const std::string& vm_uuid, MonoTime now) {
  Forget(now);
  log_.emplace_back(now, vm_uuid);
  ++of_vm_[vm_uuid];
}

void RateLimiter::Restore(const std::vector<std::pair<std::string, absl::Duration>>& ages,
                          MonoTime now) {
  auto sorted = ages;
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [vm_uuid, age] : sorted) {
    if (age >= absl::ZeroDuration() && age < kWindow) {
      log_.emplace_back(now - age, vm_uuid);
      ++of_vm_[vm_uuid];
    }
  }
}

int64_t RateLimiter::in_window(MonoTime now) {
  Forget(now);
  return static_cast<int64_t>(log_.size());
}

}  // namespace cloudscale::scaler
