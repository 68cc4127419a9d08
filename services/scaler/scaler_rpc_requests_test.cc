// What is asked of the scaler over the wire: policies, boosts, reservations; and its configuration.
#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/scaler/v1/migration_service.grpc.pb.h"
#include "cloudscale/scaler/v1/reservation_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.pb.h"
#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/scaler/main/scaler_component.h"
#include "services/scaler/testing/scaler_rpc_fixture.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::scaler::testing::ScalerRpcTest;
using ::cloudscale::testing::StatusIs;
using ::testing::HasSubstr;

namespace cv1 = cloudscale::common::v1;

TEST_F(ScalerRpcTest, P14InvalidPolicyIsRefusedWholeWithAllFaults) {
  StartScaler();
  v1::UpdatePolicyRequest in;
  in.set_request_id(NextId());
  in.mutable_policy()->set_vm_uuid("vm-a");
  in.mutable_policy()->mutable_cpu()->set_min(3);
  in.mutable_policy()->mutable_cpu()->set_max(1);
  in.mutable_policy()->set_weight(-1);
  v1::UpdatePolicyResponse out;
  const absl::Status refused = Call(&Scaler::UpdatePolicy, in, &out);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(Violations::FromStatus(refused).size(), 2u) << refused;
  v1::GetPolicyRequest get;
  get.set_vm_uuid("vm-a");
  v1::GetPolicyResponse got;
  CS_ASSERT_OK(Call(&Scaler::GetPolicy, get, &got));
  EXPECT_FALSE(got.policy().has_cpu());
}

TEST_F(ScalerRpcTest, PolicyUpdatesByMaskEtagAndValidateOnlyAndPersists) {
  StartScaler();
  v1::UpdatePolicyRequest in;
  in.set_request_id(NextId());
  in.mutable_policy()->set_vm_uuid("vm-a");
  in.mutable_policy()->mutable_cpu()->set_max(2);
  in.mutable_policy()->set_weight(3);
  in.set_validate_only(true);
  v1::UpdatePolicyResponse out;
  CS_ASSERT_OK(Call(&Scaler::UpdatePolicy, in, &out));
  EXPECT_EQ(out.effective().cpu().max(), 2);
  v1::GetPolicyRequest get;
  get.set_vm_uuid("vm-a");
  v1::GetPolicyResponse got;
  CS_ASSERT_OK(Call(&Scaler::GetPolicy, get, &got));
  EXPECT_FALSE(got.policy().has_weight());

  in.set_validate_only(false);
  CS_ASSERT_OK(Call(&Scaler::UpdatePolicy, in, &out));
  const std::string etag = out.policy().etag();
  v1::UpdatePolicyRequest drop;
  drop.set_request_id(NextId());
  drop.mutable_policy()->set_vm_uuid("vm-a");
  drop.mutable_policy()->set_etag("41");
  drop.mutable_update_mask()->add_paths("weight");
  EXPECT_THAT(Call(&Scaler::UpdatePolicy, drop, &out), StatusIs(absl::StatusCode::kAborted));
  drop.set_request_id(NextId());
  drop.mutable_policy()->set_etag(etag);
  CS_ASSERT_OK(Call(&Scaler::UpdatePolicy, drop, &out));
  EXPECT_FALSE(out.policy().has_weight());
  EXPECT_EQ(out.policy().cpu().max(), 2);

  StopScaler();
  StartScaler();
  CS_ASSERT_OK(Call(&Scaler::GetPolicy, get, &got));
  EXPECT_EQ(got.policy().cpu().max(), 2);
}

