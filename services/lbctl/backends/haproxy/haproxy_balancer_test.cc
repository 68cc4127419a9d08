// The conformance suite against a real HAProxy that each case starts for itself on sockets in its
// own directory; skipped with a message where none is installed.
#include "services/lbctl/backends/haproxy/haproxy_balancer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/clock.h"
#include "services/lbctl/backends/haproxy/runtime_answers.h"
#include "services/lbctl/conformance/balancer_conformance.h"

extern char** environ;

namespace cloudscale::lbctl {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;

constexpr char kBinary[] = "/usr/sbin/haproxy";

class HaproxyFixture final : public BalancerFixture {
 public:
  HaproxyFixture() {
    config_ =
        dir_.Write("haproxy.cfg", absl::StrCat(R"(global
  stats socket )",
                                               dir_.File("admin.sock"), R"( mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
backend web
  balance roundrobin
  server web-1 127.0.0.1:18081 weight 100
  server web-2 127.0.0.1:18082 weight 100
backend fixed
  balance static-rr
  server fixed-1 127.0.0.1:18083 weight 100
)"));
    Spawn();
  }
  ~HaproxyFixture() override { Kill(); }

  Balancer& balancer() override { return balancer_; }
  void Restart() override {
    Kill();
    Spawn();
  }
  void Kill() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
      pid_ = 0;
    }
  }

 private:
  void Spawn() {
    std::string binary = kBinary, quiet = "-q", foreground = "-db", flag = "-f";
    char* arguments[] = {binary.data(), quiet.data(),   foreground.data(),
                         flag.data(),   config_.data(), nullptr};
    ASSERT_EQ(posix_spawn(&pid_, kBinary, nullptr, nullptr, arguments, environ), 0);
    const auto clock = MakeRealClock();
    const MonoTime deadline = clock->MonoNow() + absl::Seconds(20);
    while (!balancer_.Read().ok() && clock->MonoNow() < deadline) {
      clock->SleepUntil(clock->MonoNow() + absl::Milliseconds(10), {});
    }
  }

  testing::TempDir dir_;
  std::string config_;
  pid_t pid_ = 0;
  HaproxyBalancer balancer_{RuntimeSocket(dir_.File("admin.sock"), absl::Seconds(5))};
};

std::unique_ptr<BalancerFixture> MakeHaproxyFixture() { return std::make_unique<HaproxyFixture>(); }

std::vector<MakeBalancerFixture> Fixtures() {
  if (!std::filesystem::exists(kBinary)) {
    return {};
  }
  return {&MakeHaproxyFixture};
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BalancerConformanceTest);
INSTANTIATE_TEST_SUITE_P(Haproxy, BalancerConformanceTest, ::testing::ValuesIn(Fixtures()));

TEST(RuntimeSocketTest, RefusesMoreThanOneCommandAndSaysWhenNobodyListens) {
  testing::TempDir dir;
  const RuntimeSocket socket(dir.File("none.sock"), absl::Seconds(1));
  EXPECT_THAT(socket.Ask("show info; disable server a/b"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(socket.Ask("show info\nshow stat"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(socket.Ask("show info"), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(RuntimeAnswersTest, P14BrokenAnswersAreErrors) {
  EXPECT_THAT(ParseInfo(""), StatusIs(absl::StatusCode::kInternal));
  EXPECT_THAT(ParseInfo("Name: Other\nPid: 1\n"), StatusIs(absl::StatusCode::kInternal));
  EXPECT_THAT(ParseBackends("", ""), StatusIs(absl::StatusCode::kInternal));
  EXPECT_THAT(ParseBackends("1\n# be_id be_name\n", "# pxname,svname\n"),
              StatusIs(absl::StatusCode::kInternal));
}

TEST(RuntimeAnswersTest, KnowsRefusals) {
  EXPECT_THAT(ParseOutcome("c", "\n"), IsOk());
  EXPECT_THAT(ParseOutcome("c", "Permission denied\n"),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(ParseOutcome("c", "Unknown command: 'c'\n"),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(ParseOutcome("c", "something new\n"), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace cloudscale::lbctl
