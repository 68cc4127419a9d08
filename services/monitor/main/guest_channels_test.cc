// Reports of guests over serial channels, with a unix socket in the hypervisor's place.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <string>

#include "common/framing/frame.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/monitor/main/component_fixture.h"
#include "services/monitor/main/monitor_config.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// The hypervisor's socket of one VM, and the guest behind it.
class GuestEnd {
 public:
  explicit GuestEnd(const std::string& path) : path_(path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
  }
  ~GuestEnd() {
    HangUp();
    close(listener_);
    unlink(path_.c_str());
  }

  // False when the monitor does not come.
  bool Accept() {
    if (!Wait(listener_)) {
      return false;
    }
    peer_ = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    decoder_.Reset();
    return peer_ >= 0;
  }
  void HangUp() {
    if (peer_ >= 0) {
      close(peer_);
      peer_ = -1;
    }
  }
  void Write(const std::string& bytes) {
    ASSERT_EQ(send(peer_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // As much as goes without waiting, up to `limit`.
  size_t WriteAtMost(const std::string& bytes, size_t limit) {
    size_t total = 0;
    while (total < limit) {
      const ssize_t count = send(peer_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count <= 0) {
        break;
      }
      total += static_cast<size_t>(count);
    }
    return total;
  }
  void Ask(uint32_t conversation, uint32_t number, const guest::v1::StreamReportsRequest& request) {
    Write(EncodeFrame({.kind = Frame::Kind::kRequest,
                       .conversation = conversation,
                       .number = number,
                       .payload = request.SerializeAsString()}));
  }
  std::optional<Frame> Answer() {
    while (true) {
      if (std::optional<Frame> frame = decoder_.Next()) {
        return frame;
      }
      std::array<char, 4096> buffer;
      const ssize_t count = Wait(peer_) ? read(peer_, buffer.data(), buffer.size()) : 0;
      if (count <= 0) {
        return std::nullopt;
      }
      decoder_.Add({buffer.data(), static_cast<size_t>(count)});
    }
  }
  guest::v1::StreamReportsResponse AskAndRead(const guest::v1::StreamReportsRequest& request) {
    Ask(7, ++number_, request);
    guest::v1::StreamReportsResponse response;
    const std::optional<Frame> frame = Answer();
    EXPECT_TRUE(frame.has_value() && response.ParseFromString(frame->payload));
    EXPECT_EQ(frame.value_or(Frame()).number, number_);
    return response;
  }

 private:
  static bool Wait(int fd) {
    pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&waiting, 1, 20'000) == 1;
  }

  const std::string path_;
  int listener_ = -1;
  int peer_ = -1;
  uint32_t number_ = 0;
  FrameDecoder decoder_{4096};
};

class GuestChannelsTest : public MonitorComponentTest {
 protected:
  GuestChannelsTest() {
    config_.mutable_guest_channels()->set_path_template(folder_.File("{uuid}.sock"));
    config_.mutable_guest_channels()->mutable_scan_period()->set_nanos(100'000'000);
  }
  std::string Path(int vm) { return folder_.File(Uuid(vm) + ".sock"); }
  v1::VmSample Latest(int vm) {
    v1::GetVmRequest get;
    get.set_vm_uuid(Uuid(vm));
    v1::GetVmResponse response;
    CS_EXPECT_OK(Call(&v1::MonitorService::Stub::GetVm, get, &response));
    return response.vm().latest();
  }
  static guest::v1::StreamReportsRequest Request(const guest::v1::GuestReport& report) {
    guest::v1::StreamReportsRequest request;
    *request.add_reports() = report;
    return request;
  }

  const cloudscale::testing::TempDir folder_;
  const std::unique_ptr<Clock> real_clock_ = MakeRealClock();
  config::v1::MonitorConfig config_;
};

TEST_F(GuestChannelsTest, AReportReachesTheNextSnapshotAndIsAnswered) {
  GuestEnd guest(Path(0));
  Start(config_);
  ASSERT_TRUE(guest.Accept());
  guest.Ask(9, 4, Request(Report(5)));
  const std::optional<Frame> frame = guest.Answer();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->kind, Frame::Kind::kAnswer);
  EXPECT_EQ(frame->conversation, 9U);
  EXPECT_EQ(frame->number, 4U);
  guest::v1::StreamReportsResponse response;
  ASSERT_TRUE(response.ParseFromString(frame->payload));
  EXPECT_EQ(response.acknowledged_sequence(), 5);
  EXPECT_EQ(response.period().seconds(), 1);
  Tick();
  EXPECT_EQ(Latest(0).memory_used_bytes(), 724 * kMiB) << "with 24 of its kernel";
  EXPECT_EQ(Latest(0).guest_source(), v1::GUEST_SOURCE_AGENT);
  EXPECT_EQ(Latest(1).guest_source(), v1::GUEST_SOURCE_BALLOON);
}

TEST_F(GuestChannelsTest, P8TheChannelSaysWhoSpeaks) {
  GuestEnd guest(Path(0));
  Start(config_);
  ASSERT_TRUE(guest.Accept());
  const guest::v1::StreamReportsResponse response = guest.AskAndRead(Request(Report(1, /*vm=*/1)));
  EXPECT_EQ(response.acknowledged_sequence(), 0);
  EXPECT_EQ(response.refused_count(), 1);
  EXPECT_EQ(metrics_.value("cloudscale_monitor_guest_refusals_total", {{"reason", "other_vm"}}), 1);
  Tick();
  EXPECT_EQ(Latest(1).guest_source(), v1::GUEST_SOURCE_BALLOON);
  // The VM's own word still counts.
  EXPECT_EQ(guest.AskAndRead(Request(Report(1))).acknowledged_sequence(), 1);
}

TEST_F(GuestChannelsTest, FindsItsWayBackAfterGarbageAndALostSocket) {
  GuestEnd guest(Path(0));
  Start(config_);
  ASSERT_TRUE(guest.Accept());
  guest.Write(
      "login: root\r\n\xC5"
      "CS\x01 and so on");
  guest.Write(EncodeFrame({.kind = Frame::Kind::kAnswer, .payload = "an echo"}));
  guest.Write(EncodeFrame({.kind = Frame::Kind::kRequest, .payload = "\xFF\xFF"}));
  EXPECT_EQ(guest.AskAndRead(Request(Report(1))).acknowledged_sequence(), 1);
  EXPECT_EQ(metrics_.value("cloudscale_monitor_guest_refusals_total", {{"reason", "invalid"}}), 1);
  EXPECT_TRUE(WaitUntil(
      [&] { return metrics_.value("cloudscale_monitor_guest_channel_garbage_bytes_total") > 0; }));
  guest.HangUp();
  ASSERT_TRUE(guest.Accept()) << "the monitor must come again";
  EXPECT_EQ(guest.AskAndRead(Request(Report(2))).acknowledged_sequence(), 2);
}

TEST_F(GuestChannelsTest, P8AFloodStaysInTheGuestsPipe) {
  GuestEnd guest(Path(0));
  GuestEnd calm(Path(1));
  Start(config_);
  ASSERT_TRUE(guest.Accept());
  ASSERT_TRUE(calm.Accept());
  // Never answered, so that the guest need not read.
  const std::string noise(16'384, 'x');
  constexpr size_t kTry = 64 << 20;
  size_t total = 0;
  const MonoTime end = real_clock_->MonoNow() + absl::Milliseconds(500);
  while (real_clock_->MonoNow() < end) {
    total += guest.WriteAtMost(noise, kTry);
  }
  // The burst, what half a second refills, and what the socket itself holds.
  EXPECT_LT(total, 2U << 20);
  EXPECT_EQ(calm.AskAndRead(Request(Report(1, /*vm=*/1))).acknowledged_sequence(), 1);
}

TEST_F(GuestChannelsTest, AGuestThatNeverReadsHoldsNobodyUp) {
  GuestEnd guest(Path(0));
  GuestEnd calm(Path(1));
  Start(config_);
  ASSERT_TRUE(guest.Accept());
  ASSERT_TRUE(calm.Accept());
  const std::string question = EncodeFrame(
      {.kind = Frame::Kind::kRequest, .payload = Request(Report(1)).SerializeAsString()});
  guest.WriteAtMost(question, 1 << 20);
  EXPECT_EQ(calm.AskAndRead(Request(Report(1, /*vm=*/1))).acknowledged_sequence(), 1);
  Shutdown();
}

TEST_F(GuestChannelsTest, AVmThatAppearsIsHeardAndOneThatGoesIsLetGo) {
  GuestEnd guest(Path(2));
  Start(config_);
  host_.SetVmCount(3);
  Tick();
  ASSERT_TRUE(guest.Accept());
  EXPECT_EQ(guest.AskAndRead(Request(Report(1, /*vm=*/2))).acknowledged_sequence(), 1);
  host_.SetVmCount(2);
  Tick();
  EXPECT_EQ(guest.Answer(), std::nullopt) << "closed by the monitor";
}

TEST_F(GuestChannelsTest, NoChannelsWhereGuestsAreNotListenedTo) {
  GuestEnd guest(Path(0));
  config_.mutable_guest_reports()->set_is_enabled(false);
  Start(config_);
  Shutdown();
  EXPECT_EQ(metrics_.value("cloudscale_monitor_guest_channels"), 0);
}

TEST(MonitorConfigTest, FaultsOfChannelsAreNamed) {
  config::v1::MonitorConfig config;
  config::v1::GuestChannelsConfig& channels = *config.mutable_guest_channels();
  channels.set_path_template("/run/agents/*.sock");
  channels.mutable_scan_period()->set_seconds(7200);
  channels.add_channels()->set_vm_uuid("nobody");
  for (int i = 0; i < 2; ++i) {
    channels.add_channels()->set_vm_uuid(Uuid(0));
    channels.mutable_channels(1 + i)->set_path("/run/a.sock");
  }
  Violations faults;
  ValidateMonitorConfig(config, "", faults);
  EXPECT_THAT(faults.ToStatus(), StatusIs(absl::StatusCode::kInvalidArgument,
                                          AllOf(HasSubstr("guest_channels.path_template"),
                                                HasSubstr("guest_channels.scan_period"),
                                                HasSubstr("guest_channels.channels[0].vm_uuid"),
                                                HasSubstr("guest_channels.channels[0].path"),
                                                HasSubstr("guest_channels.channels[2].vm_uuid"),
                                                HasSubstr("guest_channels.channels[2].path"))));
}

}  // namespace
}  // namespace cloudscale::monitor
