#include "agents/guest/transport/cancellation.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include "common/check/check.h"

namespace cloudscale::guest {

Cancellation::Cancellation() : event_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CS_CHECK(event_fd_ >= 0);
}

Cancellation::~Cancellation() { close(event_fd_); }

void Cancellation::Cancel() {
  is_cancelled_ = true;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the waiter is awake.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
}

void Cancellation::Reset() {
  is_cancelled_ = false;
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = read(event_fd_, &count, sizeof(count));
}

absl::Status Cancellation::Wait(int fd, short events, short* happened) {
  std::array<pollfd, 2> fds = {pollfd{.fd = fd, .events = events, .revents = 0},
                               pollfd{.fd = event_fd_, .events = POLLIN, .revents = 0}};
  while (!is_cancelled_) {
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
      return absl::ErrnoToStatus(errno, "poll");
    }
    if (fds[0].revents != 0) {
      *happened = fds[0].revents;
      return absl::OkStatus();
    }
  }
  return absl::CancelledError("given up");
}

}  // namespace cloudscale::guest
