#include "agents/guest/outbox.h"

#include <algorithm>
#include <utility>

#include "common/check/check.h"

namespace cloudscale::guest {

Outbox::Outbox(size_t capacity) : capacity_(capacity) { CS_CHECK(capacity > 0); }

void Outbox::Add(Report report) {
  CS_CHECK(waiting_.empty() || waiting_.back().sequence < report.sequence);
  if (waiting_.size() == capacity_) {
    waiting_.pop_front();
    ++dropped_count_;
  }
  waiting_.push_back(std::move(report));
}

std::vector<Report> Outbox::Oldest(size_t max_count) const {
  const size_t count = std::min(max_count, waiting_.size());
  return {waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count)};
}

size_t Outbox::Acknowledge(int64_t sequence) {
  size_t count = 0;
  while (!waiting_.empty() && waiting_.front().sequence <= sequence) {
    waiting_.pop_front();
    ++count;
  }
  return count;
}

}  // namespace cloudscale::guest
