// Latencies that nobody reports: over real sockets of the machine, and a balancer over gRPC.
#include "services/sla/rpc/latency_inputs.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>

#include "absl/strings/numbers.h"
#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "services/sla/rpc/sla_service_fixture.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Sends datagrams to an address as the service tells it.
class Sender {
 public:
  explicit Sender(const std::string& address) {
    const bool is_unix = address.front() == '/';
    fd_ = socket(is_unix ? AF_UNIX : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (is_unix) {
      sockaddr_un to = {};
      to.sun_family = AF_UNIX;
      address.copy(to.sun_path, sizeof(to.sun_path) - 1);
      Connect(reinterpret_cast<sockaddr*>(&to), sizeof(to));
    } else {
      sockaddr_in to = {};
      to.sin_family = AF_INET;
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      uint32_t port = 0;
      EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
      to.sin_port = htons(static_cast<uint16_t>(port));
      Connect(reinterpret_cast<sockaddr*>(&to), sizeof(to));
    }
  }
  ~Sender() { close(fd_); }
  void Send(const std::string& datagram) const {
    EXPECT_EQ(send(fd_, datagram.data(), datagram.size(), 0),
              static_cast<ssize_t>(datagram.size()));
  }

 private:
  void Connect(const sockaddr* to, socklen_t length) const {
    EXPECT_EQ(connect(fd_, to, length), 0);
  }
  int fd_;
};

// A balancer whose one server serves so many requests with each look.
class FakeBalancer final : public lbctl::v1::BalancerService::Service {
 public:
  grpc::Status WatchStats(grpc::ServerContext* context, const lbctl::v1::WatchStatsRequest*,
                          grpc::ServerWriter<lbctl::v1::WatchStatsResponse>* writer) override {
    ++streams;
    for (int i = 0; i < 20 && !context->IsCancelled(); ++i) {
      lbctl::v1::WatchStatsResponse message;
      *message.mutable_sample_time() = rpc::ToProto(start_ + ++looks_ * absl::Seconds(1));
      auto* backend = message.add_backends();
      backend->set_name("shop");
      auto* server = backend->add_servers();
      server->set_name("s1");
      server->mutable_stats()->set_total_sessions(100 * looks_);
      server->mutable_stats()->mutable_response_time()->set_nanos(500000000);
      if (!writer->Write(message)) {
        break;
      }
    }
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting");
  }
  std::atomic<int> streams = 0;

