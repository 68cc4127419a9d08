// What tests of the service over a real server share.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "cloudscale/sla/v1/sla_service.grpc.pb.h"
#include "common/rpc/server.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/sync/bounded_queue.h"
#include "common/testing/recording_metric_sink.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "grpcpp/grpcpp.h"
#include "services/sla/main/sla_component.h"

namespace cloudscale::sla {

// Peers that note what they are asked.
class FakeScaler final : public scaler::v1::ScalerService::Service {
 public:
  grpc::Status RequestBoost(grpc::ServerContext*, const scaler::v1::RequestBoostRequest* request,
                            scaler::v1::RequestBoostResponse*) override {
    if (refusals_.fetch_sub(1) > 0) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "busy");
    }
    requests.PushDroppingOldest(*request);
    return grpc::Status::OK;
  }
  BoundedQueue<scaler::v1::RequestBoostRequest> requests{100};
  std::atomic<int> refusals_ = 0;
};

class FakePredictor final : public predictor::v1::PredictorService::Service {
 public:
  grpc::Status Retrain(grpc::ServerContext*, const predictor::v1::RetrainRequest* request,
                       predictor::v1::RetrainResponse*) override {
    requests.PushDroppingOldest(*request);
    return grpc::Status::OK;
  }
  grpc::Status UpdateTargets(grpc::ServerContext*,
                             const predictor::v1::UpdateTargetsRequest* request,
                             predictor::v1::UpdateTargetsResponse*) override {
    targets.PushDroppingOldest(*request);
    return grpc::Status::OK;
  }
  BoundedQueue<predictor::v1::RetrainRequest> requests{100};
  BoundedQueue<predictor::v1::UpdateTargetsRequest> targets{100};
};

inline v1::Objective WebObjective() {
  v1::Objective o;
  o.set_objective_id("web-p90");
  o.set_application("web");
  o.mutable_terms()->mutable_latency()->mutable_threshold()->set_nanos(200000000);
  o.mutable_terms()->mutable_latency()->set_percentile_ratio(0.9);
  o.mutable_terms()->mutable_window()->set_seconds(1);
  o.mutable_terms()->set_target_ratio(0.9);
  o.mutable_terms()->set_min_request_count(1);
  o.add_members()->set_vm_uuid("vm-1");
  return o;
}

class SlaServiceTest : public ::testing::Test {
 protected:
  SlaServiceTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&scaler_);
    builder.RegisterService(&predictor_);
    peers_ = builder.BuildAndStart();
    const std::string address = absl::StrCat("127.0.0.1:", port);
    config_.set_state_path(dir_.File("sla.db"));
    config_.add_scaler_addresses(address);
    config_.set_predictor_address(address);
    config_.mutable_client()->mutable_backoff_min()->set_nanos(1000000);
  }
  ~SlaServiceTest() override { TearServerDown(); }

  void StartServer() {
    config::v1::ServerConfig server_config;
    server_config.set_listen_address(listen_address_);
    auto server = rpc::Server::Create(server_config, &metrics_);
    ASSERT_THAT(server, testing::IsOk());
    server_ = *std::move(server);
    auto component = MakeSlaComponent(config_, environment_);
    ASSERT_THAT(component, testing::IsOk());
    component_ = *std::move(component);
    for (grpc::Service* service : component_->services()) {
      server_->Register(service);
    }
    ASSERT_THAT(server_->Start(), testing::IsOk());
    ASSERT_THAT(component_->Start(), testing::IsOk());
    EXPECT_THAT(component_->Readiness(), testing::IsOk());
    stub_ = v1::SlaService::NewStub(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
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
  absl::Status Call(grpc::Status (v1::SlaService::Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    return rpc::FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }

  std::string NewId() {
    return absl::StrFormat("00000000-0000-4000-8000-%012d", ++request_number_);
  }

  absl::StatusOr<v1::Objective> Create(const v1::Objective& objective, bool validate_only = false) {
    v1::CreateObjectiveRequest request;
    *request.mutable_objective() = objective;
    request.set_request_id(NewId());
    request.set_validate_only(validate_only);
    v1::CreateObjectiveResponse response;
    const absl::Status status = Call(&v1::SlaService::Stub::CreateObjective, request, &response);
    if (!status.ok()) return status;
    return response.objective();
  }

  v1::LatencyReport Report(double latency) {
    v1::LatencyReport r;
    r.set_application("web");
    r.set_source_id("client-1");
    r.set_sequence(++sequence_);
    *r.mutable_start_time() = rpc::ToProto(clock_->WallNow() - absl::Milliseconds(50));
    r.mutable_duration()->set_nanos(50000000);
    for (int i = 0; i < 5; ++i) {
      r.mutable_values()->add_latency_seconds(latency);
    }
    return r;
  }

  v1::ReportLatenciesResponse Send(const std::vector<v1::LatencyReport>& reports) {
    grpc::ClientContext context;
    v1::ReportLatenciesResponse response;
    auto writer = stub_->ReportLatencies(&context, &response);
    for (const auto& report : reports) {
      v1::ReportLatenciesRequest request;
      *request.add_reports() = report;
      EXPECT_TRUE(writer->Write(request));
    }
    writer->WritesDone();
    EXPECT_THAT(rpc::FromGrpcStatus(writer->Finish()), testing::IsOk());
    return response;
  }

  // Reports slow answers until the watcher tells of a violation.
  v1::Violation Provoke() {
    grpc::ClientContext context;
    auto reader = stub_->WatchViolations(&context, {});
    reader->WaitForInitialMetadata();
    std::atomic<bool> found = false;
    std::jthread sender([&] {
      while (!found) {
        Send({Report(0.5)});
      }
    });
    v1::WatchViolationsResponse message;
    while (reader->Read(&message) && message.is_heartbeat()) {
    }
    found = true;
    context.TryCancel();
    return message.violation();
  }

  testing::TempDir dir_;
  testing::RecordingMetricSink metrics_;
  std::unique_ptr<Clock> clock_ = MakeRealClock();
  rpc::Environment environment_{
      .clock = *clock_, .metrics = metrics_, .seed = 1, .channel = [](const std::string& address) {
        return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
      }};
  config::v1::SlaConfig config_;
  FakeScaler scaler_;
  FakePredictor predictor_;
  std::unique_ptr<grpc::Server> peers_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<rpc::Component> component_;
  std::unique_ptr<v1::SlaService::Stub> stub_;
  std::string listen_address_ = "127.0.0.1:0";
  int request_number_ = 0;
  int64_t sequence_ = 0;
};

}  // namespace cloudscale::sla
