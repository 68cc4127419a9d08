#pragma once

// The service over a fake balancer, on a real server with a port that the system chooses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/rpc/server.h"
#include "common/rpc/status_conversion.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/sim_clock.h"
#include "grpcpp/grpcpp.h"
#include "services/lbctl/backends/fake/fake_balancer.h"
#include "services/lbctl/main/lbctl_component.h"

namespace cloudscale::lbctl {

// Lets the test keep its hand on the balancer that the component owns.
class Borrowed final : public Balancer {
 public:
  explicit Borrowed(Balancer& balancer) : b_(balancer) {}
  absl::StatusOr<BalancerState> Read() override { return b_.Read(); }
  absl::Status SetWeight(const ServerKey& k, int w) override { return b_.SetWeight(k, w); }
  absl::Status SetState(const ServerKey& k, ServerState s) override { return b_.SetState(k, s); }
  absl::Status SetAddress(const ServerKey& k, const Endpoint& e) override {
    return b_.SetAddress(k, e);
  }
  absl::Status AddServer(const NewServer& s) override { return b_.AddServer(s); }
  absl::Status RemoveServer(const ServerKey& k) override { return b_.RemoveServer(k); }
  absl::Status EndSessions(const ServerKey& k) override { return b_.EndSessions(k); }

 private:
  Balancer& b_;
};

inline std::vector<FakeBalancer::BackendSpec> Specs() {
  FakeBalancer::BackendSpec web;
  web.name = "web";
  web.servers = {"web-1", "web-2"};
  FakeBalancer::BackendSpec fixed;
  fixed.name = "fixed";
  fixed.servers = {"fixed-1"};
  fixed.algorithm = "static-rr";
  return {web, fixed};
}

class BalancerServiceTest : public ::testing::Test {
 protected:
  using Stub = v1::BalancerService::Stub;

  BalancerServiceTest() {
    config_.mutable_fake();
    config_.set_state_path(dir_.File("lbctl.db"));
    auto* mapping = config_.add_servers();
    mapping->set_backend("web");
    mapping->set_server("web-1");
    mapping->set_vm_uuid("vm-1");
    StartServer();
  }
  ~BalancerServiceTest() override { TearServerDown(); }

  void StartServer() {
    config::v1::ServerConfig server_config;
    server_config.set_listen_address("127.0.0.1:0");
    auto server = rpc::Server::Create(server_config, &metrics_);
    ASSERT_THAT(server, cloudscale::testing::IsOk());
    server_ = *std::move(server);
    auto component =
        MakeLbctlComponent(config_, std::make_unique<Borrowed>(balancer_), environment_);
    ASSERT_THAT(component, cloudscale::testing::IsOk());
    component_ = *std::move(component);
    server_->Register(component_->services().at(0));
    ASSERT_THAT(server_->Start(), cloudscale::testing::IsOk());
    ASSERT_THAT(component_->Start(), cloudscale::testing::IsOk());
    stub_ = v1::BalancerService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    v1::GetStatsResponse polled;
    ASSERT_THAT(Call(&Stub::GetStats, v1::GetStatsRequest(), &polled), cloudscale::testing::IsOk());
    EXPECT_THAT(component_->Readiness(), cloudscale::testing::IsOk());
  }
  void TearServerDown() {
    if (component_ != nullptr) {
      component_->Stop();
      server_->Shutdown();
      server_.reset();
      component_.reset();
    }
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return rpc::FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }

  // A changing request on web/web-1.
  template <typename Request>
  Request On(const std::string& server = "web-1") {
    Request request;
    request.set_backend("web");
    request.set_server(server);
    request.set_request_id(absl::StrFormat("00000000-0000-4000-8000-%012d", ++request_number_));
    return request;
  }
  v1::Server Get(const std::string& server) {
    v1::GetServerRequest request;
    request.set_backend("web");
    request.set_server(server);
    v1::GetServerResponse response;
    EXPECT_THAT(Call(&Stub::GetServer, request, &response), cloudscale::testing::IsOk());
    return response.server();
  }
  absl::Status SetWeight(int weight, bool validate_only = false) {
    auto request = On<v1::SetWeightRequest>();
    request.set_absolute(weight);
    request.set_validate_only(validate_only);
    v1::SetWeightResponse response;
    return Call(&Stub::SetWeight, request, &response);
  }
  // Forces a poll.
  void Poll() {
    v1::GetStatsResponse response;
    EXPECT_THAT(Call(&Stub::GetStats, v1::GetStatsRequest(), &response),
                cloudscale::testing::IsOk());
  }
  int DriftCount() {
    v1::ListDriftResponse response;
    EXPECT_THAT(Call(&Stub::ListDrift, v1::ListDriftRequest(), &response),
                cloudscale::testing::IsOk());
    return response.drifts_size();
  }

  testing::TempDir dir_;
  NullMetricSink metrics_;
  SimClock clock_;
  FakeBalancer balancer_{clock_, Specs()};
  rpc::Environment environment_{.clock = clock_, .metrics = metrics_, .seed = 1, .channel = {}};
  config::v1::LbctlConfig config_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<rpc::Component> component_;
  std::unique_ptr<Stub> stub_;
  int request_number_ = 0;
};

}  // namespace cloudscale::lbctl
