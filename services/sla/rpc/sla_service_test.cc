// The contract over a real server on a port chosen by the system.
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
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "grpcpp/grpcpp.h"
#include "services/sla/main/sla_component.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

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
  BoundedQueue<predictor::v1::RetrainRequest> requests{100};
};

v1::Objective WebObjective() {
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
    server_config.set_listen_address("127.0.0.1:0");
    auto server = rpc::Server::Create(server_config, &metrics_);
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    auto component = MakeSlaComponent(config_, environment_);
    ASSERT_THAT(component, IsOk());
    component_ = *std::move(component);
    for (grpc::Service* service : component_->services()) {
      server_->Register(service);
    }
    ASSERT_THAT(server_->Start(), IsOk());
    ASSERT_THAT(component_->Start(), IsOk());
    EXPECT_THAT(component_->Readiness(), IsOk());
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
    EXPECT_THAT(rpc::FromGrpcStatus(writer->Finish()), IsOk());
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
  NullMetricSink metrics_;
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
  int request_number_ = 0;
  int64_t sequence_ = 0;
};

TEST_F(SlaServiceTest, ObjectivesLiveThroughTheirWholeLife) {
  StartServer();
  EXPECT_THAT(Create(WebObjective(), true), IsOk());
  const auto created = Create(WebObjective());
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->boost().factor(), 1.25) << "defaults are filled in";
  EXPECT_THAT(Create(WebObjective()), StatusIs(absl::StatusCode::kAlreadyExists));

  v1::GetObjectiveRequest get;
  get.set_objective_id("web-p90");
  v1::GetObjectiveResponse got;
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetObjective, get, &got), IsOk());
  EXPECT_EQ(got.objective().SerializeAsString(), created->SerializeAsString());

  v1::UpdateObjectiveRequest update;
  update.mutable_objective()->set_objective_id("web-p90");
  update.mutable_objective()->set_etag("stale");
  update.mutable_objective()->mutable_terms()->set_target_ratio(0.95);
  update.mutable_update_mask()->add_paths("terms.target_ratio");
  update.set_request_id(NewId());
  v1::UpdateObjectiveResponse updated;
  EXPECT_THAT(Call(&v1::SlaService::Stub::UpdateObjective, update, &updated),
              StatusIs(absl::StatusCode::kAborted));
  update.mutable_objective()->set_etag(created->etag());
  ASSERT_THAT(Call(&v1::SlaService::Stub::UpdateObjective, update, &updated), IsOk());
  EXPECT_EQ(updated.objective().terms().target_ratio(), 0.95);
  EXPECT_EQ(updated.objective().terms().latency().percentile_ratio(), 0.9) << "outside the mask";
  EXPECT_NE(updated.objective().etag(), created->etag());

  v1::DeleteObjectiveRequest remove;
  remove.set_objective_id("web-p90");
  remove.set_etag(updated.objective().etag());
  remove.set_request_id(NewId());
  v1::DeleteObjectiveResponse removed;
  ASSERT_THAT(Call(&v1::SlaService::Stub::DeleteObjective, remove, &removed), IsOk());
  EXPECT_THAT(Call(&v1::SlaService::Stub::DeleteObjective, remove, &removed), IsOk())
      << "the same request_id again changes nothing and answers the same";
  EXPECT_THAT(Call(&v1::SlaService::Stub::GetObjective, get, &got),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("web-p90")));
}

