#include "common/rpc/server.h"

#include <atomic>
#include <cstdlib>
#include <future>
#include <thread>

#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "common/rpc/admin_server.h"
#include "common/rpc/channel.h"
#include "common/rpc/metrics_registry.h"
#include "common/rpc/status_conversion.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "httplib.h"

namespace cloudscale::rpc {
namespace {

using ::testing::HasSubstr;
using testing::IsOk;
using testing::StatusIs;

// `GetStatus` never answers, so that only a deadline can end it.
class TestService final : public monitor::v1::MonitorService::CallbackService {
 public:
  // Writes one message and then waits for its end.
  class Stream final : public grpc::ServerWriteReactor<monitor::v1::WatchSnapshotsResponse> {
   public:
    explicit Stream(std::atomic<int>* closed) : closed_(closed) { StartWrite(&message_); }
    void OnCancel() override { Finish(grpc::Status(grpc::StatusCode::CANCELLED, "stopping")); }
    void OnDone() override {
      ++*closed_;
      delete this;
    }

   private:
    const monitor::v1::WatchSnapshotsResponse message_;
    std::atomic<int>* const closed_;
  };

  grpc::ServerWriteReactor<monitor::v1::WatchSnapshotsResponse>* WatchSnapshots(
      grpc::CallbackServerContext*, const monitor::v1::WatchSnapshotsRequest*) override {
    return new Stream(&closed);
  }

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext*,
                                      const monitor::v1::GetStatusRequest*,
                                      monitor::v1::GetStatusResponse*) override {
    class Hanging final : public grpc::ServerUnaryReactor {
     public:
      void OnCancel() override {
        Finish(grpc::Status(grpc::StatusCode::CANCELLED, "bound reached"));
      }
      void OnDone() override { delete this; }
    };
    return new Hanging;
  }

  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext* context,
                                    const monitor::v1::GetHostRequest*,
                                    monitor::v1::GetHostResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  std::atomic<int> closed = 0;
};

class ServerTest : public ::testing::Test {
 protected:
  void StartServer(const config::v1::ServerConfig& config) {
    auto server = Server::Create(config, &metrics_);
    ASSERT_THAT(server, IsOk());
    server_ = std::move(*server);
    server_->Register(&service_);
    ASSERT_THAT(server_->Start(), IsOk());
    auto channel = MakeChannel(server_->address(), config.has_tls() ? &config.tls() : nullptr);
    ASSERT_THAT(channel, IsOk());
    stub_ = monitor::v1::MonitorService::NewStub(*channel);
  }

  grpc::Status CallGetHost(monitor::v1::MonitorService::Stub& stub) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    monitor::v1::GetHostResponse response;
    return stub.GetHost(&context, {}, &response);
  }

  MetricsRegistry metrics_;
  TestService service_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<monitor::v1::MonitorService::Stub> stub_;
};

