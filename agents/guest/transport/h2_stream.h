#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cloudscale::guest {

// One gRPC call of one connection, without any input or output: bytes go in and out. Thread
// safety: thread-compatible.
class H2Stream {
 public:
  // Longer messages of the peer end the call with RESOURCE_EXHAUSTED.
  static constexpr size_t kMaxMessageBytes = 4096;

  // `authority`: the peer's name; `path`: "/package.Service/Method".
  H2Stream(const std::string& authority, const std::string& path);
  ~H2Stream();
  H2Stream(const H2Stream&) = delete;
  H2Stream& operator=(const H2Stream&) = delete;

  // Sends one message. One at a time: the answer to the last must have been taken.
  void Send(absl::string_view message);
  // The peer's next message; nullopt when there is none yet.
  [[nodiscard]] std::optional<std::string> TakeMessage();
  // How the call ended; nullopt while it goes on. OK when the peer ended it without a fault.
  [[nodiscard]] std::optional<absl::Status> ended() const;

  // Bytes from the peer. An error is one of the protocol; the connection is then of no use.
  absl::Status Receive(absl::string_view bytes);
  // Bytes that the peer must get; what was sent of them is told to `Sent`.
  absl::string_view Pending();
  void Sent(size_t count) { out_.erase(0, count); }
  // Says good-bye; `Pending` then has the bytes for it.
  void Terminate();

 private:
  friend struct H2Callbacks;

  void OnHeader(absl::string_view name, absl::string_view value);
  void OnBody(absl::string_view bytes);
  void OnClosed(uint32_t error);

  nghttp2_session* session_ = nullptr;
  int32_t id_ = 0;
  std::string out_;      // serialised frames
  std::string message_;  // with its prefix, not yet taken by the session
  std::string body_;     // received and not yet taken
  int http_status_ = 0;
  std::optional<int> grpc_status_;
  std::string grpc_message_;
  bool is_closed_ = false;
  absl::Status fault_;
};

}  // namespace cloudscale::guest