 private:
  const absl::Time start_ = absl::FromUnixSeconds(1767225600);
  std::atomic<int> looks_ = 0;
};

std::string Line(const std::string& server, int milliseconds, int status = 200) {
  return absl::StrFormat(
      "<134>Feb  6 12:14:14 haproxy[1]: ::1:33317 [06/Feb/2026:12:14:14.655] in shop/%s "
      "0/0/0/%d/%d %d 27 - - ---- 1/1/1/1/0 0/0 \"GET / HTTP/1.1\"\n",
      server, milliseconds, milliseconds, status);
}

class LatencyInputsTest : public SlaServiceTest {
 protected:
  LatencyInputsTest() {
    config_.mutable_haproxy_log()->mutable_slice()->set_nanos(100000000);
    *config_.add_objectives() = WebObjective();
    auto& member = *config_.mutable_objectives(0)->mutable_members(0);
    member.set_backend("shop");
    member.set_server("s1");
  }
  v1::GetStatusResponse Status() {
    v1::GetStatusResponse status;
    EXPECT_THAT(Call(&v1::SlaService::Stub::GetStatus, v1::GetStatusRequest(), &status), IsOk());
    return status;
  }
  v1::InputState Input(const std::string& source) {
    const v1::GetStatusResponse status = Status();
    for (const auto& input : status.inputs()) {
      if (input.source() == source) {
        return input;
      }
    }
    ADD_FAILURE() << source << " is not listed";
    return {};
  }
  // Runs `again` until the condition holds; the condition is looked at anew each time.
  void Until(const std::function<bool()>& holds, const std::function<void()>& again = [] {}) {
    const MonoTime deadline = clock_->MonoNow() + absl::Seconds(30);
    while (!holds()) {
      ASSERT_LT(clock_->MonoNow(), deadline) << "not within 30 s";
      again();
      clock_->SleepUntil(clock_->MonoNow() + absl::Milliseconds(10), {});
    }
  }
  std::vector<v1::Violation> Violated() {
    v1::ListViolationsResponse all;
    EXPECT_THAT(Call(&v1::SlaService::Stub::ListViolations, v1::ListViolationsRequest(), &all),
                IsOk());
    return {all.violations().begin(), all.violations().end()};
  }
  v1::Compliance Kept() {
    v1::GetComplianceRequest request;
    request.set_objective_id("web-p90");
    v1::GetComplianceResponse kept;
    EXPECT_THAT(Call(&v1::SlaService::Stub::GetCompliance, request, &kept), IsOk());
    return kept.compliances(0);
  }
};

TEST_F(LatencyInputsTest, LogLinesOverUdpOpenAViolationAndRaiseThePrice) {
  config_.mutable_haproxy_log()->set_is_enabled(true);
  config_.mutable_haproxy_log()->set_listen_address("127.0.0.1:0");
  StartServer();
  const Sender sender(Input("haproxy").address());
  Until([&] { return !Violated().empty(); },
        [&] {
          for (int i = 0; i < 10; ++i) {
            sender.Send(Line("s1", 500));
          }
        });
  EXPECT_EQ(Violated()[0].source(), "haproxy");
  EXPECT_THAT(Violated()[0].vm_uuids(), ElementsAre("vm-1"));
  const auto targets = predictor_.targets.PopFor(absl::Seconds(20), {});
  ASSERT_TRUE(targets.has_value());
  ASSERT_EQ(targets->targets_size(), 1);
  EXPECT_EQ(targets->targets(0).vm_uuid(), "vm-1");
  EXPECT_EQ(targets->targets(0).resource(), common::v1::RESOURCE_CPU);
  EXPECT_EQ(targets->targets(0).price_factor(), 2);
  EXPECT_EQ(targets->targets(0).price_factor_duration().seconds(), 600);
  EXPECT_FALSE(targets->targets(0).has_target_violation_ratio()) << "the scaler's to set";
}

TEST_F(LatencyInputsTest, LinesAreCountedByFate) {
  config_.mutable_haproxy_log()->set_is_enabled(true);
  config_.mutable_haproxy_log()->set_listen_address(dir_.File("log.sock"));
  StartServer();
  EXPECT_EQ(Input("haproxy").address(), dir_.File("log.sock"));
  {
    const Sender sender(dir_.File("log.sock"));
    sender.Send(Line("s1", 10));
    sender.Send(Line("s1", 10, 503));
    sender.Send(Line("<NOSRV>", 10, 503));
    sender.Send(Line("s2", 10));
    sender.Send("<133>Feb  6 12:14:14 haproxy[1]: Proxy shop started.");
    sender.Send("::1:1 [06/Feb/2026:12:14:14.655] in shop/s1 1/2/3 4");
    sender.Send("");
  }
  Until([&] { return Kept().request_count() == 3; });
  EXPECT_EQ(Kept().error_count(), 2);
  const v1::InputState state = Input("haproxy");
  EXPECT_EQ(state.taken_count(), 3);
  EXPECT_EQ(state.unknown_count(), 1);
  EXPECT_EQ(state.malformed_count(), 1);
  EXPECT_EQ(state.dropped_count(), 0);
  EXPECT_TRUE(state.has_last_input_at());
  Until([&] {
    return metrics_.value("cloudscale_sla_inputs_total",
                          {{"source", "haproxy"}, {"outcome", "taken"}}) == 3;
  });
  TearServerDown();
  struct stat found = {};
  EXPECT_NE(stat(dir_.File("log.sock").c_str(), &found), 0) << "the socket is removed";
}

TEST_F(LatencyInputsTest, RefusesAPathThatIsTakenAndReplacesOneThatIsStale) {
  const std::string path = dir_.File("log.sock");
  auto first = DatagramListener::Open(path);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(DatagramListener::Open(path),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another process")));
  // As after a crash: the file is there, and nobody listens.
  ASSERT_EQ(rename(path.c_str(), dir_.File("kept").c_str()), 0);
  first->reset();
  ASSERT_EQ(rename(dir_.File("kept").c_str(), path.c_str()), 0);
  EXPECT_THAT(DatagramListener::Open(path), IsOk());
  const std::string file = dir_.Write("file", "precious");
  EXPECT_THAT(DatagramListener::Open(file),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("no socket")));
  EXPECT_TRUE(std::ifstream(file).good());
}

TEST_F(LatencyInputsTest, P13OnlyLoopbackAndPathsAreListenedOn) {
  for (const char* good : {"127.0.0.1:0", "127.9.9.9:5514", "[::1]:0", "/run/log.sock"}) {
    Violations violations;
    RequireDatagramAddress(violations, "a", good);
    EXPECT_TRUE(violations.empty()) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("0.0.0.0:1"), std::string("10.0.0.1:1"), std::string("[::]:1"),
        std::string("localhost:1"), std::string("127.0.0.1"), std::string("127.0.0.1:65536"),
        std::string("run/log"), std::string("/"), "/" + std::string(107, 'x')}) {
    Violations violations;
    RequireDatagramAddress(violations, "a", bad);
    EXPECT_FALSE(violations.empty()) << bad;
  }
}