TEST_F(SlaServiceTest, P14BadRequestsNameFieldValueAndRange) {
  StartServer();
  v1::CreateObjectiveRequest request;
  *request.mutable_objective() = WebObjective();
  request.mutable_objective()->set_objective_id("Bad Id");
  request.mutable_objective()->mutable_terms()->set_target_ratio(1.5);
  request.set_request_id("not-a-uuid");
  v1::CreateObjectiveResponse response;
  const absl::Status status = Call(&v1::SlaService::Stub::CreateObjective, request, &response);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("objective.terms.target_ratio")));
  EXPECT_THAT(Violations::FromStatus(status), SizeIs(3));
  EXPECT_EQ(Violations::FromStatus(status)[1].value, "1.5");
  EXPECT_EQ(Violations::FromStatus(status)[1].allowed, "above 0, below 1");

  v1::UpdateObjectiveRequest update;
  update.mutable_objective()->set_objective_id("web-p90");
  update.mutable_update_mask()->add_paths("etag");
  update.mutable_update_mask()->add_paths("nonsense");
  update.set_request_id(NewId());
  v1::UpdateObjectiveResponse updated;
  EXPECT_THAT(
      Violations::FromStatus(Call(&v1::SlaService::Stub::UpdateObjective, update, &updated)),
      SizeIs(2));

  v1::ListViolationsRequest list;
  list.set_page_size(-1);
  list.set_page_token("nonsense");
  list.mutable_start_time()->set_seconds(10);
  list.mutable_end_time()->set_seconds(5);
  v1::ListViolationsResponse listed;
  EXPECT_THAT(Violations::FromStatus(Call(&v1::SlaService::Stub::ListViolations, list, &listed)),
              SizeIs(3));

  v1::GetComplianceRequest compliance;
  compliance.set_objective_id("none");
  v1::GetComplianceResponse complied;
  EXPECT_THAT(Call(&v1::SlaService::Stub::GetCompliance, compliance, &complied),
              StatusIs(absl::StatusCode::kNotFound));

  v1::WatchViolationsRequest watch;
  watch.mutable_heartbeat_period()->set_seconds(3600);
  grpc::ClientContext context;
  auto reader = stub_->WatchViolations(&context, watch);
  v1::WatchViolationsResponse message;
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_THAT(rpc::FromGrpcStatus(reader->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("heartbeat_period")));
}

