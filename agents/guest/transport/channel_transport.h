#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agents/guest/report.h"
#include "agents/guest/transport/cancellation.h"
#include "agents/guest/transport/report_transport.h"
#include "common/framing/frame.h"
#include "common/random/rng.h"

namespace cloudscale::guest {

// Reports over a serial channel to the host, for guests without a network: a virtio-serial port, a
// Xen console, any terminal. Messages are frames (`common/framing`); answers to other
// conversations, as of an agent that was there before, are passed over. A port whose host side is
// closed is UNAVAILABLE and opened anew with the next stream. Thread safety: as `ReportTransport`.
class ChannelTransport final : public ReportTransport {
 public:
  // What fits into an answer; longer ones are garbage.
  static constexpr size_t kMaxAnswerBytes = 4096;

  struct Config {
    std::string device;  // as `FindDevice` takes it; looked for at each stream
    std::string vm_uuid;
    std::string sys_root = "/sys";
    std::string dev_root = "/dev";
  };

  ChannelTransport(Rng rng, Config config);
  ~ChannelTransport() override;

  void Open() override;
  absl::StatusOr<ReportAnswer> Exchange(const std::vector<Report>& reports) override;
  absl::Status Tend() override { return absl::OkStatus(); }
  void Close() override;
  void Cancel() override { cancellation_.Cancel(); }

 private:
  absl::Status OpenDevice();
  absl::Status WriteAll(absl::string_view bytes);
  absl::Status ReadSome();

  const Config config_;
  Rng rng_;
  Cancellation cancellation_;
  int fd_ = -1;
  uint32_t conversation_ = 0;
  uint32_t number_ = 0;
  FrameDecoder decoder_{kMaxAnswerBytes};
};

// The path of a device: `device` itself when it begins with "/", else that of the virtio port with
// this name. NOT_FOUND when there is none.
[[nodiscard]] absl::StatusOr<std::string> FindDevice(const std::string& device,
                                                     const std::string& sys_root,
                                                     const std::string& dev_root);

}  // namespace cloudscale::guest
