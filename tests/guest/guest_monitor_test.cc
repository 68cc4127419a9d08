// What the guest agent sends, honest or not, through the agent's own transports to the monitor's
// own handlers: HTTP/2 to its gRPC server, and frames over a terminal and a unix socket, as a
// hypervisor carries them.

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "agents/guest/testing/pseudo_channel.h"
#include "agents/guest/transport/channel_transport.h"
#include "agents/guest/transport/h2_transport.h"
#include "agents/guest/transport/report_client.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/monitor/guest_reports.h"
#include "services/monitor/main/component_fixture.h"

namespace cloudscale::monitor {
namespace {

// Carries bytes between the terminal of the guest and the unix socket of the host, as QEMU does.
class FakeHypervisor {
 public:
  FakeHypervisor(guest::testing::PseudoChannel& channel, const std::string& socket_path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    guest_ = channel.OpenHostSide();
    thread_ = std::jthread([this](std::stop_token stop) { Carry(stop); });
  }
  ~FakeHypervisor() {
    thread_ = std::jthread();
    close(listener_);
    if (peer_ >= 0) {
      close(peer_);
    }
  }

 private:
  void Carry(std::stop_token stop) {
    while (!stop.stop_requested()) {
      std::array<pollfd, 2> fds = {
          pollfd{.fd = peer_ >= 0 ? peer_ : listener_, .events = POLLIN, .revents = 0},
          pollfd{.fd = guest_, .events = POLLIN, .revents = 0}};
      poll(fds.data(), fds.size(), 5);
      if (peer_ < 0 && fds[0].revents != 0) {
        peer_ = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      } else if (fds[0].revents != 0) {
        Copy(peer_, guest_);
      }
      if (peer_ >= 0 && (fds[1].revents & POLLIN) != 0) {
        Copy(guest_, peer_);
      }
    }
  }
  static void Copy(int from, int to) {
    std::array<char, 512> buffer;
    const ssize_t count = read(from, buffer.data(), buffer.size());
    for (ssize_t sent = 0; sent < count;) {
      const ssize_t more = write(to, buffer.data() + sent, static_cast<size_t>(count - sent));
      sent += std::max<ssize_t>(more, 0);
    }
  }

  int listener_ = -1;
  int guest_ = -1;
  int peer_ = -1;
  std::jthread thread_;
};

enum class Way { kH2, kChannel };

class GuestMonitorTest : public MonitorComponentTest, public ::testing::WithParamInterface<Way> {
 protected:
  ~GuestMonitorTest() override {
    client_.reset();
    Shutdown();
  }

  // The agent of VM 0, which calls itself `vm_uuid`.
  void StartAgent(const std::string& vm_uuid = Uuid(0), Way way = GetParam()) {
    config::v1::MonitorConfig config;
    if (way == Way::kChannel) {
      config.mutable_guest_channels()->set_path_template(folder_.File("{uuid}.sock"));
      config.mutable_guest_channels()->mutable_scan_period()->set_nanos(100'000'000);
      hypervisor_ = std::make_unique<FakeHypervisor>(channel_, folder_.File(Uuid(0) + ".sock"));
    }
    Start(config);
    std::unique_ptr<guest::ReportTransport> transport;
    if (way == Way::kH2) {
      transport = std::make_unique<guest::H2Transport>(
          guest::H2Transport::Config{.address = address_, .vm_uuid = vm_uuid});
    } else {
      transport = std::make_unique<guest::ChannelTransport>(
          Rng(1), guest::ChannelTransport::Config{.device = channel_.path(), .vm_uuid = vm_uuid});
    }
    client_ = std::make_unique<guest::ReportClient>(
        *real_clock_, Rng(2), std::move(transport),
        guest::ReportClient::Config{
            .vm_uuid = vm_uuid,
            .buffer_reports = 600,
            .backoff = {.initial = absl::Milliseconds(10), .max = absl::Milliseconds(50)}});
    client_->Start();
  }
  guest::Report Honest() {
    guest::Report report;
    report.boot_id = "0af0f7a5-1d0e-4a1b-9d57-3f6e9f0c6a11";
    report.sequence = ++sequence_;
    report.sample_time = clock_.WallNow();
    report.uptime = absl::Seconds(sequence_);
    report.memory.total_bytes = 1000 * kMiB;
    report.memory.available_bytes = 300 * kMiB;
    return report;
  }
  // Sends it and lets the monitor sample.
  v1::VmSample SampleWith(const guest::Report& report) {
    client_->Submit(report);
    const int64_t acknowledged = ++expected_acknowledged_;
    EXPECT_TRUE(WaitUntil([&] { return client_->stats().acknowledged_reports >= acknowledged; }));
    Tick();
    return Latest(0);
  }
  v1::VmSample Latest(int vm) {
    v1::GetVmRequest get;
    get.set_vm_uuid(Uuid(vm));
    v1::GetVmResponse response;
    CS_EXPECT_OK(Call(&v1::MonitorService::Stub::GetVm, get, &response));
    return response.vm().latest();
  }
  double Refusals(const char* reason) {
    return metrics_.value("cloudscale_monitor_guest_refusals_total", {{"reason", reason}});
  }

