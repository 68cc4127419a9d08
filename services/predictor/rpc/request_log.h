#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/time/clock.h"

namespace cloudscale::predictor {

// Answers by request id, so that a repeated request does nothing twice. Kept for an hour, at most
// `kCapacity`; the oldest makes room. Thread safety: thread-compatible.
template <typename Answer>
class RequestLog {
 public:
  static constexpr size_t kCapacity = 4096;
  static constexpr absl::Duration kKept = absl::Hours(1);

  [[nodiscard]] std::optional<Answer> Find(const std::string& request_id, MonoTime now) {
    while (!order_.empty() && (now - order_.front().first > kKept || order_.size() > kCapacity)) {
      answers_.erase(order_.front().second);
      order_.pop_front();
    }
    const auto it = answers_.find(request_id);
    return it == answers_.end() ? std::nullopt : std::make_optional(it->second);
  }

  void Add(const std::string& request_id, const Answer& answer, MonoTime now) {
    if (answers_.emplace(request_id, answer).second) {
      order_.emplace_back(now, request_id);
    }
  }

 private:
  std::map<std::string, Answer> answers_;
  std::deque<std::pair<MonoTime, std::string>> order_;
};

}  // namespace cloudscale::predictor
