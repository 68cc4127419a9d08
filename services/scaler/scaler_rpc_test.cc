// The scaler over the wire: a fake monitor in front, a recording hypervisor behind.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/migration_service.grpc.pb.h"
#include "cloudscale/scaler/v1/reservation_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/rpc/status_conversion.h"
#include "common/sync/bounded_queue.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "services/scaler/journal/sqlite_journal.h"
#include "services/scaler/main/scaler_component.h"
#include "services/scaler/memory_journal.h"
#include "services/scaler/rpc/runtime.h"
#include "services/scaler/testing/recording_actuator.h"

namespace cloudscale::scaler {
namespace {

using ::cloudscale::testing::StatusIs;
using ::cloudscale::testing::TempDir;
using ::testing::HasSubstr;

namespace cv1 = cloudscale::common::v1;
namespace mv1 = cloudscale::monitor::v1;
namespace pv1 = cloudscale::predictor::v1;

constexpr int64_t kMiB = 1024 * 1024;

class FakeMonitor final : public mv1::MonitorService::Service {
 public:
  grpc::Status WatchObservations(
      grpc::ServerContext* context, const mv1::WatchObservationsRequest*,
      grpc::ServerWriter<mv1::WatchObservationsResponse>* writer) override {
    ++streams;
    ++active;
    const absl::Cleanup done = [this] { --active; };
    while (!context->IsCancelled()) {
      if (auto message = queue.PopFor(absl::Milliseconds(20), {})) {
        if (message->sequence() < 0) {
          return grpc::Status(grpc::StatusCode::UNAVAILABLE, "monitor restarts");
        }
        if (!writer->Write(*message)) {
          break;
        }
      }
    }
    return grpc::Status::OK;
  }
  BoundedQueue<mv1::WatchObservationsResponse> queue{10'000};
  std::atomic<int> streams = 0;
  std::atomic<int> active = 0;
};

class FakePredictor final : public pv1::PredictorService::Service {
 public:
  grpc::Status Retrain(grpc::ServerContext*, const pv1::RetrainRequest* in,
                       pv1::RetrainResponse*) override {
    seen.PushDroppingOldest(*in);
    return grpc::Status::OK;
  }
  BoundedQueue<pv1::RetrainRequest> seen{100};
};

// Shares one map between the test and the scaler, and outlives restarts of the scaler.
class ForwardingActuator final : public hypervisor::VmActuator {
 public:
  struct Shared {
    Mutex mutex;
    testing::RecordingActuator actuator;
  };
  explicit ForwardingActuator(std::shared_ptr<Shared> shared) : s_(std::move(shared)) {}
  hypervisor::Capabilities capabilities() const override { return s_->actuator.capabilities(); }
  absl::StatusOr<hypervisor::Allocation> ReadAllocation(const hypervisor::VmTarget& vm) override {
    MutexLock lock(&s_->mutex);
    return s_->actuator.ReadAllocation(vm);
  }
  absl::Status SetCpuCap(const hypervisor::ActuationPermit& p, const hypervisor::VmTarget& vm,
                         std::optional<double> cores) override {
    MutexLock lock(&s_->mutex);
    return s_->actuator.SetCpuCap(p, vm, cores);
  }
  absl::Status SetCpuWeight(const hypervisor::ActuationPermit& p, const hypervisor::VmTarget& vm,
                            int64_t weight) override {
    MutexLock lock(&s_->mutex);
    return s_->actuator.SetCpuWeight(p, vm, weight);
  }
  absl::Status SetMemoryTarget(const hypervisor::ActuationPermit& p, const hypervisor::VmTarget& vm,
                               std::optional<int64_t> bytes) override {
    MutexLock lock(&s_->mutex);
    return s_->actuator.SetMemoryTarget(p, vm, bytes);
  }
  absl::Status SetVcpuCount(const hypervisor::ActuationPermit& p, const hypervisor::VmTarget& vm,
                            int64_t count) override {
    MutexLock lock(&s_->mutex);
    return s_->actuator.SetVcpuCount(p, vm, count);
  }

