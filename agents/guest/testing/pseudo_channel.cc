#include "agents/guest/testing/pseudo_channel.h"

#include <fcntl.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <array>

#include "common/check/check.h"

namespace cloudscale::guest::testing {

int PseudoChannel::OpenHostSide() {
  CloseHostSide();
  int guest_fd = -1;
  std::array<char, 64> name{};
  termios raw{};
  cfmakeraw(&raw);
  CS_CHECK(openpty(&host_fd_, &guest_fd, name.data(), &raw, nullptr) == 0);
  close(guest_fd);
  CS_CHECK(fcntl(host_fd_, F_SETFL, O_NONBLOCK) == 0);
  // Replaced in one step: the agent may be opening it.
  const std::string fresh = path_ + ".new";
  unlink(fresh.c_str());
  CS_CHECK(symlink(name.data(), fresh.c_str()) == 0 && rename(fresh.c_str(), path_.c_str()) == 0);
  return host_fd_;
}

void PseudoChannel::CloseHostSide() {
  if (host_fd_ >= 0) {
    close(host_fd_);
    host_fd_ = -1;
  }
}

}  // namespace cloudscale::guest::testing