TEST_F(ScalerRpcTest, PolicyUpdateWithoutMaskReplacesListsAndDurations) {
  StartScaler();
  v1::UpdatePolicyRequest in;
  in.mutable_policy()->set_vm_uuid("vm-a");
  in.mutable_policy()->mutable_placement()->add_pinned_host_ids("host-1");
  in.mutable_policy()->mutable_cpu()->mutable_cool_down_up()->set_nanos(500'000'000);
  v1::UpdatePolicyResponse out;
  for (int i = 0; i < 2; ++i) {
    in.set_request_id(NextId());
    CS_ASSERT_OK(Call(&Scaler::UpdatePolicy, in, &out));
    EXPECT_EQ(out.policy().placement().pinned_host_ids_size(), 1);
    in.mutable_policy()->mutable_cpu()->mutable_cool_down_up()->set_nanos(0);
    in.mutable_policy()->mutable_cpu()->mutable_cool_down_up()->set_seconds(2);
  }
  EXPECT_EQ(out.policy().cpu().cool_down_up().seconds(), 2);
  EXPECT_EQ(out.policy().cpu().cool_down_up().nanos(), 0);
}

TEST_F(ScalerRpcTest, P7DeletingAPolicyIsPreviewedAndKeepsGuarantees) {
  config_.mutable_default_policy()->mutable_cpu()->set_guaranteed(4);
  config_.mutable_limits()->set_host_reserve_ratio(0.5);
  StartScaler();
  Steps(1, 1.0);  // 8 cores can be guaranteed
  v1::UpdatePolicyRequest in;
  in.set_request_id(NextId());
  in.mutable_policy()->set_vm_uuid("vm-a");
  in.mutable_policy()->mutable_cpu()->set_guaranteed(1);
  v1::UpdatePolicyResponse stored;
  CS_ASSERT_OK(Call(&Scaler::UpdatePolicy, in, &stored));
  v1::DeletePolicyRequest drop;
  drop.set_vm_uuid("vm-a");
  drop.set_request_id(NextId());
  drop.set_validate_only(true);
  v1::DeletePolicyResponse out;
  CS_ASSERT_OK(Call(&Scaler::DeletePolicy, drop, &out));
  EXPECT_EQ(out.effective().cpu().guaranteed(), 4);
  v1::GetPolicyRequest get;
  get.set_vm_uuid("vm-a");
  v1::GetPolicyResponse got;
  CS_ASSERT_OK(Call(&Scaler::GetPolicy, get, &got));
  EXPECT_EQ(got.policy().cpu().guaranteed(), 1);

  capacity_cores_ = 12;
  Steps(1, 1.0);  // 6 cores only
  for (const bool validate_only : {true, false}) {
    drop.set_request_id(NextId());
    drop.set_validate_only(validate_only);
    EXPECT_THAT(Call(&Scaler::DeletePolicy, drop, &out),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("guarantee")));
  }
  CS_ASSERT_OK(Call(&Scaler::GetPolicy, get, &got));
  EXPECT_EQ(got.policy().cpu().guaranteed(), 1);
}

TEST_F(ScalerRpcTest, BoostIsCheckedGrantedAndShownAsPadding) {
  StartScaler();
  Steps(4, 1.0);
  v1::RequestBoostRequest in;
  in.set_request_id(NextId());
  v1::BoostRequest& b = *in.add_boosts();
  b.set_vm_uuid("vm-a");
  b.set_factor(5);
  v1::RequestBoostResponse out;
  const absl::Status refused = Call(&Scaler::RequestBoost, in, &out);
  EXPECT_EQ(Violations::FromStatus(refused).size(), 2u) << refused;
  b.set_factor(1.5);
  b.set_objective_id("checkout");
  v1::BoostRequest& ghost = *in.add_boosts();
  ghost.set_vm_uuid("ghost");
  ghost.set_objective_id("checkout");
  CS_ASSERT_OK(Call(&Scaler::RequestBoost, in, &out));
  EXPECT_TRUE(out.boosts(0).is_granted());
  EXPECT_FALSE(out.boosts(1).is_granted());
  Steps(1, 1.0);
  v1::ListDecisionsRequest list;
  list.set_vm_uuid("vm-a");
  list.set_resource(cv1::RESOURCE_CPU);
  list.set_page_size(1);
  v1::ListDecisionsResponse listed;
  CS_ASSERT_OK(Call(&Scaler::ListDecisions, list, &listed));
  ASSERT_EQ(listed.decisions_size(), 1);
  EXPECT_FALSE(listed.next_page_token().empty());
  bool has_slo = false;
  for (const auto& part : listed.decisions(0).padding().parts()) {
    has_slo = has_slo || part.kind() == cv1::PADDING_KIND_SLO;
  }
  EXPECT_TRUE(has_slo);
}