  const std::unique_ptr<Clock> real_clock_ = MakeRealClock();
  const cloudscale::testing::TempDir folder_;
  guest::testing::PseudoChannel channel_{folder_.File("channel")};
  std::unique_ptr<FakeHypervisor> hypervisor_;
  std::unique_ptr<guest::ReportClient> client_;
  int64_t sequence_ = 0;
  int64_t expected_acknowledged_ = 0;
};

TEST_P(GuestMonitorTest, AnHonestReportIsUsed) {
  StartAgent();
  SampleWith(Honest());
  const v1::VmSample sample = SampleWith(Honest());
  EXPECT_EQ(sample.guest_source(), v1::GUEST_SOURCE_AGENT);
  EXPECT_EQ(sample.memory_used_bytes(), 724 * kMiB) << "with 24 of its kernel";
  EXPECT_EQ(sample.memory_quality(), common::v1::SAMPLE_QUALITY_FRESH);
  EXPECT_EQ(client_->wanted_period(), absl::Seconds(1));
}

TEST_P(GuestMonitorTest, P8ImpossibleNumbersAreRefusedAndTheHypervisorsStay) {
  StartAgent();
  guest::Report lie = Honest();
  lie.memory.available_bytes = lie.memory.total_bytes + 1;
  SampleWith(lie);
  lie = Honest();
  lie.memory.free_bytes = -1;
  SampleWith(lie);
  lie = Honest();
  lie.cpu_steal_ratio = 1e9;
  const v1::VmSample sample = SampleWith(lie);
  EXPECT_EQ(Refusals("invalid"), 3);
  EXPECT_EQ(sample.guest_source(), v1::GUEST_SOURCE_BALLOON) << "so nothing shrinks on it";
  EXPECT_EQ(sample.memory_used_bytes(), 256 * kMiB);
}

TEST_P(GuestMonitorTest, P8MoreMemoryThanTheVmCanHaveMarksTheSampleImpossible) {
  StartAgent();
  guest::Report lie = Honest();
  lie.memory.total_bytes = int64_t{1} << 40;
  lie.memory.available_bytes = int64_t{1} << 39;
  SampleWith(lie);
  const v1::VmSample sample = Latest(0);
  EXPECT_EQ(sample.memory_quality(), common::v1::SAMPLE_QUALITY_IMPOSSIBLE);
  EXPECT_FALSE(sample.has_memory_used_bytes());
  EXPECT_GE(metrics_.value("cloudscale_monitor_refuted_guest_samples_total"), 1);
  EXPECT_EQ(Latest(1).memory_quality(), common::v1::SAMPLE_QUALITY_FRESH);
}

TEST_P(GuestMonitorTest, P8AClockThatIsFarOffMarksTheSample) {
  StartAgent();
  SampleWith(Honest());
  guest::Report report = Honest();
  report.sample_time += absl::Hours(1);
  EXPECT_EQ(SampleWith(report).memory_quality(), common::v1::SAMPLE_QUALITY_SKEWED);
  report = Honest();
  report.sample_time = absl::UnixEpoch();
  EXPECT_EQ(SampleWith(report).memory_quality(), common::v1::SAMPLE_QUALITY_SKEWED);
}

TEST_P(GuestMonitorTest, P8AFloodIsCutToTheRateAndOthersAreHeard) {
  StartAgent();
  for (int i = 0; i < 600; ++i) {
    client_->Submit(Honest());
  }
  ASSERT_TRUE(WaitUntil([&] { return client_->stats().waiting_reports == 0; }));
  EXPECT_EQ(metrics_.value("cloudscale_monitor_guest_reports_total", {{"result", "taken"}}),
            GuestReportStore::kBurstReports);
  EXPECT_EQ(Refusals("flood"), 600 - GuestReportStore::kBurstReports);
  Tick();
  EXPECT_EQ(Latest(1).memory_quality(), common::v1::SAMPLE_QUALITY_FRESH);
}

INSTANTIATE_TEST_SUITE_P(Ways, GuestMonitorTest, ::testing::Values(Way::kH2, Way::kChannel),
                         [](const ::testing::TestParamInfo<Way>& tested) {
                           return tested.param == Way::kH2 ? "H2" : "Channel";
                         });

// Over gRPC a stream is bound to the VM of its certificate, or to that of its first report:
// guest_stream_test.cc.
class ImpostorTest : public GuestMonitorTest {};

TEST_P(ImpostorTest, P8AnotherVmsNameIsRefusedAndCounted) {
  StartAgent(Uuid(1));
  client_->Submit(Honest());
  ASSERT_TRUE(WaitUntil([&] { return Refusals("other_vm") >= 2; })) << "it tries again, slowly";
  EXPECT_EQ(client_->stats().acknowledged_reports, 0);
  Tick();
  EXPECT_EQ(Latest(1).guest_source(), v1::GUEST_SOURCE_BALLOON);
  EXPECT_EQ(Latest(0).guest_source(), v1::GUEST_SOURCE_BALLOON);
}

INSTANTIATE_TEST_SUITE_P(Ways, ImpostorTest, ::testing::Values(Way::kChannel));

}  // namespace
}  // namespace cloudscale::monitor
