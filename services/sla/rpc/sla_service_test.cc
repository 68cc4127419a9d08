// The contract over a real server on a port chosen by the system.
#include "services/sla/rpc/sla_service_fixture.h"

namespace cloudscale::sla {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::SizeIs;

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
  v1::LatencyReport ahead = Report(0.1);
  *ahead.mutable_start_time() = rpc::ToProto(clock_->WallNow() + absl::Minutes(2));
  const auto summary = Send({good, good, late, unknown, broken, ahead});
  for (const char* outcome :
       {"accepted", "duplicate", "late", "unknown_application", "invalid", "ahead"}) {
    EXPECT_EQ(metrics_.value("cloudscale_sla_reports_total",
                             {{"source", "client"}, {"outcome", outcome}}),
              1)
        << outcome;
  }
  EXPECT_EQ(summary.accepted_count(), 1);
  EXPECT_EQ(summary.duplicate_count(), 1);
  EXPECT_EQ(summary.late_count(), 1);
  EXPECT_EQ(summary.refused_count(), 4);
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
  config.mutable_udp()->set_listen_address("0.0.0.0:7000");
  config.mutable_haproxy_log()->set_listen_address("relative.sock");
  config.mutable_haproxy_log()->mutable_slice()->set_seconds(2);
  config.mutable_haproxy_log()->set_queue_lines(1);
  config.mutable_price()->set_factor(0.5);
  config.mutable_price()->set_max_factor(0.4);
  config.mutable_price()->mutable_duration()->set_seconds(1);
  config.set_objectives_file("none.yaml");
  Violations violations;
  ValidateSlaConfig(config, &violations);
  EXPECT_THAT(violations.kept(), SizeIs(11)) << violations.ToStatus();
}

}  // namespace
}  // namespace cloudscale::sla