 private:
  std::shared_ptr<Shared> s_;
};

class ScalerRpcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shared_->actuator.vms["vm-a"] = {4.0, 100, 2048 * kMiB};
    shared_->actuator.vms["vm-b"] = {4.0, 100, 2048 * kMiB};
    clock_ = MakeRealClock();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &peer_port_);
    builder.RegisterService(&monitor_);
    builder.RegisterService(&predictor_);
    peers_ = builder.BuildAndStart();
    config_.set_host_id("host-1");
    config_.set_monitor_address("peer");
    config_.set_predictor_address("peer");
    config_.set_mode(v1::MODE_AUTO);
    config_.set_journal_path(dir_.File("scaler.db"));
    config_.mutable_limits()->set_warm_up_samples(2);
    config_.mutable_limits()->mutable_max_sample_age()->set_seconds(600);
    config_.mutable_client()->mutable_backoff_min()->set_nanos(1'000'000);
    config_.mutable_client()->mutable_backoff_max()->set_nanos(20'000'000);
    config_.mutable_default_policy()->mutable_memory()->set_is_managed(false);
    config_.mutable_default_policy()->mutable_cpu()->set_quiet_steps(0);
    config_.mutable_default_policy()->mutable_cpu()->mutable_cool_down_down()->set_seconds(0);
  }
  void TearDown() override {
    StopScaler();
    peers_->Shutdown(std::chrono::system_clock::now());
  }

  void StartScaler() {
    rpc::Environment env{*clock_, metrics_, 7, [this](const std::string&) {
                           return grpc::CreateChannel(absl::StrCat("127.0.0.1:", peer_port_),
                                                      grpc::InsecureChannelCredentials());
                         }};
    auto component =
        MakeScalerComponent(config_, std::make_unique<ForwardingActuator>(shared_), env);
    CS_ASSERT_OK(component);
    component_ = std::move(*component);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service : component_->services()) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    CS_ASSERT_OK(component_->Start());
    auto channel =
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials());
    stub_ = v1::ScalerService::NewStub(channel);
    migration_ = v1::MigrationService::NewStub(channel);
    reservation_ = v1::ReservationService::NewStub(channel);
  }
  void StopScaler() {
    if (component_ != nullptr) {
      component_->Stop();
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
      server_.reset();
      component_.reset();
      // A stream that is on its way out must not swallow the next process's sample.
      const MonoTime deadline = clock_->MonoNow() + absl::Seconds(20);
      while (monitor_.active > 0 && clock_->MonoNow() < deadline) {
        std::this_thread::yield();
      }
    }
  }

  template <typename Stub, typename Request, typename Response>
  absl::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    Stub* stub, const Request& in, Response* out) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    context.set_wait_for_ready(true);
    return rpc::FromGrpcStatus((stub->*method)(&context, in, out));
  }
