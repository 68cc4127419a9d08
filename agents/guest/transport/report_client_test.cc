// The client over each transport: against a real gRPC server on a port that the system chooses, and
// over a pseudo terminal, so that a lost peer is really lost.
#include "agents/guest/transport/report_client.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agents/guest/testing/pseudo_channel.h"
#include "agents/guest/transport/channel_transport.h"
#include "agents/guest/transport/grpc_transport.h"
#include "agents/guest/transport/h2_transport.h"
#include "common/check/check.h"
#include "common/framing/frame.h"
#include "common/sync/mutex.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace cloudscale::guest {
namespace {

using guest::v1::StreamReportsRequest;
using guest::v1::StreamReportsResponse;
using ::testing::ElementsAre;

constexpr char kUuid[] = "9f8d5740-ca74-46de-a9d3-19b1732fe4d6";
constexpr absl::Duration kPatience = absl::Seconds(20);

// What the monitor does with one message.
struct Reaction {
  enum Kind { kAcknowledge, kIgnore, kBreak, kHang } kind = kAcknowledge;
};

// A monitor that follows a script, then acknowledges everything.
class ScriptedMonitor final : public guest::v1::GuestReportService::Service {
 public:
  explicit ScriptedMonitor(std::vector<Reaction::Kind> script = {})
      : script_(script.begin(), script.end()) {}

