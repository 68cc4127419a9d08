#include "services/monitor/rpc/guest_channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "cloudscale/guest/v1/guest_report_service.pb.h"
#include "common/status/macros.h"

namespace cloudscale::monitor {
namespace {

constexpr size_t kChunkBytes = 16384;

absl::Status Lost(int error, absl::string_view what) {
  return absl::UnavailableError(absl::ErrnoToStatus(error, what).message());
}

}  // namespace

absl::Status GuestChannel::Connect(MonoTime now) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a socket's path has at most ", sizeof(address.sun_path) - 1, " characters"));
  }
  std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) {
    return Lost(errno, "socket");
  }
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const absl::Status status = Lost(errno, absl::StrCat("connect to ", path_));
    Close();
    return status;
  }
  decoder_.Reset();
  out_.clear();
  // What was saved up before the connection was lost is not given again.
  budget_at_ = std::max(budget_at_, now);
  return absl::OkStatus();
}

void GuestChannel::Close() {
  if (fd_ >= 0) {
    close(fd_);
    fd_ = -1;
  }
}

short GuestChannel::events() const {
  if (!out_.empty()) {
    return POLLOUT;
  }
  return budget_bytes_ > 0 ? POLLIN : 0;
}

int64_t GuestChannel::TakeGarbageBytes() {
  const int64_t fresh = decoder_.garbage_bytes() - told_garbage_bytes_;
  told_garbage_bytes_ = decoder_.garbage_bytes();
  return fresh;
}

absl::Status GuestChannel::Move(MonoTime now) {
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(now - budget_at_));
  budget_bytes_ = std::min(kBurstBytes, budget_bytes_ + seconds * kBytesPerSecond);
  budget_at_ = std::max(budget_at_, now);
  CS_RETURN_IF_ERROR(Write());
  // A guest that does not read its answers is not heard further.
  if (!out_.empty() || budget_bytes_ <= 0) {
    return absl::OkStatus();
  }
  CS_RETURN_IF_ERROR(Read());
  while (out_.empty()) {
    const std::optional<Frame> frame = decoder_.Next();
    if (!frame.has_value()) {
      break;
    }
    Answer(*frame);
    CS_RETURN_IF_ERROR(Write());
  }
  return absl::OkStatus();
}

// One chunk: others want their turn.
absl::Status GuestChannel::Read() {
  std::array<char, kChunkBytes> buffer;
  const ssize_t count = recv(fd_, buffer.data(), buffer.size(), 0);
  if (count == 0) {
    return absl::UnavailableError("the hypervisor closed the channel");
  }
  if (count < 0) {
    return errno == EAGAIN || errno == EINTR ? absl::OkStatus() : Lost(errno, "receive");
  }
  budget_bytes_ -= static_cast<double>(count);
  decoder_.Add({buffer.data(), static_cast<size_t>(count)});
  return absl::OkStatus();
}

absl::Status GuestChannel::Write() {
  while (!out_.empty()) {
    const ssize_t count = send(fd_, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      out_.erase(0, static_cast<size_t>(count));
    } else if (errno != EINTR) {
      return errno == EAGAIN ? absl::OkStatus() : Lost(errno, "send");
    }
  }
  return absl::OkStatus();
}

void GuestChannel::Answer(const Frame& frame) {
  if (frame.kind != Frame::Kind::kRequest) {
    return;  // an echo
  }
  guest::v1::StreamReportsRequest request;
  guest::v1::StreamReportsResponse response;
  if (!request.ParseFromString(frame.payload)) {
    intake_.CountNonsense(vm_uuid_);
    return;
  }
  if (frame.conversation != conversation_) {
    conversation_ = frame.conversation;
    progress_ = {};
  }
  // What is wrong is told in the answer; a channel has no stream that could be ended.
  intake_.Take(vm_uuid_, request, progress_, &response).IgnoreError();
  out_ = EncodeFrame({.kind = Frame::Kind::kAnswer,
                      .conversation = frame.conversation,
                      .number = frame.number,
                      .payload = response.SerializeAsString()});
}

}  // namespace cloudscale::monitor
