// The client against a real gRPC server on a port that the system chooses, so that a lost peer is
// really lost.
#include "agents/guest/transport/report_client.h"

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/check/check.h"
#include "common/sync/mutex.h"
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
      const Reaction::Kind kind = Take(request);
      StreamReportsResponse response;
      response.mutable_period()->set_seconds(3);
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
      if (kind == Reaction::kAcknowledge) {
        response.set_acknowledged_sequence(request.reports().rbegin()->sequence());
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
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
  Reaction::Kind Take(const StreamReportsRequest& request) {
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

class ReportClientTest : public ::testing::Test {
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
    if (server_ != nullptr) {
      server_->Shutdown(std::chrono::system_clock::time_point());
      server_->Wait();
      server_.reset();
    }
  }
  void StartClient(int64_t buffer_reports = 60, absl::Duration answer_timeout = absl::Seconds(10)) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    client_ = std::make_unique<ReportClient>(
        *clock_, Rng(1),
        grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port_),
                                  grpc::InsecureChannelCredentials(), arguments),
        ReportClient::Config{
            .vm_uuid = kUuid,
            .buffer_reports = buffer_reports,
            .backoff = {.initial = absl::Milliseconds(10), .max = absl::Milliseconds(100)},
            .answer_timeout = answer_timeout});
    client_->Start();
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
  std::unique_ptr<ReportClient> client_;
};

TEST_F(ReportClientTest, DeliversInOrderAndTakesThePeriod) {
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

TEST_F(ReportClientTest, SendsUnacknowledgedReportsAgainOnTheNextStream) {
  ScriptedMonitor& monitor = StartServer({Reaction::kAcknowledge, Reaction::kBreak});
  StartClient();
  Submit(1);
  ASSERT_TRUE(WaitUntilAcknowledged(1));
  Submit(2);
  ASSERT_TRUE(WaitUntilAcknowledged(2));
  EXPECT_THAT(monitor.messages(), ElementsAre(ElementsAre(1), ElementsAre(2), ElementsAre(2)));
  EXPECT_EQ(client_->stats().streams, 2);
}

TEST_F(ReportClientTest, SendsAgainWhatTheMonitorDidNotAcknowledge) {
  ScriptedMonitor& monitor = StartServer({Reaction::kIgnore, Reaction::kIgnore});
  StartClient();
  Submit(1);
  ASSERT_TRUE(WaitUntilAcknowledged(1));
  EXPECT_THAT(monitor.messages(), ElementsAre(ElementsAre(1), ElementsAre(1), ElementsAre(1)));
  EXPECT_EQ(client_->stats().streams, 1);
}

TEST_F(ReportClientTest, WhileTheMonitorIsAwayTheNewestAreKeptAndTheRestCounted) {
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

TEST_F(ReportClientTest, NeverMoreThanSixtyReportsInAMessage) {
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

TEST_F(ReportClientTest, GivesUpAStreamThatDoesNotAnswer) {
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

TEST_F(ReportClientTest, StopsAtOnceEvenWhenTheMonitorHangs) {
  ScriptedMonitor& monitor = StartServer({Reaction::kHang});
  StartClient();
  Submit(1);
  ASSERT_TRUE(monitor.WaitForMessages(1));
  const MonoTime start = clock_->MonoNow();
  client_->Stop();
  EXPECT_LT(clock_->MonoNow() - start, absl::Seconds(5));
}

TEST_F(ReportClientTest, StopsWhenNobodyListens) {
  port_ = 1;
  StartClient();
  Submit(1);
  ASSERT_TRUE(WaitFor([](const auto& stats) { return stats.streams >= 2; }));
  client_->Stop();
  EXPECT_EQ(client_->stats().acknowledged_reports, 0);
}

}  // namespace
}  // namespace cloudscale::guest