#define CALL(Name, in, out)                     \
  Call(&v1::ScalerService::StubInterface::Name, \
       static_cast<v1::ScalerService::StubInterface*>(stub_.get()), in, out)

  // Sends one sample, 10 s after the last by its own clock, so that each makes a full step.
  void Send(double demand_a, double demand_b = 0.5, bool has_forecast = true) {
    mv1::WatchObservationsResponse message;
    mv1::ObservationBatch& batch = *message.mutable_observation();
    mv1::HostSnapshot& snapshot = *batch.mutable_snapshot();
    ++sequence_;
    message.set_sequence(sequence_);
    snapshot.mutable_header()->set_host_id("host-1");
    snapshot.mutable_header()->set_boot_id("boot");
    snapshot.mutable_header()->set_sequence(sequence_);
    snapshot.mutable_header()->mutable_monotonic_time()->set_seconds(sequence_ * 10);
    snapshot.mutable_host()->set_cpu_capacity_cores(capacity_cores_);
    snapshot.mutable_host()->set_memory_total_bytes(65536 * kMiB);
    batch.mutable_predictor_link()->set_health(cv1::LINK_HEALTH_UP);
    for (const auto& [uuid, demand] : {std::pair("vm-a", demand_a), {"vm-b", demand_b}}) {
      mv1::VmSample& vm = *snapshot.add_vms();
      vm.set_vm_uuid(uuid);
      vm.set_name(uuid);
      vm.set_state(mv1::VM_STATE_RUNNING);
      vm.set_vcpu_count(4);
      {
        MutexLock lock(&shared_->mutex);
        const auto& a = shared_->actuator.vms[uuid];
        if (a.cpu_cap_cores) {
          vm.set_cpu_cap_cores(*a.cpu_cap_cores);
        }
        vm.set_memory_target_bytes(*a.memory_target_bytes);
      }
      const double limit = vm.has_cpu_cap_cores() ? vm.cpu_cap_cores() : 4;
      vm.set_cpu_usage_cores(std::min(demand, limit));
      vm.set_cpu_demand_cores(demand);
      vm.set_memory_max_bytes(4096 * kMiB);
      vm.set_cpu_quality(cv1::SAMPLE_QUALITY_FRESH);
      vm.set_memory_quality(cv1::SAMPLE_QUALITY_FRESH);
      if (has_forecast) {
        cv1::Forecast& f = *batch.add_forecasts()->mutable_forecast();
        f.set_vm_uuid(uuid);
        f.set_resource(cv1::RESOURCE_CPU);
        f.set_model("truth");
        f.set_is_warm(true);
        cv1::HorizonForecast& h = *f.add_horizons();
        h.set_expected(demand);
        cv1::QuantileValue& q = *h.add_quantiles();
        q.set_ratio(0.5);
        q.set_value(demand);
      }
    }
    monitor_.queue.PushDroppingOldest(message);
  }

  v1::GetStatusResponse Status() {
    v1::GetStatusResponse out;
    EXPECT_THAT(CALL(GetStatus, v1::GetStatusRequest(), &out), cloudscale::testing::IsOk());
    return out;
  }
  // Waits until the sample that was sent last has been taken in.
  void Settle() {
    const MonoTime deadline = clock_->MonoNow() + absl::Seconds(20);
    while (clock_->MonoNow() < deadline) {
      if (Status().sequence() >= sequence_) {
        return;
      }
    }
    ADD_FAILURE() << "sample " << sequence_ << " was never taken in";
  }
  void Steps(int count, double a, double b = 0.5) {
    for (int i = 0; i < count; ++i) {
      Send(a, b);
      Settle();
    }
  }
  double CapOf(const std::string& uuid) {
    MutexLock lock(&shared_->mutex);
    return shared_->actuator.vms[uuid].cpu_cap_cores.value_or(0);
  }
  size_t CallCount() {
    MutexLock lock(&shared_->mutex);
    return shared_->actuator.calls.size();
  }
  std::string NextId() { return absl::StrCat("request-", ++requests_); }

  TempDir dir_;
  std::unique_ptr<Clock> clock_;
  NullMetricSink metrics_;
  FakeMonitor monitor_;
  FakePredictor predictor_;
  int peer_port_ = 0;
  std::unique_ptr<grpc::Server> peers_;
  std::shared_ptr<ForwardingActuator::Shared> shared_ =
      std::make_shared<ForwardingActuator::Shared>();
  config::v1::ScalerConfig config_;
  std::unique_ptr<rpc::Component> component_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::ScalerService::Stub> stub_;
  std::unique_ptr<v1::MigrationService::Stub> migration_;
  std::unique_ptr<v1::ReservationService::Stub> reservation_;
  int64_t sequence_ = 0;
  int requests_ = 0;
  double capacity_cores_ = 16;
};

