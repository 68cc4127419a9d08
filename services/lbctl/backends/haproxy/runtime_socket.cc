#include "services/lbctl/backends/haproxy/runtime_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/macros.h"
#include "common/time/clock.h"

namespace cloudscale::lbctl {
namespace {

constexpr size_t kMaxAnswer = size_t{16} << 20;

absl::Status Failed(const std::string& path, absl::string_view doing, int error) {
  return absl::UnavailableError(absl::StrCat("haproxy socket '", path, "': ", doing,
                                             absl::ErrnoToStatus(error, "").message(), " (errno ",
                                             error, ")"));
}

// Waits until the socket can be read or written.
absl::Status Await(int fd, short events, const Clock& clock, MonoTime deadline,
                   const std::string& path) {
  while (true) {
    const absl::Duration left = deadline - clock.MonoNow();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(
          absl::StrCat("haproxy socket '", path, "' did not answer in time"));
    }
    pollfd waited{.fd = fd, .events = events, .revents = 0};
    const int ready = poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
    if (ready > 0) {
      return absl::OkStatus();
    }
    if (ready < 0 && errno != EINTR) {
      return Failed(path, "wait", errno);
    }
  }
}

}  // namespace

RuntimeSocket::RuntimeSocket(std::string path, absl::Duration timeout)
    : path_(std::move(path)), timeout_(timeout) {}

absl::StatusOr<std::string> RuntimeSocket::Ask(const std::string& command) const {
  return AskAll({command});
}

absl::StatusOr<std::string> RuntimeSocket::AskAll(const std::vector<std::string>& commands) const {
  for (const std::string& command : commands) {
    if (command.find_first_of(";\n\r") != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat("more than one command in '", command, "'"));
    }
  }
  return Exchange(absl::StrJoin(commands, ";"));
}

absl::StatusOr<std::string> RuntimeSocket::Exchange(const std::string& command) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("socket path '", path_, "' is too long"));
  }
  std::copy(path_.begin(), path_.end(), address.sun_path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return Failed(path_, "socket", errno);
  }
  const absl::Cleanup close_it = [fd] { close(fd); };
  const auto clock = MakeRealClock();
  const MonoTime deadline = clock->MonoNow() + timeout_;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Failed(path_, "connect", errno);
  }
  const std::string line = command + "\n";
  for (size_t sent = 0; sent < line.size();) {
    CS_RETURN_IF_ERROR(Await(fd, POLLOUT, *clock, deadline, path_));
    const ssize_t wrote = send(fd, line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (wrote < 0 && errno != EINTR && errno != EAGAIN) {
      return Failed(path_, "send", errno);
    }
    sent += wrote > 0 ? static_cast<size_t>(wrote) : 0;
  }
  std::string answer;
  std::array<char, 65536> buffer{};
  while (true) {
    CS_RETURN_IF_ERROR(Await(fd, POLLIN, *clock, deadline, path_));
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got == 0) {
      return answer;
    }
    if (got < 0 && errno != EINTR && errno != EAGAIN) {
      return Failed(path_, "receive", errno);
    }
    answer.append(buffer.data(), got > 0 ? static_cast<size_t>(got) : 0);
    if (answer.size() > kMaxAnswer) {
      return absl::ResourceExhaustedError(
          absl::StrCat("answer of haproxy to '", command, "' is over ", kMaxAnswer, " bytes"));
    }
  }
}

}  // namespace cloudscale::lbctl
