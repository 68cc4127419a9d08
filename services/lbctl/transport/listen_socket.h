#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cloudscale::lbctl {

// An IP address with a port.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  // The address alone, in the form that the system prints.
  [[nodiscard]] std::string host() const;
  [[nodiscard]] int port() const;
};

// `127.0.0.1:80` or `[::1]:80`; names are not looked up. INVALID_ARGUMENT.
[[nodiscard]] absl::StatusOr<SocketAddress> ParseSocketAddress(absl::string_view text);

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { Reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.Release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = other.Release();
    }
    return *this;
  }
  [[nodiscard]] int get() const { return fd_; }
  void Reset();

 private:
  int Release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  int fd_;
};

// A bound, non-blocking socket; `type` SOCK_STREAM listens too. UNAVAILABLE when the address cannot
// be had.
[[nodiscard]] absl::StatusOr<Descriptor> OpenListenSocket(const SocketAddress& address, int type);

// Port that the socket is bound to.
[[nodiscard]] int BoundPort(const Descriptor& socket);

// An event that ends a `poll`. UNAVAILABLE without descriptors.
[[nodiscard]] absl::StatusOr<Descriptor> OpenWakeEvent();
void SetWakeEvent(const Descriptor& event);

}  // namespace cloudscale::lbctl
