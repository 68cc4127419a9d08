#include "agents/guest/transport/channel_transport.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agents/guest/transport/report_codec.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

absl::Status Lost(int error, absl::string_view what) {
  return absl::UnavailableError(absl::ErrnoToStatus(error, what).message());
}

absl::Status HostIsAway() {
  return absl::UnavailableError("the host does not hold the channel open");
}

// A terminal must pass every byte as it is. Others have nothing to set.
absl::Status MakeRaw(int fd) {
  termios settings{};
  if (isatty(fd) == 0) {
    return absl::OkStatus();
  }
  if (tcgetattr(fd, &settings) != 0) {
    return Lost(errno, "tcgetattr");
  }
  cfmakeraw(&settings);
  settings.c_cflag |= CLOCAL;
  return tcsetattr(fd, TCSANOW, &settings) == 0 ? absl::OkStatus() : Lost(errno, "tcsetattr");
}

}  // namespace

absl::StatusOr<std::string> FindDevice(const std::string& device, const std::string& sys_root,
                                       const std::string& dev_root) {
  if (device.front() == '/') {
    return device;
  }
  const std::string folder = absl::StrCat(sys_root, "/class/virtio-ports");
  std::set<std::string> found;
  if (DIR* entries = opendir(folder.c_str()); entries != nullptr) {
    while (const dirent* entry = readdir(entries)) {
      std::ifstream file(absl::StrCat(folder, "/", entry->d_name, "/name"));
      std::string name;
      if (std::getline(file, name) && absl::StripSuffix(name, "\n") == device) {
        found.insert(entry->d_name);
      }
    }
    closedir(entries);
  }
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat("no virtio port \"", device, "\" in ", folder));
  }
  return absl::StrCat(dev_root, "/", *found.begin());
}

ChannelTransport::ChannelTransport(Rng rng, Config config)
    : config_(std::move(config)), rng_(rng) {}

ChannelTransport::~ChannelTransport() { Close(); }

void ChannelTransport::Open() {
  cancellation_.Reset();
  conversation_ = static_cast<uint32_t>(rng_.Next());
  number_ = 0;
}

absl::Status ChannelTransport::OpenDevice() {
  CS_ASSIGN_OR_RETURN(const std::string path,
                      FindDevice(config_.device, config_.sys_root, config_.dev_root));
  fd_ = open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd_ < 0) {
    return Lost(errno, absl::StrCat("open ", path));
  }
  decoder_.Reset();
  return MakeRaw(fd_);
}

absl::StatusOr<ReportAnswer> ChannelTransport::Exchange(const std::vector<Report>& reports) {
  if (fd_ < 0) {
    CS_RETURN_IF_ERROR(OpenDevice());
  }
  ++number_;
  CS_RETURN_IF_ERROR(WriteAll(EncodeFrame({.kind = Frame::Kind::kRequest,
                                           .conversation = conversation_,
                                           .number = number_,
                                           .payload = EncodeRequest(config_.vm_uuid, reports)})));
  while (true) {
    CS_RETURN_IF_ERROR(ReadSome());
    while (const std::optional<Frame> frame = decoder_.Next()) {
      if (frame->kind == Frame::Kind::kAnswer && frame->conversation == conversation_ &&
          frame->number == number_) {
        return DecodeResponse(frame->payload);
      }
    }
  }
}

absl::Status ChannelTransport::WriteAll(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd_, bytes.data(), bytes.size());
    if (count > 0) {
      bytes.remove_prefix(static_cast<size_t>(count));
      continue;
    }
    if (count < 0 && errno != EAGAIN && errno != EINTR) {
      return Lost(errno, "write");
    }
    short happened = 0;
    CS_RETURN_IF_ERROR(cancellation_.Wait(fd_, POLLOUT, &happened));
    if ((happened & POLLOUT) == 0) {
      return HostIsAway();
    }
  }
  return absl::OkStatus();
}

// Waits for bytes and takes in what is there.
absl::Status ChannelTransport::ReadSome() {
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t count = read(fd_, buffer.data(), buffer.size());
    if (count > 0) {
      decoder_.Add({buffer.data(), static_cast<size_t>(count)});
      return absl::OkStatus();
    }
    if (count == 0) {
      return HostIsAway();
    }
    if (errno != EAGAIN && errno != EINTR) {
      return Lost(errno, "read");
    }
    short happened = 0;
    CS_RETURN_IF_ERROR(cancellation_.Wait(fd_, POLLIN, &happened));
    if ((happened & POLLIN) == 0) {
      return HostIsAway();
    }
  }
}

void ChannelTransport::Close() {
  if (fd_ >= 0) {
    close(fd_);
    fd_ = -1;
  }
}

}  // namespace cloudscale::guest
