// HAProxy's socket with somebody else behind it: gone, slow, talking nonsense, hanging up, endless.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/clock.h"
#include "services/lbctl/backends/haproxy/haproxy_balancer.h"
#include "services/lbctl/backends/haproxy/runtime_answers.h"
#include "services/lbctl/balancer_control.h"

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

const ServerKey kWeb1{"web", "web-1"};

// Of HAProxy 2.6.12 to `show info;show servers state;show stat`.
std::string RealAnswer() {
  std::ifstream file(CLOUDSCALE_HAPROXY_ANSWER);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Listens on a socket and lets `script` have each connection after its command was read.
class BadPeer {
 public:
  // `stopping` tells the script to end.
  using Script = std::function<void(int fd, const std::string& command)>;

  explicit BadPeer(Script script) : script_(std::move(script)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }
  ~BadPeer() {
    is_over_ = true;
    thread_.request_stop();
    thread_.join();
    close(listener_);
  }
  [[nodiscard]] std::string path() const { return dir_.File("admin.sock"); }
  void SetScript(Script script) { script_ = std::move(script); }  // between two commands
  [[nodiscard]] bool is_over() const { return is_over_; }

  static bool Write(int fd, const std::string& text) {
    size_t sent = 0;
    while (sent < text.size()) {
      const ssize_t n = send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) {
        return false;
      }
      sent += static_cast<size_t>(n);
    }
    return true;
  }
  // Until the other side gives up.
  static void AwaitHangUp(int fd) {
    pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
    EXPECT_GT(poll(&waited, 1, 20'000), 0);
  }

 private:
  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd waited{.fd = listener_, .events = POLLIN, .revents = 0};
      if (poll(&waited, 1, 20) <= 0) {
        continue;
      }
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      std::string command;
      char c = 0;
      while (recv(fd, &c, 1, 0) == 1 && c != '\n') {
        command.push_back(c);
      }
      script_(fd, command);
      close(fd);
    }
  }

  testing::TempDir dir_;
  Script script_;
  int listener_ = -1;
  std::atomic<bool> is_over_ = false;
  std::jthread thread_;
};

void AnswerWell(int fd, const std::string&) { BadPeer::Write(fd, RealAnswer()); }

absl::StatusOr<BalancerState> ReadFrom(const BadPeer& peer,
                                       absl::Duration timeout = absl::Seconds(10)) {
  HaproxyBalancer balancer(RuntimeSocket(peer.path(), timeout));
  return balancer.Read();
}

TEST(BadPeerTest, TheRealAnswerIsUnderstood) {
  BadPeer peer(&AnswerWell);
  const auto state = ReadFrom(peer);
  ASSERT_THAT(state, IsOk());
  EXPECT_EQ(state->info.version, "2.6.12-1+deb12u4");
  ASSERT_THAT(state->backends, SizeIs(3));
  EXPECT_EQ(state->backends[1].name, "static");
  EXPECT_FALSE(state->backends[1].has_dynamic_weights);
  const ServerInfo* server = FindServer(state->backends, kWeb1);
  ASSERT_NE(server, nullptr);
  EXPECT_EQ(server->weight, 40);
  EXPECT_EQ(server->initial_weight, 100);
}

TEST(BadPeerTest, P14EveryCutOfTheAnswerIsAnError) {
  const std::string whole = RealAnswer();
  for (size_t length = 0; length < whole.size(); length += 7) {
    EXPECT_FALSE(ParseState(whole.substr(0, length)).ok()) << length;
  }
  EXPECT_THAT(ParseState(whole), IsOk());
}