TEST_F(ScalerRpcTest, ActsJournalsAndExplains) {
  StartScaler();
  Steps(8, 1.0);
  EXPECT_LT(CapOf("vm-a"), 2.1);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(CALL(ListActions, v1::ListActionsRequest(), &actions));
  ASSERT_GT(actions.actions_size(), 0);
  EXPECT_EQ(actions.actions(0).state(), v1::ACTION_STATE_SUCCEEDED);
  EXPECT_EQ(actions.actions(0).stage(), v1::JOURNAL_STAGE_DONE);

  v1::ExplainVmRequest why;
  why.set_vm_uuid("vm-a");
  v1::ExplainVmResponse because;
  CS_ASSERT_OK(CALL(ExplainVm, why, &because));
  EXPECT_EQ(because.decisions_size(), 2);
  EXPECT_EQ(because.forecasts_size(), 1);
  EXPECT_GT(because.recent_actions_size(), 0);
  EXPECT_GT(because.policy().sources_size(), 5);
  EXPECT_FALSE(because.decisions(0).reasons().empty());

  why.set_vm_uuid("ghost");
  EXPECT_THAT(CALL(ExplainVm, why, &because), StatusIs(absl::StatusCode::kNotFound));

  const v1::GetStatusResponse status = Status();
  EXPECT_EQ(status.mode(), v1::MODE_AUTO);
  EXPECT_EQ(status.totals().vm_count(), 2);
  EXPECT_EQ(status.totals().managed_vm_count(), 2);
  EXPECT_FALSE(status.is_fail_static());
  CS_EXPECT_OK(component_->Readiness());
}

TEST_F(ScalerRpcTest, P11NewInstallRecommendsAndApprovedActionsRun) {
  config_.clear_mode();
  StartScaler();
  Steps(6, 1.0);
  EXPECT_EQ(CallCount(), 0u);
  v1::ListActionsRequest pending;
  pending.add_states(v1::ACTION_STATE_PENDING);
  pending.set_vm_uuid("vm-a");
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(CALL(ListActions, pending, &actions));
  ASSERT_EQ(actions.actions_size(), 1);
  const v1::Action proposal = actions.actions(0);

  v1::ApproveActionRequest approve;
  approve.set_action_id(proposal.action_id());
  approve.set_request_id(NextId());
  approve.set_etag("wrong");
  v1::ApproveActionResponse approved;
  EXPECT_THAT(CALL(ApproveAction, approve, &approved), StatusIs(absl::StatusCode::kAborted));
  approve.set_etag(proposal.etag());
  CS_ASSERT_OK(CALL(ApproveAction, approve, &approved));
  EXPECT_EQ(approved.action().state(), v1::ACTION_STATE_SUCCEEDED);
  EXPECT_EQ(CapOf("vm-a"), proposal.target().cpu_cap_cores());
  // A repeat with the same id answers the same and does nothing.
  const size_t calls = CallCount();
  v1::ApproveActionResponse again;
  CS_ASSERT_OK(CALL(ApproveAction, approve, &again));
  EXPECT_EQ(again.SerializeAsString(), approved.SerializeAsString());
  EXPECT_EQ(CallCount(), calls);

  v1::UndoActionRequest undo;
  undo.set_action_id(proposal.action_id());
  undo.set_request_id(NextId());
  v1::UndoActionResponse undone;
  CS_ASSERT_OK(CALL(UndoAction, undo, &undone));
  EXPECT_EQ(CapOf("vm-a"), 4.0);
}