TEST_F(SlaServiceTest, ARepeatedRequestIdAnswersTheSameAlsoAfterARestart) {
  StartServer();
  v1::CreateObjectiveRequest request;
  *request.mutable_objective() = WebObjective();
  request.set_request_id(NewId());
  v1::CreateObjectiveResponse first, second;
  ASSERT_THAT(Call(&v1::SlaService::Stub::CreateObjective, request, &first), IsOk());
  TearServerDown();
  StartServer();
  ASSERT_THAT(Call(&v1::SlaService::Stub::CreateObjective, request, &second), IsOk());
  EXPECT_EQ(first.SerializeAsString(), second.SerializeAsString());
  request.mutable_objective()->set_objective_id("other");
  EXPECT_THAT(Call(&v1::SlaService::Stub::CreateObjective, request, &second),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
}

TEST_F(SlaServiceTest, ReportsAreCountedByFate) {
  StartServer();
  ASSERT_THAT(Create(WebObjective()), IsOk());
  v1::LatencyReport good = Report(0.1);
  v1::LatencyReport late = Report(0.1);
  *late.mutable_start_time() = rpc::ToProto(clock_->WallNow() - absl::Hours(2));
  v1::LatencyReport unknown = Report(0.1);
  unknown.set_application("shop");
  v1::LatencyReport broken = Report(-1.0);
  const auto summary = Send({good, good, late, unknown, broken});
  EXPECT_EQ(summary.accepted_count(), 1);
  EXPECT_EQ(summary.duplicate_count(), 1);
  EXPECT_EQ(summary.late_count(), 1);
  EXPECT_EQ(summary.refused_count(), 3);
  ASSERT_GE(summary.violations_size(), 3);
  EXPECT_EQ(summary.violations(1).value(), "shop");
  EXPECT_EQ(summary.violations(2).field(), "reports[0].values.latency_seconds[0]");

  v1::GetStatusResponse status;
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetStatus, v1::GetStatusRequest(), &status), IsOk());
  EXPECT_TRUE(status.is_serving());
  EXPECT_EQ(status.report_count(), 1);
  EXPECT_EQ(status.objective_count(), 1);
  EXPECT_THAT(status.links(), SizeIs(2));

  grpc::ClientContext context;
  v1::ReportLatenciesResponse response;
  auto writer = stub_->ReportLatencies(&context, &response);
  writer->Write(v1::ReportLatenciesRequest());
  EXPECT_THAT(rpc::FromGrpcStatus(writer->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 100")));
}

TEST_F(SlaServiceTest, AViolationIsToldBoostsAndRetrains) {
  scaler_.refusals_ = 2;
  StartServer();
  ASSERT_THAT(Create(WebObjective()), IsOk());
  const v1::Violation told = Provoke();
  EXPECT_EQ(told.objective_id(), "web-p90");
  EXPECT_EQ(told.state(), v1::VIOLATION_STATE_OPEN);
  EXPECT_EQ(told.source(), "client");
  EXPECT_GE(told.observed(), 0.2);

  std::stop_source never;
  const auto boost = scaler_.requests.Pop(never.get_token());
  ASSERT_TRUE(boost.has_value()) << "after two refusals, with backoff";
  ASSERT_THAT(boost->boosts(), SizeIs(1));
  EXPECT_EQ(boost->boosts(0).vm_uuid(), "vm-1");
  EXPECT_EQ(boost->boosts(0).violation_id(), told.violation_id());
  const auto retrain = predictor_.requests.Pop(never.get_token());
  ASSERT_TRUE(retrain.has_value());
  EXPECT_EQ(retrain->vm_uuids(0), "vm-1");
  EXPECT_EQ(retrain->reason(), predictor::v1::RETRAIN_REASON_SLO_VIOLATION);

  v1::ListViolationsRequest list;
  list.set_open_only(true);
  v1::ListViolationsResponse listed;
  ASSERT_THAT(Call(&v1::SlaService::Stub::ListViolations, list, &listed), IsOk());
  ASSERT_THAT(listed.violations(), SizeIs(1));
  EXPECT_EQ(listed.violations(0).violation_id(), told.violation_id());

  v1::ListApplicationsResponse applications;
  ASSERT_THAT(
      Call(&v1::SlaService::Stub::ListApplications, v1::ListApplicationsRequest(), &applications),
      IsOk());
  ASSERT_THAT(applications.applications(), SizeIs(1));
  EXPECT_TRUE(applications.applications(0).is_violated());

  v1::GetComplianceResponse compliance;
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetCompliance, v1::GetComplianceRequest(), &compliance),
              IsOk());
  ASSERT_THAT(compliance.compliances(), SizeIs(1));
  EXPECT_GT(compliance.compliances(0).window_count(), 0);
  EXPECT_LT(compliance.compliances(0).compliance_ratio(), 1.0);
  EXPECT_EQ(compliance.compliances(0).violation_count(), 1);
}

TEST_F(SlaServiceTest, StateSurvivesARestart) {
  StartServer();
  ASSERT_THAT(Create(WebObjective()), IsOk());
  const v1::Violation told = Provoke();
  TearServerDown();
  StartServer();
  v1::ListObjectivesResponse objectives;
  ASSERT_THAT(Call(&v1::SlaService::Stub::ListObjectives, v1::ListObjectivesRequest(), &objectives),
              IsOk());
  ASSERT_THAT(objectives.objectives(), SizeIs(1));
  v1::ListViolationsResponse violations;
  ASSERT_THAT(Call(&v1::SlaService::Stub::ListViolations, v1::ListViolationsRequest(), &violations),
              IsOk());
  ASSERT_THAT(violations.violations(), SizeIs(1));
  EXPECT_EQ(violations.violations(0).violation_id(), told.violation_id());
  v1::GetComplianceResponse compliance;
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetCompliance, v1::GetComplianceRequest(), &compliance),
              IsOk());
  EXPECT_GT(compliance.compliances(0).request_count(), 0);
}

