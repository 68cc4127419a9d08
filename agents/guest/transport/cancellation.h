#pragma once

#include <atomic>

#include "absl/status/status.h"

namespace cloudscale::guest {

// Waits for a file descriptor that another thread can end. Thread safety: `Cancel` from any
// thread, the rest from one.
class Cancellation {
 public:
  Cancellation();
  ~Cancellation();
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Ends the present wait and those to come. Idempotent.
  void Cancel();
  // Waits may begin again.
  void Reset();
  [[nodiscard]] bool is_cancelled() const { return is_cancelled_; }

  // Until one of `events` (as of poll) or an error of `fd` shows, told in `happened`. CANCELLED
  // after `Cancel`.
  absl::Status Wait(int fd, short events, short* happened);

 private:
  const int event_fd_;
  std::atomic<bool> is_cancelled_ = false;
};

}  // namespace cloudscale::guest