TEST_F(ScalerRpcTest, SkippedActionIsGone) {
  config_.clear_mode();
  StartScaler();
  Steps(4, 1.0);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(CALL(ListActions, v1::ListActionsRequest(), &actions));
  ASSERT_GT(actions.actions_size(), 0);
  v1::SkipActionRequest skip;
  skip.set_action_id(actions.actions(0).action_id());
  skip.set_request_id(NextId());
  v1::SkipActionResponse skipped;
  CS_ASSERT_OK(CALL(SkipAction, skip, &skipped));
  EXPECT_EQ(skipped.action().state(), v1::ACTION_STATE_SKIPPED);
  skip.set_request_id(NextId());
  EXPECT_THAT(CALL(SkipAction, skip, &skipped), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ScalerRpcTest, P14InvalidPolicyIsRefusedWholeWithAllFaults) {
  StartScaler();
  v1::UpdatePolicyRequest in;
  in.set_request_id(NextId());
  in.mutable_policy()->set_vm_uuid("vm-a");
  in.mutable_policy()->mutable_cpu()->set_min(3);
  in.mutable_policy()->mutable_cpu()->set_max(1);
  in.mutable_policy()->set_weight(-1);
  v1::UpdatePolicyResponse out;
  const absl::Status refused = CALL(UpdatePolicy, in, &out);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(Violations::FromStatus(refused).size(), 2u) << refused;
  v1::GetPolicyRequest get;
  get.set_vm_uuid("vm-a");
  v1::GetPolicyResponse got;
  CS_ASSERT_OK(CALL(GetPolicy, get, &got));
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
  CS_ASSERT_OK(CALL(UpdatePolicy, in, &out));
  EXPECT_EQ(out.effective().cpu().max(), 2);
  v1::GetPolicyRequest get;
  get.set_vm_uuid("vm-a");
  v1::GetPolicyResponse got;
  CS_ASSERT_OK(CALL(GetPolicy, get, &got));
  EXPECT_FALSE(got.policy().has_weight());

  in.set_validate_only(false);
  CS_ASSERT_OK(CALL(UpdatePolicy, in, &out));
  const std::string etag = out.policy().etag();
  v1::UpdatePolicyRequest drop;
  drop.set_request_id(NextId());
  drop.mutable_policy()->set_vm_uuid("vm-a");
  drop.mutable_policy()->set_etag("41");
  drop.mutable_update_mask()->add_paths("weight");
  EXPECT_THAT(CALL(UpdatePolicy, drop, &out), StatusIs(absl::StatusCode::kAborted));
  drop.set_request_id(NextId());
  drop.mutable_policy()->set_etag(etag);
  CS_ASSERT_OK(CALL(UpdatePolicy, drop, &out));
  EXPECT_FALSE(out.policy().has_weight());
  EXPECT_EQ(out.policy().cpu().max(), 2);

  StopScaler();
  StartScaler();
  CS_ASSERT_OK(CALL(GetPolicy, get, &got));
  EXPECT_EQ(got.policy().cpu().max(), 2);
}

TEST_F(ScalerRpcTest, ModeAndPauseSurviveARestartAndStopActing) {
  StartScaler();
  v1::SetModeRequest mode;
  mode.set_mode(v1::MODE_RECOMMEND);
  mode.set_request_id(NextId());
  v1::SetModeResponse moded;
  CS_ASSERT_OK(CALL(SetMode, mode, &moded));
  EXPECT_EQ(moded.previous_mode(), v1::MODE_AUTO);
  v1::SetPauseRequest pause;
  pause.set_vm_uuid("vm-a");
  pause.set_request_id(NextId());
  pause.mutable_pause()->set_pause_shrink(true);
  v1::SetPauseResponse paused;
  CS_ASSERT_OK(CALL(SetPause, pause, &paused));
  EXPECT_TRUE(paused.effective().pause_shrink());
  StopScaler();
  StartScaler();
  EXPECT_EQ(Status().mode(), v1::MODE_RECOMMEND);
  Steps(5, 1.0);
  EXPECT_EQ(CallCount(), 0u);
  v1::ListVmStatesResponse states;
  CS_ASSERT_OK(CALL(ListVmStates, v1::ListVmStatesRequest(), &states));
  ASSERT_EQ(states.vms_size(), 2);
  EXPECT_EQ(states.vms(0).cpu().outcome(), v1::DECISION_OUTCOME_PAUSED);
  EXPECT_EQ(states.vms(1).cpu().outcome(), v1::DECISION_OUTCOME_RECOMMENDED);
}

TEST_F(ScalerRpcTest, P16RestoreOriginalsPutsSizesBackAndStopsActing) {
  StartScaler();
  Steps(8, 1.0);
  ASSERT_NE(CapOf("vm-a"), 4.0);
  v1::RestoreOriginalsRequest in;
  in.set_request_id(NextId());
  v1::RestoreOriginalsResponse out;
  CS_ASSERT_OK(CALL(RestoreOriginals, in, &out));
  EXPECT_EQ(out.actions_size(), 2);
  EXPECT_EQ(CapOf("vm-a"), 4.0);
  EXPECT_EQ(CapOf("vm-b"), 4.0);
  const size_t calls = CallCount();
  Steps(5, 1.0);
  EXPECT_EQ(CallCount(), calls);
}

TEST_F(ScalerRpcTest, P2RestartWarmsUpAndKeepsTheHistory) {
  StartScaler();
  Steps(8, 1.0);
  const double cap = CapOf("vm-a");
  const size_t calls = CallCount();
  StopScaler();
  config_.mutable_limits()->set_warm_up_samples(5);
  StartScaler();
  EXPECT_FALSE(Status().is_warm());
  Steps(4, 3.9);
  EXPECT_EQ(CapOf("vm-a"), cap);
  EXPECT_EQ(CallCount(), calls);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(CALL(ListActions, v1::ListActionsRequest(), &actions));
  EXPECT_GT(actions.actions_size(), 0);
  Steps(2, 3.9);
  EXPECT_GT(CapOf("vm-a"), cap);
}

TEST_F(ScalerRpcTest, MonitorLossChangesNothingAndTheStreamComesBack) {
  StartScaler();
  Steps(4, 1.0);
  const double cap = CapOf("vm-a");
  mv1::WatchObservationsResponse end;
  end.set_sequence(-1);
  const int streams = monitor_.streams;
  monitor_.queue.PushDroppingOldest(end);
  while (monitor_.streams == streams) {
    (void)Status();  // each call takes a moment; no sleeping
  }
  EXPECT_EQ(CapOf("vm-a"), cap);
  Steps(2, 1.0);
  EXPECT_EQ(Status().sequence(), sequence_);
}

TEST_F(ScalerRpcTest, UnderEstimatesInARowAskThePredictorToRetrain) {
  config_.set_mode(v1::MODE_RECOMMEND);
  shared_->actuator.vms["vm-a"].cpu_cap_cores = 1.0;
  StartScaler();
  Steps(4, 3.0);
  const auto asked = predictor_.seen.PopFor(absl::Seconds(10), {});
  ASSERT_TRUE(asked.has_value());
  EXPECT_EQ(asked->vm_uuids(0), "vm-a");
  EXPECT_EQ(asked->reason(), pv1::RETRAIN_REASON_UNDER_ESTIMATES);
  EXPECT_FALSE(asked->request_id().empty());
}

TEST_F(ScalerRpcTest, WatchersSeeDecisionsActionsAndStatus) {
  StartScaler();
  Steps(4, 1.0);
  // Resumed from the start, so that nothing depends on when the streams open.
  grpc::ClientContext decision_context;
  v1::WatchDecisionsRequest watch_decisions;
  watch_decisions.set_resume_from(1);
  watch_decisions.set_vm_uuid("vm-b");
  auto decisions = stub_->WatchDecisions(&decision_context, watch_decisions);
  v1::WatchDecisionsResponse decision;
  for (int64_t last = 0; last < 8; last = decision.sequence()) {
    ASSERT_TRUE(decisions->Read(&decision));
    EXPECT_EQ(decision.decision().vm_uuid(), "vm-b");
    EXPECT_GT(decision.sequence(), last);
  }
  grpc::ClientContext action_context;
  v1::WatchActionsRequest watch_actions;
  watch_actions.set_resume_from(1);
  auto actions = stub_->WatchActions(&action_context, watch_actions);
  v1::WatchActionsResponse action;
  ASSERT_TRUE(actions->Read(&action));
  EXPECT_EQ(action.action().state(), v1::ACTION_STATE_SUCCEEDED);
  grpc::ClientContext status_context;
  v1::WatchStatusRequest watch_status;
  watch_status.set_resume_from(0);
  auto statuses = stub_->WatchStatus(&status_context, watch_status);
  v1::WatchStatusResponse view;
  ASSERT_TRUE(statuses->Read(&view));
  component_->Stop();
  while (statuses->Read(&view)) {
  }
  EXPECT_EQ(statuses->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  decision_context.TryCancel();
  action_context.TryCancel();
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
  const absl::Status refused = CALL(RequestBoost, in, &out);
  EXPECT_EQ(Violations::FromStatus(refused).size(), 2u) << refused;
  b.set_factor(1.5);
  b.set_objective_id("checkout");
  v1::BoostRequest& ghost = *in.add_boosts();
  ghost.set_vm_uuid("ghost");
  ghost.set_objective_id("checkout");
  CS_ASSERT_OK(CALL(RequestBoost, in, &out));
  EXPECT_TRUE(out.boosts(0).is_granted());
  EXPECT_FALSE(out.boosts(1).is_granted());
  Steps(1, 1.0);
  v1::ListDecisionsRequest list;
  list.set_vm_uuid("vm-a");
  list.set_resource(cv1::RESOURCE_CPU);
  list.set_page_size(1);
  v1::ListDecisionsResponse listed;
  CS_ASSERT_OK(CALL(ListDecisions, list, &listed));
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
  EXPECT_THAT(CALL(SetMode, mode, &out),
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

TEST_F(ScalerRpcTest, OneSickVmDoesNotStopTheHost) {
  shared_->actuator.read_status_of["vm-a"] = absl::UnavailableError("no answer");
  StartScaler();
  for (int i = 0; i < 4; ++i) {
    Steps(1, 1.0);
    EXPECT_FALSE(Status().is_fail_static()) << Status().fail_static_reason();
  }
  EXPECT_EQ(CapOf("vm-a"), 4.0);
  EXPECT_LT(CapOf("vm-b"), 4.0);
}

TEST_F(ScalerRpcTest, P4ChangeOfACrashedProcessIsNotTakenForSomebodyElses) {
  StartScaler();
  Steps(4, 1.0);
  const double cap = CapOf("vm-a");
  ASSERT_LT(cap, 2.9);
  StopScaler();
  {
    // Crashed between the call and the end: the hypervisor has it, the journal says APPLY.
    auto journal = SqliteJournal::Open(config_.journal_path());
    CS_ASSERT_OK(journal);
    ActionRecord open;
    open.action_id = "act-1-1000";
    open.host_id = "host-1";
    open.vm_uuid = "vm-a";
    open.state = ActionState::kRunning;
    open.stage = JournalStage::kApply;
    open.before = cap;
    open.target = 3.0;
    open.created_at = open.updated_at = clock_->WallNow();
    CS_ASSERT_OK((*journal)->Put(open, {}));
  }
  shared_->actuator.vms["vm-a"].cpu_cap_cores = 3.0;
  StartScaler();
  EXPECT_FALSE(Status().is_fail_static());
  Steps(4, 1.0);
  v1::ListDecisionsResponse decisions;
  CS_ASSERT_OK(CALL(ListDecisions, v1::ListDecisionsRequest(), &decisions));
  ASSERT_GT(decisions.decisions_size(), 4);
  for (const v1::Decision& d : decisions.decisions()) {
    for (const v1::Reason& reason : d.reasons()) {
      EXPECT_NE(reason.code(), v1::REASON_CODE_FOREIGN_CHANGE) << d.ShortDebugString();
    }
  }
  EXPECT_LT(CapOf("vm-a"), 3.0);
}

TEST_F(ScalerRpcTest, ActionsArePagedThroughAllRecommendations) {
  config_.clear_mode();
  StartScaler();
  Steps(4, 1.0);
  v1::ListActionsResponse actions;
  CS_ASSERT_OK(CALL(ListActions, v1::ListActionsRequest(), &actions));
  ASSERT_EQ(actions.actions_size(), 2);
  v1::SkipActionRequest skip;
  skip.set_action_id(actions.actions(1).action_id());
  skip.set_request_id(NextId());
  v1::SkipActionResponse skipped;
  CS_ASSERT_OK(CALL(SkipAction, skip, &skipped));
  v1::ApproveActionRequest approve;
  approve.set_action_id(actions.actions(0).action_id());
  approve.set_request_id(NextId());
  v1::ApproveActionResponse approved;
  CS_ASSERT_OK(CALL(ApproveAction, approve, &approved));
  Steps(1, 1.0);  // proposes anew
  CS_ASSERT_OK(CALL(ListActions, v1::ListActionsRequest(), &actions));
  std::vector<std::string> all;
  std::map<v1::ActionState, int> states;
  for (const v1::Action& action : actions.actions()) {
    all.push_back(action.action_id());
    ++states[action.state()];
  }
  EXPECT_EQ(states[v1::ACTION_STATE_SKIPPED], 1);
  EXPECT_EQ(states[v1::ACTION_STATE_SUCCEEDED], 1);
  EXPECT_GE(states[v1::ACTION_STATE_PENDING], 1);
  std::vector<std::string> paged;
  v1::ListActionsRequest in;
  in.set_page_size(1);
  for (int i = 0; i < 20; ++i) {
    v1::ListActionsResponse page;
    CS_ASSERT_OK(CALL(ListActions, in, &page));
    for (const v1::Action& action : page.actions()) {
      paged.push_back(action.action_id());
    }
    if (page.next_page_token().empty()) {
      break;
    }
    in.set_page_token(page.next_page_token());
  }
  EXPECT_EQ(paged, all);
  in.set_page_token("recommendation:x");
  EXPECT_THAT(CALL(ListActions, in, &actions), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ScalerRpcTest, ExplainingOneResourceListsAllItsDecisions) {
  StartScaler();
  Steps(4, 1.0);
  for (const cv1::Resource resource : {cv1::RESOURCE_CPU, cv1::RESOURCE_MEMORY}) {
    v1::ExplainVmRequest why;
    why.set_vm_uuid("vm-a");
    why.set_resource(resource);
    v1::ExplainVmResponse because;
    CS_ASSERT_OK(CALL(ExplainVm, why, &because));
    EXPECT_EQ(because.recent_decisions_size(), 4);
  }
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
    CS_ASSERT_OK(CALL(UpdatePolicy, in, &out));
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
  CS_ASSERT_OK(CALL(UpdatePolicy, in, &stored));
  v1::DeletePolicyRequest drop;
  drop.set_vm_uuid("vm-a");
  drop.set_request_id(NextId());
  drop.set_validate_only(true);
  v1::DeletePolicyResponse out;
  CS_ASSERT_OK(CALL(DeletePolicy, drop, &out));
  EXPECT_EQ(out.effective().cpu().guaranteed(), 4);
  v1::GetPolicyRequest get;
  get.set_vm_uuid("vm-a");
  v1::GetPolicyResponse got;
  CS_ASSERT_OK(CALL(GetPolicy, get, &got));
  EXPECT_EQ(got.policy().cpu().guaranteed(), 1);

  capacity_cores_ = 12;
  Steps(1, 1.0);  // 6 cores only
  for (const bool validate_only : {true, false}) {
    drop.set_request_id(NextId());
    drop.set_validate_only(validate_only);
    EXPECT_THAT(CALL(DeletePolicy, drop, &out),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("guarantee")));
  }
  CS_ASSERT_OK(CALL(GetPolicy, get, &got));
  EXPECT_EQ(got.policy().cpu().guaranteed(), 1);
}

TEST(RuntimeTest, P17SamplesWithoutEndDoNotStarveCommands) {
  constexpr int kSamples = 500;
  const auto clock = MakeRealClock();
  NullMetricSink metrics;
  Runtime runtime(*clock);
  BoundedQueue<int> ran(1);
  BoundedQueue<int> ended(1);
  std::atomic<bool> has_started = false;
  std::atomic<int> taken = 0;
  ScalerCore::Sinks sinks = runtime.MakeSinks();
  // Each sample brings the next one along before it is done.
  sinks.snapshot = [&](std::shared_ptr<const Snapshot>) {
    if (!has_started) {
      return;
    }
    const int count = ++taken;
    if (count == 1) {
      EXPECT_TRUE(
          runtime.Post([&](ScalerCore*) { EXPECT_TRUE(ran.PushDroppingOldest(taken.load())); }));
    }
    if (count < kSamples) {
      runtime.OnObservation({});
    } else {
      ended.PushDroppingOldest(count);
    }
  };
  ScalerCore::Config config;
  config.host_id = "host-1";
  auto core = ScalerCore::Create(std::move(config), std::make_unique<MemoryJournal>(),
                                 std::make_unique<testing::RecordingActuator>(), *clock, metrics,
                                 std::move(sinks));
  CS_ASSERT_OK(core);
  has_started = true;
  runtime.Start(*std::move(core));
  runtime.OnObservation({});
  EXPECT_TRUE(ended.PopFor(absl::Seconds(20), {}).has_value());
  const auto at = ran.PopFor(absl::Seconds(20), {});
  runtime.Stop();
  ASSERT_TRUE(at.has_value());
  EXPECT_LT(*at, 5);
}

}  // namespace
}  // namespace cloudscale::scaler
