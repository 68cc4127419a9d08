#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/status/violations.h"

namespace cloudscale::sla {

// Adds a fault below `field` unless `address` is `host:port` with a loopback address as host
// (`127.0.0.1:0`, `[::1]:5514`), or the absolute path of a Unix socket of at most 107 characters.
void RequireDatagramAddress(Violations& violations, absl::string_view field,
                            absl::string_view address);

// Takes datagrams on a socket of this machine and hands each to a function on its own thread.
// Nothing is ever answered. What comes faster than the function takes it is dropped by the kernel
// and, for UDP, counted.
// Thread safety: Start and Stop from one thread; the rest from any.
class DatagramListener {
 public:
  // Longer datagrams are cut.
  static constexpr size_t kMaxBytes = 16384;
  using Sink = std::function<void(absl::string_view datagram)>;

  // Binds; the address must be valid (`RequireDatagramAddress`). A Unix socket that nobody listens
  // to is replaced and removed again at the end; FAILED_PRECONDITION when somebody does or when the
  // path is no socket. UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<DatagramListener>> Open(const std::string& address);
  ~DatagramListener();

  void Start(Sink sink);
  // Idempotent.
  void Stop();

  // With the port in force.
  [[nodiscard]] const std::string& address() const { return address_; }
  // Datagrams that the kernel dropped since the start.
  [[nodiscard]] int64_t dropped_count() const { return dropped_; }

 private:
  DatagramListener(int socket_fd, int wake_fd, std::string address, std::string path)
      : socket_(socket_fd), wake_(wake_fd), address_(std::move(address)), path_(std::move(path)) {}
  void Run(const std::stop_token& stop, const Sink& sink);
  // False when none is there.
  bool Receive(char* buffer, const Sink& sink);

  const int socket_;
  const int wake_;  // made readable to end the thread
  const std::string address_;
  const std::string path_;  // of a Unix socket; else empty
  std::atomic<int64_t> dropped_ = 0;
  uint32_t kernel_drops_ = 0;  // of the thread
  std::jthread thread_;
};

}  // namespace cloudscale::sla
