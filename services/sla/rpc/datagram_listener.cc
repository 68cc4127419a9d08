#include "services/sla/rpc/datagram_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/logging/log.h"

namespace cloudscale::sla {
namespace {

constexpr int kReceiveBufferBytes = 4 << 20;  // a burst of some ten thousand lines

struct Address {
  sockaddr_storage storage = {};
  socklen_t length = 0;
};

std::optional<Address> ParseUdp(absl::string_view text) {
  const size_t colon = text.rfind(':');
  uint32_t port = 0;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(colon + 1), &port) ||
      port > 65535) {
    return std::nullopt;
  }
  std::string host(text.substr(0, colon));
  Address out;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(static_cast<uint16_t>(port));
    out.length = sizeof(*in6);
    if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &in6->sin6_addr) != 1 ||
        !IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr)) {
      return std::nullopt;
    }
    return out;
  }
  auto* in = reinterpret_cast<sockaddr_in*>(&out.storage);
  in->sin_family = AF_INET;
  in->sin_port = htons(static_cast<uint16_t>(port));
  out.length = sizeof(*in);
  if (inet_pton(AF_INET, host.c_str(), &in->sin_addr) != 1 ||
      (ntohl(in->sin_addr.s_addr) >> 24) != 127) {
    return std::nullopt;
  }
  return out;
}

std::optional<Address> ParseUnix(absl::string_view path) {
  Address out;
  auto* un = reinterpret_cast<sockaddr_un*>(&out.storage);
  if (path.size() < 2 || path.front() != '/' || path.size() >= sizeof(un->sun_path) ||
      path.find('\0') != absl::string_view::npos) {
    return std::nullopt;
  }
  un->sun_family = AF_UNIX;
  path.copy(un->sun_path, path.size());
  out.length = sizeof(*un);
  return out;
}

bool IsPath(absl::string_view address) { return !address.empty() && address.front() == '/'; }

std::optional<Address> Parse(absl::string_view address) {
  return IsPath(address) ? ParseUnix(address) : ParseUdp(address);
}

absl::Status SystemError(absl::string_view what, const std::string& address) {
  return absl::UnavailableError(absl::StrCat(what, " ", address, ": ", std::strerror(errno)));
}

// Removes what a process that ended left behind, and nothing else.
absl::Status RemoveStale(const std::string& path, const Address& address, int fd) {
  struct stat found = {};
  if (lstat(path.c_str(), &found) != 0) {
    return absl::OkStatus();
  }
  if (!S_ISSOCK(found.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " exists and is no socket"));
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0) {
    return absl::FailedPreconditionError(absl::StrCat("another process listens on ", path));
  }
  if (unlink(path.c_str()) != 0) {
    return SystemError("cannot replace", path);
  }
  return absl::OkStatus();
}

// The address that a socket got.
std::string BoundAddress(int fd, const std::string& asked) {
  Address bound;
  bound.length = sizeof(bound.storage);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) != 0) {
    return asked;
  }
  const uint16_t port = bound.storage.ss_family == AF_INET6
                            ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                            : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port;
  return absl::StrCat(asked.substr(0, asked.rfind(':')), ":", ntohs(port));
}

}  // namespace

void RequireDatagramAddress(Violations& violations, absl::string_view field,
                            absl::string_view address) {
  if (!Parse(address).has_value()) {
    violations.Add(field, address,
                   "a loopback address and port, as 127.0.0.1:5514, or an absolute path of at most "
                   "107 characters");
  }
}

absl::StatusOr<std::unique_ptr<DatagramListener>> DatagramListener::Open(
    const std::string& address) {
  const std::optional<Address> parsed = Parse(address);
  if (!parsed.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("no address to listen on: ", address));
  }
  const int fd = socket(parsed->storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const std::string path = IsPath(address) ? address : std::string();
  absl::Status status =
      fd < 0 || wake < 0 ? SystemError("no socket for", address) : absl::OkStatus();
  if (status.ok() && !path.empty()) {
    // A connected socket cannot be bound any more, so another one knocks.
    const int probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    status = probe < 0 ? SystemError("no socket for", address) : RemoveStale(path, *parsed, probe);
    if (probe >= 0) {
      close(probe);
    }
  }
  if (status.ok()) {
    // Both are best effort: without them a burst is lost earlier, or uncounted.
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBufferBytes, sizeof(kReceiveBufferBytes));
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one));
    if (bind(fd, reinterpret_cast<const sockaddr*>(&parsed->storage), parsed->length) != 0) {
      status = SystemError("cannot listen on", address);
    }
  }
  if (!status.ok()) {
    for (const int open : {fd, wake}) {
      if (open >= 0) {
        close(open);
      }
    }
    return status;
  }
  return std::unique_ptr<DatagramListener>(
      new DatagramListener(fd, wake, path.empty() ? BoundAddress(fd, address) : address, path));
}

DatagramListener::~DatagramListener() {
  Stop();
  if (!path_.empty()) {
    unlink(path_.c_str());
  }
  close(socket_);
  close(wake_);
}

void DatagramListener::Start(Sink sink) {
  thread_ = std::jthread(
      [this, sink = std::move(sink)](const std::stop_token& stop) { Run(stop, sink); });
}

void DatagramListener::Stop() {
  if (!thread_.joinable()) {
    return;
  }
  thread_.request_stop();
  const uint64_t one = 1;
  // An eventfd takes a small number always.
  (void)!write(wake_, &one, sizeof(one));
  thread_.join();
}

bool DatagramListener::Receive(char* buffer, const Sink& sink) {
  iovec part = {.iov_base = buffer, .iov_len = kMaxBytes};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(uint32_t))> control;
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = recvmsg(socket_, &message, MSG_DONTWAIT);
  if (size < 0) {
    return errno == EINTR;
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
      uint32_t drops = 0;  // since the socket was made; wraps around
      std::memcpy(&drops, CMSG_DATA(c), sizeof(drops));
      dropped_ += drops - kernel_drops_;
      kernel_drops_ = drops;
    }
  }
  sink(absl::string_view(buffer, static_cast<size_t>(size)));
  return true;
}

void DatagramListener::Run(const std::stop_token& stop, const Sink& sink) {
  const auto buffer = std::make_unique<char[]>(kMaxBytes);
  std::array<pollfd, 2> waited = {{{.fd = socket_, .events = POLLIN, .revents = 0},
                                   {.fd = wake_, .events = POLLIN, .revents = 0}}};
  while (!stop.stop_requested()) {
    if (poll(waited.data(), waited.size(), -1) < 0 && errno != EINTR) {
      LogLine(LogLevel::kError, "datagram_listener_failed")
          .Field("address", address_)
          .Field("error", std::strerror(errno));
      return;
    }
    while (!stop.stop_requested() && Receive(buffer.get(), sink)) {
    }
  }
}

}  // namespace cloudscale::sla