TEST_F(LatencyInputsTest, NotificationsAreBoundedAndJudgedByTheirRate) {
  config_.mutable_udp()->set_is_enabled(true);
  config_.mutable_udp()->set_listen_address("127.0.0.1:0");
  config_.mutable_udp()->set_application("legacy");
  config_.mutable_udp()->set_max_datagrams_per_second(20);
  auto& objective = *config_.add_objectives();
  objective = WebObjective();
  objective.set_objective_id("legacy-slow");
  objective.set_application("legacy");
  objective.mutable_terms()->mutable_slow_rate()->set_max_per_second(5);
  StartServer();
  const Sender sender(Input("udp").address());
  sender.Send("\n\n");
  Until([&] { return !Violated().empty() && Input("udp").dropped_count() > 0; },
        [&] {
          for (int i = 0; i < 10; ++i) {
            sender.Send("\n");
          }
        });
  EXPECT_EQ(Violated()[0].source(), "udp");
  EXPECT_EQ(Violated()[0].objective_id(), "legacy-slow");
  EXPECT_EQ(Input("udp").malformed_count(), 1);
  Until([&] { return Status().open_violation_count() == 0; });
}

TEST_F(LatencyInputsTest, StatisticsGoOnOverReconnects) {
  FakeBalancer balancer;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&balancer);
  const auto server = builder.BuildAndStart();
  config_.set_lbctl_address(absl::StrCat("127.0.0.1:", port));
  StartServer();
  Until([&] { return !Violated().empty() && balancer.streams > 2; });
  EXPECT_EQ(Violated()[0].source(), "haproxy-statistics");
  EXPECT_NEAR(Violated()[0].observed(), 0.5, 0.03);
  const auto status = Status();
  EXPECT_EQ(status.links(status.links_size() - 1).peer(), "lbctl");
  TearServerDown();
}

TEST_F(LatencyInputsTest, ComplianceOverTimeIsToldInBuckets) {
  config_.mutable_haproxy_log()->set_is_enabled(true);
  config_.mutable_haproxy_log()->set_listen_address("127.0.0.1:0");
  StartServer();
  const Sender sender(Input("haproxy").address());
  Until([&] { return Kept().window_count() > 3; }, [&] { sender.Send(Line("s1", 50)); });
  v1::GetComplianceSeriesRequest request;
  request.set_objective_id("web-p90");
  *request.mutable_start_time() = rpc::ToProto(clock_->WallNow() - absl::Minutes(10));
  v1::GetComplianceSeriesResponse series;
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetComplianceSeries, request, &series), IsOk());
  EXPECT_EQ(series.objective().objective_id(), "web-p90");
  EXPECT_EQ(series.bucket_duration().seconds(), 60);
  ASSERT_GE(series.buckets_size(), 1);
  const auto& bucket = series.buckets(series.buckets_size() - 1);
  EXPECT_GT(bucket.request_count(), 0);
  EXPECT_NEAR(absl::ToDoubleSeconds(rpc::FromProto(bucket.latency_promised())), 0.05, 0.003);

  request.set_objective_id("none");
  EXPECT_THAT(Call(&v1::SlaService::Stub::GetComplianceSeries, request, &series),
              StatusIs(absl::StatusCode::kNotFound));
  request.set_objective_id("");
  request.set_max_buckets(-1);
  *request.mutable_end_time() = request.start_time();
  EXPECT_THAT(
      Violations::FromStatus(Call(&v1::SlaService::Stub::GetComplianceSeries, request, &series)),
      ::testing::SizeIs(3));
}

}  // namespace
}  // namespace cloudscale::sla
