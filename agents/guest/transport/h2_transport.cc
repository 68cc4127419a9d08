#include "agents/guest/transport/h2_transport.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agents/guest/transport/h2_stream.h"
#include "agents/guest/transport/report_codec.h"
#include "agents/guest/transport/socket_address.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

constexpr char kPath[] = "/cloudscale.guest.v1.GuestReportService/StreamReports";

absl::Status Lost(int error, absl::string_view what) {
  return absl::UnavailableError(absl::ErrnoToStatus(error, what).message());
}

// A transport's errors keep their code; that the peer ended the call in order is one too.
absl::Status WhyEnded(const absl::Status& status) {
  return status.ok() ? absl::UnavailableError("the monitor ended the stream") : status;
}

}  // namespace

// A connected socket and the call on it.
class H2Connection {
 public:
  H2Connection(int fd, const std::string& authority) : fd_(fd), call_(authority, kPath) {}
  ~H2Connection() { close(fd_); }
  H2Connection(const H2Connection&) = delete;
  H2Connection& operator=(const H2Connection&) = delete;

  H2Stream& call() { return call_; }

  // Sends and receives what can be without waiting. `wants_write` tells whether bytes are left.
  absl::Status Move(bool* wants_write) {
    CS_RETURN_IF_ERROR(Read());
    while (true) {
      const absl::string_view bytes = call_.Pending();
      *wants_write = !bytes.empty();
      if (bytes.empty()) {
        return absl::OkStatus();
      }
      const ssize_t count = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count < 0) {
        return errno == EAGAIN ? absl::OkStatus() : Lost(errno, "send");
      }
      call_.Sent(static_cast<size_t>(count));
    }
  }

  absl::Status Wait(bool wants_write, Cancellation& cancellation) {
    short happened = 0;
    return cancellation.Wait(fd_, static_cast<short>(wants_write ? POLLIN | POLLOUT : POLLIN),
                             &happened);
  }

 private:
  absl::Status Read() {
    std::array<char, 4096> buffer;
    while (true) {
      const ssize_t count = recv(fd_, buffer.data(), buffer.size(), 0);
      if (count < 0 && errno == EINTR) {
        continue;
      }
      if (count < 0) {
        return errno == EAGAIN ? absl::OkStatus() : Lost(errno, "receive");
      }
      if (count == 0) {
        return is_over() ? absl::OkStatus()
                         : absl::UnavailableError("the monitor closed the connection");
      }
      CS_RETURN_IF_ERROR(call_.Receive({buffer.data(), static_cast<size_t>(count)}));
      if (is_over()) {
        return absl::OkStatus();
      }
    }
  }
  bool is_over() const { return call_.ended().has_value(); }

  const int fd_;
  H2Stream call_;
};

H2Transport::H2Transport(Config config) : config_(std::move(config)) {}

H2Transport::~H2Transport() = default;

void H2Transport::Open() { cancellation_.Reset(); }

absl::Status H2Transport::Connect() {
  CS_ASSIGN_OR_RETURN(const SocketAddress address,
                      ResolveAddress(config_.address, config_.hosts_path));
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return Lost(errno, "socket");
  }
  // The peer is known by its socket's path to nobody, so any name will do.
  const bool is_local = address.storage.ss_family == AF_UNIX;
  auto connection = std::make_unique<H2Connection>(fd, is_local ? "localhost" : config_.address);
  const int on = 1;
  if (!is_local) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
    if (errno != EINPROGRESS) {
      return Lost(errno, absl::StrCat("connect to ", config_.address));
    }
    CS_RETURN_IF_ERROR(connection->Wait(true, cancellation_));
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
      return Lost(error, absl::StrCat("connect to ", config_.address));
    }
  }
  connection_ = std::move(connection);
  return absl::OkStatus();
}

absl::StatusOr<ReportAnswer> H2Transport::Exchange(const std::vector<Report>& reports) {
  if (connection_ == nullptr) {
    CS_RETURN_IF_ERROR(Connect());
  }
  H2Stream& call = connection_->call();
  call.Send(EncodeRequest(config_.vm_uuid, reports));
  while (true) {
    bool wants_write = false;
    CS_RETURN_IF_ERROR(connection_->Move(&wants_write));
    if (const std::optional<std::string> message = call.TakeMessage()) {
      return DecodeResponse(*message);
    }
    if (const std::optional<absl::Status> status = call.ended()) {
      return WhyEnded(*status);
    }
    CS_RETURN_IF_ERROR(connection_->Wait(wants_write, cancellation_));
  }
}

absl::Status H2Transport::Tend() {
  if (connection_ == nullptr) {
    return absl::OkStatus();
  }
  bool wants_write = false;
  CS_RETURN_IF_ERROR(connection_->Move(&wants_write));
  const std::optional<absl::Status> status = connection_->call().ended();
  return status.has_value() ? WhyEnded(*status) : absl::OkStatus();
}

void H2Transport::Close() {
  if (connection_ != nullptr) {
    connection_->call().Terminate();
    bool wants_write = false;
    // The peer learns it from the end of the connection at the latest.
    connection_->Move(&wants_write).IgnoreError();
    connection_.reset();
  }
}

}  // namespace cloudscale::guest