TEST_F(ScalerRpcTest, ReservationsLeaseRoomAndRefuseWhatDoesNotFit) {
  StartScaler();
  Steps(4, 1.0);
  auto* stub = static_cast<v1::ReservationService::StubInterface*>(reservation_.get());
  v1::ReserveRequest in;
  in.set_request_id(NextId());
  in.set_migration_id("m-1");
  in.set_vm_uuid("vm-x");
  in.set_source_host_id("host-2");
  in.set_cpu_cores(2);
  in.set_memory_bytes(1024 * kMiB);
  v1::ReserveResponse out;
  CS_ASSERT_OK(Call(&v1::ReservationService::StubInterface::Reserve, stub, in, &out));
  EXPECT_EQ(out.reservation().state(), v1::RESERVATION_STATE_HELD);
  v1::RenewRequest renew;
  renew.set_request_id(NextId());
  renew.set_reservation_id(out.reservation().reservation_id());
  renew.set_fencing_token(out.reservation().fencing_token() + 1);
  v1::RenewResponse renewed;
  EXPECT_THAT(Call(&v1::ReservationService::StubInterface::Renew, stub, renew, &renewed),
              StatusIs(absl::StatusCode::kAborted));
  in.set_request_id(NextId());
  in.set_migration_id("m-2");
  in.set_vm_uuid("vm-y");
  in.set_cpu_cores(100);
  EXPECT_THAT(Call(&v1::ReservationService::StubInterface::Reserve, stub, in, &out),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no room")));
}

TEST_F(ScalerRpcTest, MigrationSaysWhichCapabilityIsMissing) {
  StartScaler();
  auto* stub = static_cast<v1::MigrationService::StubInterface*>(migration_.get());
  v1::ListMigrationsResponse list;
  CS_EXPECT_OK(Call(&v1::MigrationService::StubInterface::ListMigrations, stub,
                    v1::ListMigrationsRequest(), &list));
  v1::PlanMigrationResponse plan;
  EXPECT_THAT(Call(&v1::MigrationService::StubInterface::PlanMigration, stub,
                   v1::PlanMigrationRequest(), &plan),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("live_migration")));
}

TEST_F(ScalerRpcTest, P14ChangingRequestNeedsARequestId) {
  StartScaler();
  v1::SetModeRequest mode;
  mode.set_mode(v1::MODE_OBSERVE);
  v1::SetModeResponse out;
  EXPECT_THAT(Call(&Scaler::SetMode, mode, &out),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
  EXPECT_EQ(Status().mode(), v1::MODE_AUTO);
}

TEST_F(ScalerRpcTest, P14BadConfigurationNamesAllFaults) {
  config_.mutable_step()->set_seconds(100'000);
  config_.mutable_default_policy()->set_weight(1e9);
  config_.add_policies();
  config_.clear_monitor_address();
  Violations v;
  ValidateScalerConfig(config_, &v);
  EXPECT_EQ(v.kept().size(), 4u) << v.ToStatus();
}

TEST_F(ScalerRpcTest, P14ConfigurationThatNothingReadsIsRefused) {
  config_.clear_journal_path();
  config_.mutable_conflict();
  config_.mutable_peers();
  config_.mutable_energy();
  config_.mutable_limits()->mutable_action_timeout()->set_seconds(3);
  Violations v;
  ValidateScalerConfig(config_, &v);
  EXPECT_EQ(v.kept().size(), 5u) << v.ToStatus();
  for (const char* field : {"journal_path", "conflict", "peers", "energy", "action_timeout"}) {
    EXPECT_THAT(v.ToStatus().message(), HasSubstr(field));
  }
}

}  // namespace
}  // namespace cloudscale::scaler
