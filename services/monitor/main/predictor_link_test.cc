// The monitor and a predictor that comes and goes.

#include "common/rpc/time_conversion.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/monitor/main/component_fixture.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(MonitorComponentTest, P1PredictorComesAndGoesWhileSamplesGoOn) {
  auto first = std::make_unique<PredictorProcess>("127.0.0.1:0", /*is_answering=*/false);
  const std::string address = absl::StrCat("127.0.0.1:", first->port);
  config::v1::MonitorConfig config;
  config.set_predictor_address(address);
  *config.mutable_client()->mutable_backoff_min() = rpc::ToProto(absl::Milliseconds(5));
  *config.mutable_client()->mutable_backoff_max() = rpc::ToProto(absl::Milliseconds(50));
  Start(config);
  Tick();
  Tick();
  ASSERT_TRUE(WaitUntil([&] { return first->service.sequences().size() >= 3; }));
  first.reset();  // it took three batches and acknowledged none
  Tick();
  EXPECT_EQ(Link().health(), common::v1::LINK_HEALTH_CONNECTING);
  ASSERT_TRUE(WaitUntil([&] { return !Link().detail().empty(); }));

  auto second = std::make_unique<PredictorProcess>(address, /*is_answering=*/true);
  ASSERT_TRUE(WaitUntil([&] { return Link().health() == common::v1::LINK_HEALTH_UP; }));
  ASSERT_TRUE(WaitUntil([&] { return second->service.sequences().size() >= 4; }));
  EXPECT_THAT(second->service.sequences(), ElementsAre(1, 2, 3, 4))
      << "what was not acknowledged is sent again, in order";

  v1::GetVmRequest request;
  request.set_vm_uuid(Uuid(0));
  const auto forecasts = [&] {
    v1::GetVmResponse response;
    EXPECT_THAT(Call(&v1::MonitorService::Stub::GetVm, request, &response), IsOk());
    return response.vm().forecasts();
  };
  ASSERT_TRUE(WaitUntil([&] {
    return forecasts().size() == 1 && forecasts()[0].forecast().based_on_sequence() == 4;
  }));
  EXPECT_DOUBLE_EQ(forecasts()[0].forecast().horizons(0).expected(), 0.75)
      << "the impossible forecast is refused though it is newer";
  EXPECT_EQ(rpc::FromProto(forecasts()[0].age()), absl::ZeroDuration());

  second.reset();
  ASSERT_TRUE(WaitUntil([&] { return Link().health() == common::v1::LINK_HEALTH_CONNECTING; }));
  grpc::ClientContext context;
  auto stream = stub_->WatchObservations(&context, {});
  stream->WaitForInitialMetadata();
  v1::WatchObservationsResponse message;
  for (int i = 1; i <= 3; ++i) {
    Tick();
    ASSERT_TRUE(stream->Read(&message));
    ASSERT_EQ(message.observation().forecasts_size(), 2) << "kept";
    EXPECT_EQ(rpc::FromProto(message.observation().forecasts(0).age()), absl::Seconds(i));
    EXPECT_EQ(message.observation().host_forecasts_size(), 1);
    EXPECT_EQ(message.observation().predictor_link().health(), common::v1::LINK_HEALTH_CONNECTING);
  }
  context.TryCancel();
}

TEST_F(MonitorComponentTest, RefusedBatchIsNotSentAgain) {
  PredictorProcess predictor("127.0.0.1:0", /*is_answering=*/true);
  predictor.service.Refuse(2);
  config::v1::MonitorConfig config;
  config.set_predictor_address(absl::StrCat("127.0.0.1:", predictor.port));
  *config.mutable_client()->mutable_backoff_min() = rpc::ToProto(absl::Milliseconds(5));
  Start(config);
  ASSERT_TRUE(WaitUntil([&] { return Link().health() == common::v1::LINK_HEALTH_UP; }));
  Tick();
  ASSERT_TRUE(WaitUntil([&] { return !Link().detail().empty(); }));
  EXPECT_THAT(Link().detail(), HasSubstr("scripted refusal"));
  Tick();
  ASSERT_TRUE(WaitUntil([&] { return Link().health() == common::v1::LINK_HEALTH_UP; }));
  EXPECT_THAT(predictor.service.sequences(), ElementsAre(1, 2, 3));
}

TEST_F(MonitorComponentTest, PredictorInTheSameProcessAnswersToo) {
  PredictorProcess predictor("127.0.0.1:0", /*is_answering=*/true);
  config::v1::MonitorConfig config;
  config.set_predictor_address(std::string(rpc::kInProcessAddress));
  Start(config, predictor.server.get());
  for (int i = 0; i < 50; ++i) {
    Tick();
  }
  ASSERT_TRUE(WaitUntil([&] { return predictor.service.sequences().size() == 51; }));
  ASSERT_TRUE(WaitUntil([&] { return Link().health() == common::v1::LINK_HEALTH_UP; }));
  Shutdown();
}

}  // namespace
}  // namespace cloudscale::monitor
