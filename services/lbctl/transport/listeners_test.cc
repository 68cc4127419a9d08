// Agent checks and plan messages over real sockets on ports that the system chooses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>

#include "absl/strings/str_cat.h"
#include "common/metrics/metric_sink.h"
#include "common/sync/mutex.h"
#include "common/testing/status_matchers.h"
#include "services/lbctl/transport/agent_listener.h"
#include "services/lbctl/transport/message_listener.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;

// Counts by metric and `result`; lets a test wait for them.
class CountingSink final : public MetricSink {
 public:
  void Count(absl::string_view, const Labels& labels, double amount) override {
    MutexLock lock(&mutex_);
    counts_[labels.at("result")] += static_cast<int>(amount);
    changed_.NotifyAll();
  }
  void Set(absl::string_view, const Labels&, double) override {}
  void Remove(absl::string_view, const Labels&) override {}
  void ObserveSeconds(absl::string_view, const Labels&, double) override {}

  // Waits until `result` was counted `count` times, at most 10 s.
  int Await(const std::string& result, int count) {
    MutexLock lock(&mutex_);
    for (int i = 0; i < 1000 && counts_[result] < count; ++i) {
      changed_.WaitFor(&mutex_, absl::Milliseconds(10), {});
    }
    return counts_[result];
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, int> counts_ ABSL_GUARDED_BY(mutex_);
};

class Client {
 public:
  Client(int type, int port) : socket_(socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    const SocketAddress to = *ParseSocketAddress(absl::StrCat("127.0.0.1:", port));
    const timeval patience{.tv_sec = 10, .tv_usec = 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    EXPECT_EQ(connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.length), 0);
  }
  void Send(const std::string& text) {
    EXPECT_EQ(send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Until the other side closes.
  std::string ReadAll() {
    std::string all;
    std::array<char, 256> buffer{};
    ssize_t got = 0;
    while ((got = recv(socket_.get(), buffer.data(), buffer.size(), 0)) > 0) {
      all.append(buffer.data(), static_cast<size_t>(got));
    }
    return got == 0 ? all : absl::StrCat("error ", errno);
  }

 private:
  Descriptor socket_;
};

TEST(SocketAddressTest, TakesIpAddressesWithPorts) {
  EXPECT_EQ(ParseSocketAddress("127.0.0.1:80")->host(), "127.0.0.1");
  EXPECT_EQ(ParseSocketAddress("127.0.0.1:80")->port(), 80);
  EXPECT_EQ(ParseSocketAddress("[::1]:65535")->host(), "::1");
  for (const char* bad : {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                          "localhost:80", "::1:80", "[127.0.0.1]:80", "127.0.0.1:80x"}) {
    EXPECT_THAT(ParseSocketAddress(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

class AgentListenerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(listener_.Start({{"127.0.0.1:0", {"web", "web-1"}}, {"127.0.0.1:0", {}}}), IsOk());
    own_port_ = listener_.bound_ports().at(0);
    shared_port_ = listener_.bound_ports().at(1);
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  CountingSink metrics_;
  AgentListener listener_{*clock_, metrics_, [](const ServerKey& key) {
                            return absl::StrCat(key.ToString(), " 75%\n");
                          }};
  int own_port_ = 0;
  int shared_port_ = 0;
};

TEST_F(AgentListenerTest, APortOfAServerAnswersAtOnce) {
  EXPECT_EQ(Client(SOCK_STREAM, own_port_).ReadAll(), "web/web-1 75%\n");
}

TEST_F(AgentListenerTest, ASharedPortAnswersForTheServerThatIsNamed) {
  Client client(SOCK_STREAM, shared_port_);
  client.Send("web/we");
  client.Send("b-7\r\n");
  EXPECT_EQ(client.ReadAll(), "web/web-7 75%\n");
}

TEST_F(AgentListenerTest, AnAnswerIsNotCutOffByWhatTheCheckSent) {
  for (int i = 0; i < 50; ++i) {
    Client client(SOCK_STREAM, own_port_);
    client.Send("something\n");
    EXPECT_EQ(client.ReadAll(), "web/web-1 75%\n");
  }
}

TEST_F(AgentListenerTest, EndlessAndSilentOnesAreDropped) {
  Client endless(SOCK_STREAM, shared_port_);
  endless.Send(std::string(4 * AgentListener::kMaxName, 'x'));
  EXPECT_EQ(metrics_.Await("unknown_server", 1), 1);
  Client silent(SOCK_STREAM, shared_port_);
  EXPECT_EQ(silent.ReadAll(), "");
  EXPECT_EQ(metrics_.Await("too_slow", 1), 1);
}

TEST_F(AgentListenerTest, ManySilentOnesDoNotKeepOthersOutForLong) {
  std::deque<Client> silent;
  for (size_t i = 0; i < AgentListener::kMaxConnections; ++i) {
    silent.emplace_back(SOCK_STREAM, shared_port_);
  }
  EXPECT_EQ(Client(SOCK_STREAM, own_port_).ReadAll(), "web/web-1 75%\n");
}

TEST_F(AgentListenerTest, StopsWhileChecksAreOpen) {
  Client silent(SOCK_STREAM, shared_port_);
  listener_.Stop();
  listener_.Stop();
}

TEST_F(AgentListenerTest, SaysWhenAPortIsTaken) {
  AgentListener second(*clock_, metrics_, [](const ServerKey&) { return "\n"; });
  EXPECT_THAT(second.Start({{absl::StrCat("127.0.0.1:", own_port_), {}}}),
              StatusIs(absl::StatusCode::kUnavailable));
}

class MessageListenerTest : public ::testing::Test {
 protected:
  void Start(int max_per_minute, std::set<std::string> sources = {}) {
    MessageListener::Options options{.listen_address = "127.0.0.1:0",
                                     .plans = {},
                                     .allowed_sources = std::move(sources),
                                     .max_per_minute = max_per_minute};
    options.plans["Load PHPSer1"] = {
        .kind = PlanKind::kShiftAway, .backend = "php", .server = "PHPSer2", .capacity_cores = {}};
    options.plans["Balance"] = {
        .kind = PlanKind::kBalance, .backend = "php", .server = "", .capacity_cores = {}};
    listener_ = std::make_unique<MessageListener>(
        *clock_, metrics_, options, [this](const PlanOrder& order, const std::string& text) {
          MutexLock lock(&mutex_);
          applied_.push_back(text + " -> " + order.backend + "/" + order.server);
          return true;
        });
    ASSERT_THAT(listener_->Start(), IsOk());
  }
  void Send(const std::string& text) { Client(SOCK_DGRAM, listener_->bound_port()).Send(text); }
  std::vector<std::string> applied() {
    MutexLock lock(&mutex_);
    return applied_;
  }

  const std::unique_ptr<Clock> clock_ = MakeRealClock();
  CountingSink metrics_;
  Mutex mutex_;
  std::vector<std::string> applied_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<MessageListener> listener_;
};

TEST_F(MessageListenerTest, KnownTextsApplyTheirPlan) {
  Start(60);
  Send("Load PHPSer1");
  ASSERT_EQ(metrics_.Await("taken", 1), 1);
  Send(" Balance\n");
  ASSERT_EQ(metrics_.Await("taken", 2), 2);
  EXPECT_THAT(applied(), ::testing::ElementsAre("Load PHPSer1 -> php/PHPSer2", "Balance -> php/"));
}

TEST_F(MessageListenerTest, EverythingElseIsCountedAndDropped) {
  Start(60);
  Send("load phpser1");
  Send("Balance Balance");
  Send(std::string(MessageListener::kMaxDatagram * 2, 'B'));
  Send("");
  Send(std::string("Balance\0", 8));
  EXPECT_EQ(metrics_.Await("unknown", 5), 5);
  EXPECT_THAT(applied(), ::testing::IsEmpty());
}

TEST_F(MessageListenerTest, AFloodAppliesNoMorePlansThanAllowed) {
  Start(3);
  for (int i = 0; i < 10; ++i) {
    Send("Balance");
  }
  EXPECT_EQ(metrics_.Await("too_many", 7), 7);
  EXPECT_THAT(applied(), ::testing::SizeIs(3));
}

TEST_F(MessageListenerTest, OtherSourcesAreNotListenedTo) {
  Start(60, {"192.0.2.1"});
  Send("Balance");
  EXPECT_EQ(metrics_.Await("foreign_source", 1), 1);
  EXPECT_THAT(applied(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace cloudscale::lbctl