  grpc::Status StreamReports(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<StreamReportsResponse, StreamReportsRequest>* stream) override {
    StreamReportsRequest request;
    while (stream->Read(&request)) {
      StreamReportsResponse response;
      const Reaction::Kind kind = Take(request, response);
      if (kind == Reaction::kBreak) {
        return grpc::Status(grpc::StatusCode::ABORTED, "scripted");
      }
      if (kind == Reaction::kHang) {
        MutexLock lock(&mutex_);
        while (!context->IsCancelled()) {
          changed_.WaitFor(&mutex_, absl::Milliseconds(10), std::stop_token());
        }
        return grpc::Status::CANCELLED;
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  // The same over a channel: until the peer breaks, or the script says so.
  void Serve(int fd, std::stop_token stop) {
    FrameDecoder decoder(size_t{64} * 1024);
    while (!stop.stop_requested()) {
      std::array<char, 1024> buffer;
      pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
      // A guest that does not hold the channel open shows as a hang-up that lasts.
      if (poll(&waiting, 1, 10) <= 0 || (waiting.revents & POLLIN) == 0) {
        std::this_thread::yield();
        continue;
      }
      const ssize_t count = read(fd, buffer.data(), buffer.size());
      if (count <= 0) {
        continue;
      }
      decoder.Add({buffer.data(), static_cast<size_t>(count)});
      while (const std::optional<Frame> frame = decoder.Next()) {
        StreamReportsRequest request;
        StreamReportsResponse response;
        CS_CHECK(request.ParseFromString(frame->payload));
        const Reaction::Kind kind = Take(request, response);
        if (kind == Reaction::kBreak) {
          return;
        }
        if (kind == Reaction::kHang) {
          continue;
        }
        // Stale and garbled bytes come first, as after a client that left.
        Frame answer{.kind = Frame::Kind::kAnswer,
                     .conversation = frame->conversation + 1,
                     .number = frame->number,
                     .payload = "stale"};
        std::string bytes = "noise" + EncodeFrame(answer) + EncodeFrame(*frame);
        answer.conversation = frame->conversation;
        answer.payload = response.SerializeAsString();
        bytes += EncodeFrame(answer);
        CS_CHECK(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
      }
    }
  }

  // Sequences of each message so far.
  std::vector<std::vector<int64_t>> messages() const {
    MutexLock lock(&mutex_);
    return messages_;
  }
  guest::v1::GuestReport last_report() const {
    MutexLock lock(&mutex_);
    return last_report_;
  }
  bool WaitForMessages(size_t count) {
    MutexLock lock(&mutex_);
    const std::unique_ptr<Clock> clock = MakeRealClock();
    const MonoTime deadline = clock->MonoNow() + kPatience;
    while (messages_.size() < count && clock->MonoNow() < deadline) {
      changed_.WaitFor(&mutex_, deadline - clock->MonoNow(), std::stop_token());
    }
    return messages_.size() >= count;
  }

 private:
  Reaction::Kind Take(const StreamReportsRequest& request, StreamReportsResponse& response) {
    const Reaction::Kind kind = Note(request);
    response.mutable_period()->set_seconds(3);
    if (kind == Reaction::kAcknowledge) {
      response.set_acknowledged_sequence(request.reports().rbegin()->sequence());
    }
    return kind;
  }
  Reaction::Kind Note(const StreamReportsRequest& request) {
    MutexLock lock(&mutex_);
    std::vector<int64_t>& sequences = messages_.emplace_back();
    for (const guest::v1::GuestReport& report : request.reports()) {
      sequences.push_back(report.sequence());
      last_report_ = report;
    }
    changed_.NotifyAll();
    if (script_.empty()) {
      return Reaction::kAcknowledge;
    }
    const Reaction::Kind kind = script_.front();
    script_.pop_front();
    return kind;
  }

  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<Reaction::Kind> script_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::vector<int64_t>> messages_ ABSL_GUARDED_BY(mutex_);
  guest::v1::GuestReport last_report_ ABSL_GUARDED_BY(mutex_);
};

enum class Way { kGrpc, kH2, kChannel };

class ReportClientTest : public ::testing::TestWithParam<Way> {
 protected:
  ~ReportClientTest() override {
    if (client_ != nullptr) {
      client_->Stop();
    }
    StopServer();
  }

  // The monitor lives as long as the fixture: the server's threads may still be in it when the
  // test's body ends.
  ScriptedMonitor& StartServer(std::vector<Reaction::Kind> script = {}) {
    monitors_.push_back(std::make_unique<ScriptedMonitor>(std::move(script)));
    if (GetParam() == Way::kChannel) {
      const int first_fd = channel_.OpenHostSide();
      channel_host_ = std::jthread([this, first_fd](std::stop_token stop) {
        // A break of the script is one of the host's side.
        for (int fd = first_fd; !stop.stop_requested(); fd = channel_.OpenHostSide()) {
          monitors_.back()->Serve(fd, stop);
          channel_.CloseHostSide();
        }
        channel_.CloseHostSide();
      });
      return *monitors_.back();
    }
    grpc::ServerBuilder builder;
    int port = port_;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_), grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(monitors_.back().get());
    server_ = builder.BuildAndStart();
    CS_CHECK(server_ != nullptr);
    port_ = port;
    return *monitors_.back();
  }
  void StopServer() {
    if (channel_host_.joinable()) {
      channel_host_ = std::jthread();
    }
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::time_point());
      server_->Wait();
      server_.reset();
    }
  }
  void StartClient(int64_t buffer_reports = 60, absl::Duration answer_timeout = absl::Seconds(10)) {
    client_ = std::make_unique<ReportClient>(
        *clock_, Rng(1), MakeTransport(),
        ReportClient::Config{
            .vm_uuid = kUuid,
            .buffer_reports = buffer_reports,
            .backoff = {.initial = absl::Milliseconds(10), .max = absl::Milliseconds(100)},
            .answer_timeout = answer_timeout});
    client_->Start();
  }
  std::unique_ptr<ReportTransport> MakeTransport() {
    const std::string address = absl::StrCat("127.0.0.1:", port_);
    if (GetParam() == Way::kChannel) {
      return std::make_unique<ChannelTransport>(
          Rng(2), ChannelTransport::Config{.device = channel_.path(), .vm_uuid = kUuid});
    }
    if (GetParam() == Way::kH2) {
      return std::make_unique<H2Transport>(
          H2Transport::Config{.address = address, .vm_uuid = kUuid});
    }
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    return std::make_unique<GrpcTransport>(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments), kUuid);
  }
  void Submit(int64_t sequence) {
    Report report;
    report.sequence = sequence;
    report.boot_id = kUuid;
    report.memory.total_bytes = 1000;
    report.memory.available_bytes = 0;
    client_->Submit(std::move(report));
  }
  // Until the client's numbers satisfy `condition`.
  bool WaitFor(const std::function<bool(const ReportClient::Stats&)>& condition) {
    const MonoTime deadline = clock_->MonoNow() + kPatience;
    while (!condition(client_->stats())) {
      if (clock_->MonoNow() > deadline) {
        return false;
      }
      clock_->SleepUntil(clock_->MonoNow() + absl::Milliseconds(2), std::stop_token());
    }
    return true;
  }
  bool WaitUntilAcknowledged(int64_t count) {
    return WaitFor([=](const auto& stats) { return stats.acknowledged_reports >= count; });
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  int port_ = 0;
  std::vector<std::unique_ptr<ScriptedMonitor>> monitors_;
  std::unique_ptr<grpc::Server> server_;
  const cloudscale::testing::TempDir folder_;
  testing::PseudoChannel channel_{folder_.File("channel")};
  std::jthread channel_host_;
  std::unique_ptr<ReportClient> client_;
};

TEST_P(ReportClientTest, DeliversInOrderAndTakesThePeriod) {
  ScriptedMonitor& monitor = StartServer();
  StartClient();
  for (int64_t i = 1; i <= 3; ++i) {
    Submit(i);
    ASSERT_TRUE(WaitUntilAcknowledged(i));
  }
  EXPECT_THAT(monitor.messages(), ElementsAre(ElementsAre(1), ElementsAre(2), ElementsAre(3)));
  EXPECT_EQ(client_->wanted_period(), absl::Seconds(3));
  EXPECT_EQ(client_->stats().waiting_reports, 0);
  EXPECT_EQ(client_->stats().streams, 1);
  EXPECT_EQ(monitor.last_report().vm_uuid(), kUuid);
  EXPECT_TRUE(monitor.last_report().has_memory_available_bytes());  // zero is not absent
  EXPECT_FALSE(monitor.last_report().has_memory_free_bytes());
}

TEST_P(ReportClientTest, SendsUnacknowledgedReportsAgainOnTheNextStream) {
  ScriptedMonitor& monitor = StartServer({Reaction::kAcknowledge, Reaction::kBreak});
  StartClient();
  Submit(1);
  ASSERT_TRUE(WaitUntilAcknowledged(1));
  Submit(2);
  ASSERT_TRUE(WaitUntilAcknowledged(2));
  EXPECT_THAT(monitor.messages(), ElementsAre(ElementsAre(1), ElementsAre(2), ElementsAre(2)));
  EXPECT_GE(client_->stats().streams, 2);
}

TEST_P(ReportClientTest, SendsAgainWhatTheMonitorDidNotAcknowledge) {
  ScriptedMonitor& monitor = StartServer({Reaction::kIgnore, Reaction::kIgnore});
  StartClient();
  Submit(1);
  ASSERT_TRUE(WaitUntilAcknowledged(1));
  EXPECT_THAT(monitor.messages(), ElementsAre(ElementsAre(1), ElementsAre(1), ElementsAre(1)));
  EXPECT_EQ(client_->stats().streams, 1);
}

TEST_P(ReportClientTest, WhileTheMonitorIsAwayTheNewestAreKeptAndTheRestCounted) {
  StartServer();
  StartClient(/*buffer_reports=*/5);
  Submit(1);
  ASSERT_TRUE(WaitUntilAcknowledged(1));
  StopServer();
  for (int64_t i = 2; i <= 9; ++i) {
    Submit(i);
  }
  EXPECT_EQ(client_->stats().waiting_reports, 5);
  EXPECT_EQ(client_->stats().dropped_reports, 3);
  ASSERT_TRUE(WaitFor([](const auto& stats) { return !stats.last_error.ok(); }));

  ScriptedMonitor& second = StartServer();
  ASSERT_TRUE(WaitUntilAcknowledged(6));
  EXPECT_THAT(second.messages(), ElementsAre(ElementsAre(5, 6, 7, 8, 9)));
}

TEST_P(ReportClientTest, NeverMoreThanSixtyReportsInAMessage) {
  ScriptedMonitor& monitor = StartServer({Reaction::kBreak});
  StartClient(/*buffer_reports=*/200);
  for (int64_t i = 1; i <= 150; ++i) {
    Submit(i);
  }
  ASSERT_TRUE(WaitUntilAcknowledged(150));
  for (const std::vector<int64_t>& message : monitor.messages()) {
    EXPECT_LE(message.size(), 60U);
  }
}

TEST_P(ReportClientTest, GivesUpAStreamThatDoesNotAnswer) {
  ScriptedMonitor& monitor = StartServer({Reaction::kHang});
  StartClient(/*buffer_reports=*/60, /*answer_timeout=*/absl::Milliseconds(50));
  Submit(1);
  ASSERT_TRUE(monitor.WaitForMessages(1));
  int64_t next = 2;
  ASSERT_TRUE(WaitFor([&](const auto& stats) {
    Submit(next++);
    return stats.acknowledged_reports > 0;
  }));
  EXPECT_GE(client_->stats().streams, 2);
  EXPECT_EQ(monitor.messages()[1][0], 1);
}

TEST_P(ReportClientTest, StopsAtOnceEvenWhenTheMonitorHangs) {
  ScriptedMonitor& monitor = StartServer({Reaction::kHang});
  StartClient();
  Submit(1);
  ASSERT_TRUE(monitor.WaitForMessages(1));
  const MonoTime start = clock_->MonoNow();
  client_->Stop();
  EXPECT_LT(clock_->MonoNow() - start, absl::Seconds(5));
}

TEST_P(ReportClientTest, StopsWhenNobodyListens) {
  port_ = 1;
  StartClient();
  Submit(1);
  ASSERT_TRUE(WaitFor([](const auto& stats) { return stats.streams >= 2; }));
  client_->Stop();
  EXPECT_EQ(client_->stats().acknowledged_reports, 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, ReportClientTest,
                         ::testing::Values(Way::kGrpc, Way::kH2, Way::kChannel),
                         [](const ::testing::TestParamInfo<Way>& tested) {
                           return tested.param == Way::kGrpc ? "Grpc"
                                  : tested.param == Way::kH2 ? "H2"
                                                             : "Channel";
                         });

}  // namespace
}  // namespace cloudscale::guest