TEST(BadPeerTest, HangingUpMidAnswerIsUnavailable) {
  BadPeer peer([](int fd, const std::string&) {
    const std::string whole = RealAnswer();
    BadPeer::Write(fd, whole.substr(0, whole.size() / 2));
  });
  EXPECT_THAT(ReadFrom(peer), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cut")));
}

TEST(BadPeerTest, HangingUpAtOnceIsUnavailable) {
  BadPeer peer([](int, const std::string&) {});
  EXPECT_THAT(ReadFrom(peer), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(BadPeerTest, SilenceEndsAtTheBound) {
  BadPeer peer([](int fd, const std::string&) { BadPeer::AwaitHangUp(fd); });
  const auto clock = MakeRealClock();
  const MonoTime start = clock->MonoNow();
  EXPECT_THAT(ReadFrom(peer, absl::Milliseconds(100)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_LT(clock->MonoNow() - start, absl::Seconds(5));
}

TEST(BadPeerTest, AnAnswerInDripsIsBoundedAsAWhole) {
  BadPeer peer([](int fd, const std::string&) {
    pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
    while (BadPeer::Write(fd, "x") && poll(&waited, 1, 10) == 0) {
    }
  });
  EXPECT_THAT(ReadFrom(peer, absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST(BadPeerTest, AnEndlessAnswerIsNotKept) {
  BadPeer peer([](int fd, const std::string&) {
    const std::string block(1 << 20, '#');
    while (BadPeer::Write(fd, block)) {
    }
  });
  EXPECT_THAT(ReadFrom(peer), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(BadPeerTest, NonsenseIsAnErrorThatCanBePrinted) {
  BadPeer peer([](int fd, const std::string&) {
    BadPeer::Write(fd, "SSH-2.0-OpenSSH_9.2\r\n\n\n\x01\xff\n\n\n\n");
  });
  EXPECT_THAT(ReadFrom(peer), StatusIs(absl::StatusCode::kInternal, HasSubstr("HAProxy")));
  peer.SetScript([](int fd, const std::string&) {
    BadPeer::Write(fd, "\x01\xff" + std::string(1 << 20, 'z') + "\n\n");
  });
  HaproxyBalancer balancer(RuntimeSocket(peer.path(), absl::Seconds(10)));
  const absl::Status status = balancer.SetWeight(kWeb1, 1);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\\001\\377")));
  EXPECT_LT(status.message().size(), 3000u);
}

TEST(BadPeerTest, ANumberThatIsNoneDoesNotPassForZero) {
  std::string text = RealAnswer();
  const size_t row = text.find(" web-1 127.0.0.1 2 0 40 100 ");
  ASSERT_NE(row, std::string::npos);
  for (const char* weight : {"xx", "-1", "99"}) {
    std::string bad = text;
    bad.replace(row + std::string(" web-1 127.0.0.1 2 0 ").size(), 2, weight);
    EXPECT_EQ(ParseState(bad).ok(), std::string(weight) == "99") << weight;
  }
}

TEST(BadPeerTest, CommasAndQuotesInTextsOfChecksDoNotShiftColumns) {
  std::string text = RealAnswer();
  const std::string said = "agent reports an error : odd";
  const size_t description = text.find(said);
  ASSERT_NE(description, std::string::npos) << "the capture has one";
  text.replace(description, said.size(), "\"odd, \"\"text\"\"\nover, lines\"");
  const auto state = ParseState(text);
  ASSERT_THAT(state, IsOk());
  ASSERT_THAT(state->backends, SizeIs(3));
  EXPECT_EQ(state->backends[2].algorithm, "roundrobin");
  EXPECT_EQ(state->backends[2].servers.size(), 2u);
}

TEST(BadPeerTest, AnOldProcessThatAnswersDuringAReloadIsNotBelieved) {
  std::string text = RealAnswer();
  const size_t stopping = text.find("Stopping: 0");
  ASSERT_NE(stopping, std::string::npos);
  text.replace(stopping, 11, "Stopping: 1");
  EXPECT_THAT(ParseState(text), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("reloaded")));
}

TEST(BadPeerTest, NothingIsForgottenOverBadAnswers) {
  BadPeer peer(&AnswerWell);
  HaproxyBalancer balancer(RuntimeSocket(peer.path(), absl::Milliseconds(200)));
  BalancerControl control(balancer, {});
  DesiredState desired;
  desired[kWeb1].weight = {.value = 40, .confirmed_epoch = ""};
  desired[kWeb1].presence = {.value = {.key = kWeb1, .endpoint = {"127.0.0.1", 1}},
                             .confirmed_epoch = "before"};
  control.Restore(desired);
  const absl::Time now = absl::UnixEpoch();
  ASSERT_THAT(control.Poll(now), IsOk());
  const auto good = control.view();
  const std::vector<BadPeer::Script> bad = {
      [](int, const std::string&) {}, [](int fd, const std::string&) { BadPeer::AwaitHangUp(fd); },
      [](int fd, const std::string&) { BadPeer::Write(fd, "garbage\n\ngarbage\n\ngarbage\n\n"); },
      [](int fd, const std::string&) {
        // Complete in form, but no server in it: like a balancer that lost them all.
        const std::string whole = RealAnswer();
        BadPeer::Write(fd, whole.substr(0, whole.find("\n\n") + 2) + "1\n\n# pxname\n\n");
      }};
  for (const BadPeer::Script& script : bad) {
    peer.SetScript(script);
    EXPECT_FALSE(control.Poll(now + absl::Seconds(1)).ok());
    EXPECT_FALSE(control.view()->status.ok());
    EXPECT_EQ(control.view()->polled_at, now) << "and its age can be seen";
    EXPECT_EQ(control.view()->desired, good->desired);
    EXPECT_THAT(control.view()->backends, SizeIs(3));
  }
  peer.SetScript(&AnswerWell);
  EXPECT_THAT(control.Poll(now + absl::Seconds(2)), IsOk());
  EXPECT_THAT(control.view()->drifts, ::testing::IsEmpty());
}

}  // namespace
}  // namespace cloudscale::lbctl
