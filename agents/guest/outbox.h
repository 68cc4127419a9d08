#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "agents/guest/report.h"

namespace cloudscale::guest {

// Reports that are not acknowledged yet, in order. Bounded: when full, the oldest is dropped and
// counted, for the newest says most. Thread safety: thread-compatible.
class Outbox {
 public:
  // `capacity` > 0.
  explicit Outbox(size_t capacity);

  // Sequences must rise.
  void Add(Report report);
  // The oldest `max_count` that are waiting; they stay until acknowledged.
  [[nodiscard]] std::vector<Report> Oldest(size_t max_count) const;
  // Forgets all up to `sequence`. A number that was never handed in forgets nothing newer than
  // what is here, so a wrong answer can do no more than lose reports. Returns how many went.
  size_t Acknowledge(int64_t sequence);

  [[nodiscard]] bool empty() const { return waiting_.empty(); }
  [[nodiscard]] size_t size() const { return waiting_.size(); }
  [[nodiscard]] int64_t dropped_count() const { return dropped_count_; }

 private:
  const size_t capacity_;
  std::deque<Report> waiting_;
  int64_t dropped_count_ = 0;
};

}  // namespace cloudscale::guest
