#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "common/framing/frame.h"
#include "common/time/clock.h"
#include "services/monitor/rpc/report_intake.h"

namespace cloudscale::monitor {

// The host's end of one guest's serial channel: the unix socket that the hypervisor serves for it.
// Whose socket it is was configured, so whatever comes in is that VM's word, and a report that
// names another VM is refused.
//
// Bounded: a frame holds at most 64 KiB, one answer waits to be sent, and no more than
// `kBytesPerSecond` are read after a burst: what a guest sends beyond that stays in its own pipe.
// Thread safety: thread-compatible.
class GuestChannel {
 public:
  static constexpr size_t kMaxPayloadBytes = size_t{64} * 1024;
  // A full message of 60 reports has about 20 KiB.
  static constexpr double kBytesPerSecond = 64.0 * 1024;
  static constexpr double kBurstBytes = 256.0 * 1024;

  GuestChannel(std::string vm_uuid, std::string path, ReportIntake& intake)
      : vm_uuid_(std::move(vm_uuid)), path_(std::move(path)), intake_(intake) {}
  ~GuestChannel() { Close(); }
  GuestChannel(const GuestChannel&) = delete;
  GuestChannel& operator=(const GuestChannel&) = delete;

  // UNAVAILABLE when nobody serves the socket.
  absl::Status Connect(MonoTime now);
  void Close();

  // Reads, answers and writes what can be without waiting. An error means that the socket is lost.
  absl::Status Move(MonoTime now);

  // For poll: the descriptor, negative when not connected; and what to wait for, 0 while the guest
  // has used up its bytes.
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] short events() const;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& vm_uuid() const { return vm_uuid_; }
  // Bytes that belonged to no frame, since the last call.
  [[nodiscard]] int64_t TakeGarbageBytes();

 private:
  absl::Status Read();
  absl::Status Write();
  void Answer(const Frame& frame);

  const std::string vm_uuid_;
  const std::string path_;
  ReportIntake& intake_;
  int fd_ = -1;
  FrameDecoder decoder_{kMaxPayloadBytes};
  int64_t told_garbage_bytes_ = 0;
  double budget_bytes_ = kBurstBytes;
  MonoTime budget_at_;
  std::string out_;
  uint32_t conversation_ = 0;
  ReportIntake::Progress progress_;
};

}  // namespace cloudscale::monitor