TEST_F(ServerTest, ShutdownEndsOpenStreams) {
  config::v1::ServerConfig config;
  config.mutable_limits()->mutable_shutdown_grace()->set_nanos(100'000'000);
  StartServer(config);
  grpc::ClientContext context;
  auto reader = stub_->WatchSnapshots(&context, {});
  monitor::v1::WatchSnapshotsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  server_->Shutdown();
  while (reader->Read(&message)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  EXPECT_EQ(service_.closed, 1);
}

TEST_F(ServerTest, CallsWithoutADeadlineAreBounded) {
  config::v1::ServerConfig config;
  config.mutable_limits()->mutable_default_deadline()->set_nanos(50'000'000);
  StartServer(config);
  grpc::ClientContext context;
  monitor::v1::GetStatusResponse response;
  EXPECT_EQ(stub_->GetStatus(&context, {}, &response).error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, CallsWithTooLongADeadlineAreCut) {
  config::v1::ServerConfig config;
  config.mutable_limits()->mutable_max_deadline()->set_nanos(50'000'000);
  StartServer(config);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::hours(1));
  monitor::v1::GetStatusResponse response;
  EXPECT_EQ(stub_->GetStatus(&context, {}, &response).error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(ServerTest, OversizedMessagesAreRefused) {
  config::v1::ServerConfig config;
  config.mutable_limits()->set_max_message_bytes(65536);
  StartServer(config);
  grpc::ClientContext context;
  monitor::v1::GetHostRequest request;
  request.set_host_id(std::string(100'000, 'x'));
  monitor::v1::GetHostResponse response;
  EXPECT_EQ(stub_->GetHost(&context, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServerTest, CountsCallsByMethodAndCode) {
  StartServer({});
  ASSERT_TRUE(CallGetHost(*stub_).ok());
  server_->Shutdown();
  EXPECT_THAT(metrics_.Expose(), HasSubstr("cloudscale_rpc_handled_total{code=\"0\",method="
                                           "\"/cloudscale.monitor.v1.MonitorService/GetHost\"} 1"));
}

TEST_F(ServerTest, P17CallsToUnknownMethodsShareOneLabel) {
  StartServer({});
  auto channel = MakeChannel(server_->address(), nullptr);
  ASSERT_THAT(channel, IsOk());
  for (const char* method : {"/no.such.Service/A", "/no.such.Service/B"}) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    grpc::GenericStub stub(*channel);
    const grpc::Slice slice("x");
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    auto answer = std::make_shared<std::promise<grpc::Status>>();
    stub.UnaryCall(&context, method, {}, &request, &response,
                   [answer](grpc::Status status) { answer->set_value(std::move(status)); });
    EXPECT_EQ(answer->get_future().get().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  }
  server_->Shutdown();
  EXPECT_THAT(metrics_.Expose(),
              HasSubstr("cloudscale_rpc_handled_total{code=\"12\",method=\"unknown\"} 2"));
}

TEST_F(ServerTest, P13RefusesToListenBeyondLoopbackWithoutCertificates) {
  config::v1::ServerConfig config;
  config.set_listen_address("0.0.0.0:0");
  EXPECT_THAT(Server::Create(config, &metrics_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("server.listen_address")));
  EXPECT_THAT(MakeChannel("192.0.2.1:1", nullptr), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ServerTest, P14ReportsEveryFaultOfAServerConfigurationAtOnce) {
  config::v1::ServerConfig config;
  config.set_listen_address("nonsense");
  config.set_admin_address("127.0.0.1");
  config.mutable_limits()->set_max_message_bytes(1);
  config.mutable_tls()->set_cert_file("/nonexistent/cert.pem");
  Violations violations;
  ValidateServerConfig(config, "server", &violations);
  EXPECT_EQ(violations.kept().size(), 6u);
}

TEST_F(ServerTest, TwoServersCannotShareAPort) {
  StartServer({});
  config::v1::ServerConfig config;
  config.set_listen_address(server_->address());
  auto second = Server::Create(config, nullptr);
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT((*second)->Start(), StatusIs(absl::StatusCode::kUnavailable));
}

// A certificate authority and certificates of one test, made by the openssl tool.
class CertificateFiles {
 public:
  CertificateFiles() {
    Run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
        "/CN=test-ca "
        "-keyout ca.key -out ca.pem");
    Issue("node");
    Run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
        "/CN=other-ca "
        "-keyout other-ca.key -out other-ca.pem");
  }
  config::v1::TlsConfig Tls(const std::string& name) const {
    config::v1::TlsConfig tls;
    tls.set_cert_file(dir_.File(name + ".pem"));
    tls.set_key_file(dir_.File(name + ".key"));
    tls.set_ca_file(dir_.File("ca.pem"));
    return tls;
  }
  config::v1::TlsConfig Stranger() const {
    config::v1::TlsConfig tls = Tls("other-ca");
    return tls;
  }

 private:
  void Issue(const std::string& name) {
    dir_.Write("ext", "subjectAltName=IP:127.0.0.1,DNS:" + name + "\n");
    Run("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name +
        " -keyout " + name + ".key -out " + name + ".csr");
    Run("x509 -req -in " + name +
        ".csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out " + name + ".pem");
  }
  void Run(const std::string& arguments) {
    const std::string command =
        "cd '" + dir_.path().string() + "' && openssl " + arguments + " >/dev/null 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  testing::TempDir dir_;
};

TEST_F(ServerTest, P13MutualTlsAcceptsItsOwnAndRefusesStrangersAndPlaintext) {
  CertificateFiles files;
  config::v1::ServerConfig config;
  *config.mutable_tls() = files.Tls("node");
  StartServer(config);
  EXPECT_TRUE(CallGetHost(*stub_).ok());

  const config::v1::TlsConfig stranger = files.Stranger();
  auto other = MakeChannel(server_->address(), &stranger);
  ASSERT_THAT(other, IsOk());
  EXPECT_FALSE(CallGetHost(*monitor::v1::MonitorService::NewStub(*other)).ok());

  auto plain = MakeChannel(server_->address(), nullptr);
  ASSERT_THAT(plain, IsOk());
  EXPECT_FALSE(CallGetHost(*monitor::v1::MonitorService::NewStub(*plain)).ok());
}

TEST_F(ServerTest, P13OnlyAllowedPeersMayCall) {
  CertificateFiles files;
  config::v1::ServerConfig config;
  *config.mutable_tls() = files.Tls("node");
  config.mutable_tls()->add_allowed_peers("somebody-else");
  StartServer(config);
  EXPECT_EQ(CallGetHost(*stub_).error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST(AdminServerTest, ServesMetricsLivenessAndReadiness) {
  MetricsRegistry metrics;
  metrics.Set("cloudscale_up", {}, 1);
  std::atomic<bool> ready = false;
  auto admin = AdminServer::Start("127.0.0.1:0", &metrics, [&] {
    return ready ? absl::OkStatus() : absl::UnavailableError("monitor: no sample yet");
  });
  ASSERT_THAT(admin, IsOk());
  httplib::Client client("http://" + (*admin)->address());
  EXPECT_THAT(client.Get("/metrics")->body, HasSubstr("cloudscale_up 1"));
  EXPECT_EQ(client.Get("/livez")->status, 200);
  EXPECT_EQ(client.Get("/readyz")->status, 503);
  EXPECT_THAT(client.Get("/readyz")->body, HasSubstr("no sample yet"));
  ready = true;
  EXPECT_EQ(client.Get("/readyz")->status, 200);
}

TEST(ChannelTest, KnowsLoopback) {
  EXPECT_TRUE(IsLoopback("127.0.0.1:5"));
  EXPECT_TRUE(IsLoopback("localhost:5"));
  EXPECT_TRUE(IsLoopback("[::1]:5"));
  EXPECT_TRUE(IsLoopback("unix:/run/x"));
  EXPECT_FALSE(IsLoopback("0.0.0.0:5"));
  EXPECT_FALSE(IsLoopback("128.0.0.1:5"));
  EXPECT_FALSE(IsLoopback("localhost.example:5"));
  EXPECT_FALSE(IsLoopback("127.example.org:5"));
}

}  // namespace
}  // namespace cloudscale::rpc
