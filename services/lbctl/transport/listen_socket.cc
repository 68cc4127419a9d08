#include "services/lbctl/transport/listen_socket.h"

#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace cloudscale::lbctl {
namespace {

constexpr int kBacklog = 64;

absl::Status Failed(absl::string_view doing, int error) {
  return absl::UnavailableError(
      absl::StrCat(doing, absl::ErrnoToStatus(error, "").message(), " (errno ", error, ")"));
}

}  // namespace

std::string SocketAddress::host() const {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes =
      storage.ss_family == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr)
          : &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr;
  const char* printed = inet_ntop(storage.ss_family, bytes, text.data(), text.size());
  return printed == nullptr ? "" : printed;
}

int SocketAddress::port() const {
  return ntohs(storage.ss_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                   : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
}

absl::StatusOr<SocketAddress> ParseSocketAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  int port = -1;
  if (colon != absl::string_view::npos && absl::SimpleAtoi(text.substr(colon + 1), &port) &&
      port >= 0 && port <= 65535) {
    std::string host(text.substr(0, colon));
    SocketAddress out;
    if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
      host = host.substr(1, host.size() - 2);
      auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
      if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(static_cast<uint16_t>(port));
        out.length = sizeof(sockaddr_in6);
        return out;
      }
    } else {
      auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
      if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(static_cast<uint16_t>(port));
        out.length = sizeof(sockaddr_in);
        return out;
      }
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no IP address with port, such as 127.0.0.1:80 or [::1]:80"));
}

void Descriptor::Reset() {
  if (fd_ >= 0) {
    close(fd_);
    fd_ = -1;
  }
}

absl::StatusOr<Descriptor> OpenListenSocket(const SocketAddress& address, int type) {
  Descriptor out(socket(address.storage.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (out.get() < 0) {
    return Failed("socket", errno);
  }
  const int on = 1;
  if (type == SOCK_STREAM &&
      setsockopt(out.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return Failed("reuse address", errno);
  }
  const std::string where = absl::StrCat(address.host(), " port ", address.port());
  if (bind(out.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
    return Failed(absl::StrCat("bind to ", where), errno);
  }
  if (type == SOCK_STREAM && listen(out.get(), kBacklog) != 0) {
    return Failed(absl::StrCat("listen on ", where), errno);
  }
  return out;
}

int BoundPort(const Descriptor& socket) {
  SocketAddress bound;
  bound.length = sizeof(bound.storage);
  return getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) == 0
             ? bound.port()
             : 0;
}

absl::StatusOr<Descriptor> OpenWakeEvent() {
  Descriptor out(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (out.get() < 0) {
    return Failed("eventfd", errno);
  }
  return out;
}

void SetWakeEvent(const Descriptor& event) {
  const uint64_t one = 1;
  // Fails only when it is set already.
  [[maybe_unused]] const ssize_t written = write(event.get(), &one, sizeof(one));
}

}  // namespace cloudscale::lbctl
