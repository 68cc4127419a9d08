#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::scaler {

// Bounds the speed of change: at most `per_host` actions, and `per_vm` of one VM, in every sliding
// minute. A log of the newest action times instead of a bucket with a refill, because a bucket
// lets two full ones through in the minute around its refill (promise P3). Memory: `per_host`
// times. Thread safety: thread-compatible.
class RateLimiter {
 public:
  static constexpr absl::Duration kWindow = absl::Minutes(1);

  RateLimiter(int64_t per_host, int64_t per_vm) : per_host_(per_host), per_vm_(per_vm) {}

  // True, and counted, when one more action of the VM fits now.
  bool TryTake(const std::string& vm_uuid, MonoTime now);

  // Counts an action that is exempt from being refused.
  void Count(const std::string& vm_uuid, MonoTime now);

  // Counts the actions of before a restart. `ages` are measured before the newest of them, which is
  // taken to have happened `now`: the time without this process refills nothing, and no wall clock
  // is believed.
  void Restore(const std::vector<std::pair<std::string, absl::Duration>>& ages, MonoTime now);

  [[nodiscard]] int64_t in_window(MonoTime now);

 private:
  void Forget(MonoTime now);

  int64_t per_host_;
  int64_t per_vm_;
  std::deque<std::pair<MonoTime, std::string>> log_;  // oldest first
  std::map<std::string, int64_t> of_vm_;              // counts in log_
};

}  // namespace cloudscale::scaler