TEST_F(SlaServiceTest, ListsArePaged) {
  StartServer();
  for (int i = 0; i < 3; ++i) {
    v1::Objective o = WebObjective();
    o.set_objective_id(absl::StrCat("o-", i));
    o.set_application(absl::StrCat("app-", i));
    ASSERT_THAT(Create(o), IsOk());
  }
  v1::ListObjectivesRequest request;
  request.set_page_size(2);
  v1::ListObjectivesResponse first, second;
  ASSERT_THAT(Call(&v1::SlaService::Stub::ListObjectives, request, &first), IsOk());
  ASSERT_THAT(first.objectives(), SizeIs(2));
  request.set_page_token(first.next_page_token());
  ASSERT_THAT(Call(&v1::SlaService::Stub::ListObjectives, request, &second), IsOk());
  ASSERT_THAT(second.objectives(), SizeIs(1));
  EXPECT_EQ(second.objectives(0).objective_id(), "o-2");
  EXPECT_EQ(second.next_page_token(), "");
  request.set_application("app-1");
  EXPECT_THAT(Call(&v1::SlaService::Stub::ListObjectives, request, &second),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")));
}

TEST_F(SlaServiceTest, StreamsEndWhenTheServiceStops) {
  StartServer();
  grpc::ClientContext watch_context, report_context;
  v1::WatchViolationsRequest request;
  request.mutable_heartbeat_period()->set_seconds(1);
  auto reader = stub_->WatchViolations(&watch_context, request);
  v1::WatchViolationsResponse message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_TRUE(message.is_heartbeat());
  v1::ReportLatenciesResponse response;
  auto writer = stub_->ReportLatencies(&report_context, &response);
  v1::ReportLatenciesRequest report;
  *report.add_reports() = Report(0.1);
  ASSERT_TRUE(writer->Write(report));
  component_->Stop();
  while (reader->Read(&message)) {
  }
  EXPECT_THAT(rpc::FromGrpcStatus(reader->Finish()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(rpc::FromGrpcStatus(writer->Finish()), StatusIs(absl::StatusCode::kUnavailable));
  v1::GetStatusResponse status;
  EXPECT_THAT(Call(&v1::SlaService::Stub::GetStatus, v1::GetStatusRequest(), &status),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(SlaServiceTest, DeclaredObjectivesAreAppliedOnceAndAgainWhenTheyChange) {
  *config_.add_objectives() = WebObjective();
  StartServer();
  v1::UpdateObjectiveRequest update;
  *update.mutable_objective() = WebObjective();
  update.mutable_objective()->mutable_terms()->set_target_ratio(0.5);
  update.set_request_id(NewId());
  v1::UpdateObjectiveResponse updated;
  ASSERT_THAT(Call(&v1::SlaService::Stub::UpdateObjective, update, &updated), IsOk());
  TearServerDown();
  StartServer();
  v1::GetObjectiveRequest get;
  get.set_objective_id("web-p90");
  v1::GetObjectiveResponse got;
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetObjective, get, &got), IsOk());
  EXPECT_EQ(got.objective().terms().target_ratio(), 0.5) << "the declaration did not change";
  TearServerDown();
  config_.mutable_objectives(0)->mutable_terms()->set_target_ratio(0.8);
  StartServer();
  ASSERT_THAT(Call(&v1::SlaService::Stub::GetObjective, get, &got), IsOk());
  EXPECT_EQ(got.objective().terms().target_ratio(), 0.8);
}

TEST(SlaConfigTest, P14NamesAllFaultsAtOnce) {
  config::v1::SlaConfig config;
  *config.add_objectives() = WebObjective();
  *config.add_objectives() = WebObjective();
  config.mutable_objectives(1)->mutable_terms()->set_target_ratio(2.0);
  config.mutable_limits()->set_max_sources(-1);
  config.mutable_udp()->set_is_enabled(true);
  config.set_objectives_file("none.yaml");
  Violations violations;
  ValidateSlaConfig(config, &violations);
  EXPECT_THAT(violations.kept(), SizeIs(5)) << violations.ToStatus();
}

}  // namespace
}  // namespace cloudscale::sla
