// The calls of the predictor as its clients see them, and its configuration.
#include "absl/time/time.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/predictor/main/predictor_component.h"
#include "services/predictor/rpc/predictor_rpc_fixture.h"

namespace cloudscale::predictor {
namespace {

using ::cloudscale::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

TEST_F(PredictorRpcTest, ForecastsCanBeAskedForAndListed) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(200, 2).has_value());
  v1::GetForecastResponse forecast;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, CpuOfVm(), &forecast));
  // Within one cell of the portfolio's grid.
  EXPECT_THAT(forecast.forecast().horizons(0).expected(), AllOf(Ge(2), Le(2.05)));
  v1::GetForecastRequest sum;
  sum.set_host_id("host-1");
  sum.set_resource(common::v1::RESOURCE_MEMORY);
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetForecast, sum, &forecast));
  EXPECT_THAT(forecast.forecast().horizons(0).expected(),
              AllOf(Ge(1 << 30), Le(1.025 * (1 << 30))));
  v1::GetForecastRequest unknown = CpuOfVm();
  unknown.set_vm_uuid("nobody");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, unknown, &forecast),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody")));
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, {}, &forecast),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("vm_uuid")));
  unknown = CpuOfVm();
  unknown.set_model("max");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::GetForecast, unknown, &forecast),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("max")));

  v1::ListForecastsRequest list;
  list.set_page_size(3);
  v1::ListForecastsResponse page;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListForecasts, list, &page));
  EXPECT_EQ(page.forecasts_size(), 3);
  list.set_page_token(page.next_page_token());
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListForecasts, list, &page));
  ASSERT_EQ(page.forecasts_size(), 1);
  EXPECT_EQ(page.forecasts(0).vm_uuid(), kVm);
  EXPECT_EQ(page.forecasts(0).resource(), common::v1::RESOURCE_MEMORY);
  EXPECT_TRUE(page.next_page_token().empty());
  list.set_page_token("made up");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::ListForecasts, list, &page),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")));
}

TEST_F(PredictorRpcTest, ModelsAreListedAndChosenOnce) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(50, 2).has_value());
  v1::ListModelsResponse models;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListModels, {}, &models));
  EXPECT_EQ(models.models_size(), 10);
  EXPECT_EQ(models.models(8).name(), "portfolio");
  EXPECT_TRUE(models.models(8).is_default());
  EXPECT_EQ(models.models(8).series_count(), 4);
  v1::SelectModelRequest select;
  select.set_vm_uuid(kVm);
  select.set_resource(common::v1::RESOURCE_CPU);
  select.set_model("max");
  select.set_request_id("r-1");
  v1::SelectModelResponse answer;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::SelectModel, select, &answer));
  EXPECT_EQ(answer.previous_model(), "portfolio");
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::SelectModel, select, &answer));
  EXPECT_EQ(answer.previous_model(), "portfolio");  // the first answer again
  const auto batch = host.SendUntil(70, 2);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->forecasts(0).model(), "max");
  select.set_request_id("r-2");
  select.set_model("oracle");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::SelectModel, select, &answer),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("oracle")));
}

TEST_F(PredictorRpcTest, RetrainIsDoneOncePerRequestId) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(500, 2).has_value());
  clock_.Advance(absl::Minutes(10));
  v1::RetrainRequest request;
  request.add_vm_uuids(kVm);
  request.set_resource(common::v1::RESOURCE_CPU);
  request.set_request_id("retrain-1");
  v1::RetrainResponse response;
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::Retrain, request, &response),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reason")));
  request.set_reason(v1::RETRAIN_REASON_UNDER_ESTIMATES);
  request.set_validate_only(true);
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::Retrain, request, &response));
  EXPECT_EQ(response.series_count(), 1);
  request.set_validate_only(false);
  for (int repeat = 0; repeat < 3; ++repeat) {
    CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::Retrain, request, &response));
    EXPECT_EQ(response.series_count(), 1);
    EXPECT_EQ(response.skipped_count(), 0);
  }
  request.set_request_id("retrain-2");  // within the minimum interval
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::Retrain, request, &response));
  EXPECT_EQ(response.series_count(), 0);
  EXPECT_EQ(response.skipped_count(), 1);
}

TEST_F(PredictorRpcTest, AccuracyIsReportedPerHorizon) {
  PredictorServer server(config_, clock_);
  Host host(server);
  ASSERT_TRUE(host.SendUntil(100, 2).has_value());
  // One step at a time, so that every forecast can be judged.
  for (int64_t step = 11; step < 25; ++step) {
    ASSERT_TRUE(host.SendUntil(step * 10, 2).has_value());
  }
  v1::GetAccuracyRequest request;
  request.set_vm_uuid(kVm);
  request.set_resource(common::v1::RESOURCE_CPU);
  v1::GetAccuracyResponse response;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::GetAccuracy, request, &response));
  ASSERT_EQ(response.accuracies_size(), 4);
  EXPECT_GT(response.accuracies(0).step_count(), 5);
  EXPECT_NEAR(response.accuracies(0).coverage(0).observed_ratio(), 1, 1e-9);
  EXPECT_THAT(response.accuracies(0).over_allocation_ratio(), AllOf(Ge(1), Le(1.05)));
  v1::ListAccuracyRequest list;
  list.set_page_size(5);
  int rows = 0;
  v1::ListAccuracyResponse page;
  do {
    CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::ListAccuracy, list, &page));
    EXPECT_LE(page.accuracies_size(), 5);
    rows += page.accuracies_size();
    list.set_page_token(page.next_page_token());
  } while (!page.next_page_token().empty());
  EXPECT_EQ(rows, 16);  // 2 VM series and 2 sums of 4 horizons
}

TEST_F(PredictorRpcTest, TargetsAreTakenAndBounded) {
  PredictorServer server(config_, clock_);
  v1::UpdateTargetsRequest request;
  request.set_request_id("t-1");
  v1::SeriesTarget* target = request.add_targets();
  target->set_vm_uuid(kVm);
  target->set_target_violation_ratio(0.2);
  v1::UpdateTargetsResponse response;
  CS_ASSERT_OK(server.Call(&v1::PredictorService::Stub::UpdateTargets, request, &response));
  EXPECT_EQ(response.updated_count(), 1);
  Host host(server);
  const auto batch = host.SendUntil(30, 1);  // the VM was not known before
  ASSERT_TRUE(batch.has_value());
  EXPECT_DOUBLE_EQ(batch->forecasts(0).target_violation_ratio(), 0.2);
  target->set_price_factor(1000);
  request.set_request_id("t-2");
  EXPECT_THAT(server.Call(&v1::PredictorService::Stub::UpdateTargets, request, &response),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("targets[0].price_factor")));
}

TEST(PredictorConfigTest, AllFaultsAreNamedAtOnce) {
  config::v1::PredictorConfig config;
  config.mutable_step()->set_seconds(10);
  config.add_horizons()->set_seconds(15);
  config.add_quantile_ratios(1.5);
  config.set_model("oracle");
  config.mutable_limits()->set_history_steps(3);
  Violations violations;
  ValidatePredictorConfig(config, &violations);
  EXPECT_THAT(violations.ToStatus(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("horizons[0]"), HasSubstr("quantile_ratios[0]"),
                             HasSubstr("oracle"), HasSubstr("limits.history_steps"))));
  EXPECT_EQ(violations.kept().size(), 4u);
}

}  // namespace
}  // namespace cloudscale::predictor
