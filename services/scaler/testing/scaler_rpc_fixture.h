// What the tests of the scaler over the wire share: a fake monitor and predictor in front, a
// recording hypervisor behind.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "cloudscale/config/v1/config.pb.h"
#include "cloudscale/lbctl/v1/balancer_service.grpc.pb.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "cloudscale/scaler/v1/migration_service.grpc.pb.h"
#include "cloudscale/scaler/v1/reservation_service.grpc.pb.h"
#include "cloudscale/scaler/v1/scaler_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/rpc/component.h"
#include "common/rpc/status_conversion.h"
#include "common/sync/bounded_queue.h"
#include "common/sync/mutex.h"
#include "common/testing/status_matchers.h"
#include "common/testing/temp_dir.h"
#include "common/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/scaler/main/scaler_component.h"
#include "services/scaler/testing/recording_actuator.h"

namespace cloudscale::scaler::testing {

// Sends what is in its queue to whoever watches; a message with a negative sequence ends the
// stream.
class FakeMonitor final : public monitor::v1::MonitorService::Service {
 public:
  grpc::Status WatchObservations(
      grpc::ServerContext* context, const monitor::v1::WatchObservationsRequest*,
      grpc::ServerWriter<monitor::v1::WatchObservationsResponse>* writer) override {
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
  BoundedQueue<monitor::v1::WatchObservationsResponse> queue{10'000};
  std::atomic<int> streams = 0;
  std::atomic<int> active = 0;
};

// Keeps the requests to retrain; its forecasts aim at what it was told last.
class FakePredictor final : public predictor::v1::PredictorService::Service {
 public:
  grpc::Status Retrain(grpc::ServerContext*, const predictor::v1::RetrainRequest* in,
                       predictor::v1::RetrainResponse*) override {
    seen.PushDroppingOldest(*in);
    return grpc::Status::OK;
  }
  grpc::Status UpdateTargets(grpc::ServerContext*, const predictor::v1::UpdateTargetsRequest* in,
                             predictor::v1::UpdateTargetsResponse*) override {
    target_violation_ratio = in->targets(0).target_violation_ratio();
    targets.PushDroppingOldest(*in);
    return grpc::Status::OK;
  }
  BoundedQueue<predictor::v1::RetrainRequest> seen{100};
  BoundedQueue<predictor::v1::UpdateTargetsRequest> targets{100};
  std::atomic<double> target_violation_ratio = 0.02;
};

// Answers reports of capacity at once; those with announcements, when told so, later or with an
// error; or none at all.
class FakeLbctl final : public lbctl::v1::BalancerService::Service {
 public:
  grpc::Status ReportCapacity(grpc::ServerContext* context,
                              const lbctl::v1::ReportCapacityRequest* in,
                              lbctl::v1::ReportCapacityResponse* out) override {
    seen.PushDroppingOldest(*in);
    const bool announces =
        std::any_of(in->vms().begin(), in->vms().end(),
                    [](const lbctl::v1::VmCapacity& vm) { return vm.has_coming_cores(); });
    while ((hangs || (announces && holds_announcements)) && !context->IsCancelled()) {
      MutexLock lock(&mutex_);
      changed_.WaitFor(&mutex_, absl::Milliseconds(5), {});
    }
    if (announces && refuses_announcements) {
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "no balancer");
    }
    out->add_followed_vm_uuids("vm-a");
    return grpc::Status::OK;
  }
  BoundedQueue<lbctl::v1::ReportCapacityRequest> seen{1000};
  std::atomic<bool> hangs = false;
  std::atomic<bool> holds_announcements = false;
  std::atomic<bool> refuses_announcements = false;

 private:
  Mutex mutex_;
  CondVar changed_;
};

// Shares one map between the test and the scaler, and outlives restarts of the scaler.
class ForwardingActuator final : public hypervisor::VmActuator {
 public:
  struct Shared {
    Mutex mutex;
    RecordingActuator actuator;
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

// A scaler process without the process, with its peers; each test starts it when it is configured.
class ScalerRpcTest : public ::testing::Test {
 protected:
  using Scaler = v1::ScalerService::StubInterface;
  static constexpr int64_t kMiB = 1024 * 1024;

  void SetUp() override {
    shared_->actuator.vms["vm-a"] = {4.0, 100, 2048 * kMiB};
    shared_->actuator.vms["vm-b"] = {4.0, 100, 2048 * kMiB};
    clock_ = MakeRealClock();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &peer_port_);
    builder.RegisterService(&monitor_);
    builder.RegisterService(&predictor_);
    builder.RegisterService(&lbctl_);
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
  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (Scaler::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& in, Response* out) {
    return Call(method, static_cast<Scaler*>(stub_.get()), in, out);
  }

  // Sends one sample, 10 s after the last by its own clock, so that each makes a full step.
  void Send(double demand_a, double demand_b = 0.5, bool has_forecast = true) {
    monitor::v1::WatchObservationsResponse message;
    monitor::v1::ObservationBatch& batch = *message.mutable_observation();
    monitor::v1::HostSnapshot& snapshot = *batch.mutable_snapshot();
    ++sequence_;
    message.set_sequence(sequence_);
    snapshot.mutable_header()->set_host_id("host-1");
    snapshot.mutable_header()->set_boot_id("boot");
    snapshot.mutable_header()->set_sequence(sequence_);
    snapshot.mutable_header()->mutable_monotonic_time()->set_seconds(sequence_ * 10);
    snapshot.mutable_host()->set_cpu_capacity_cores(capacity_cores_);
    snapshot.mutable_host()->set_memory_total_bytes(65536 * kMiB);
    batch.mutable_predictor_link()->set_health(common::v1::LINK_HEALTH_UP);
    for (const auto& [uuid, demand] : {std::pair("vm-a", demand_a), {"vm-b", demand_b}}) {
      monitor::v1::VmSample& vm = *snapshot.add_vms();
      vm.set_vm_uuid(uuid);
      vm.set_name(uuid);
      vm.set_state(monitor::v1::VM_STATE_RUNNING);
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
      vm.set_cpu_quality(common::v1::SAMPLE_QUALITY_FRESH);
      vm.set_memory_quality(common::v1::SAMPLE_QUALITY_FRESH);
      if (has_forecast) {
        common::v1::Forecast& f = *batch.add_forecasts()->mutable_forecast();
        f.set_vm_uuid(uuid);
        f.set_resource(common::v1::RESOURCE_CPU);
        f.set_model("truth");
        f.set_is_warm(true);
        f.set_target_violation_ratio(predictor_.target_violation_ratio);
        common::v1::HorizonForecast& h = *f.add_horizons();
        h.set_expected(demand);
        common::v1::QuantileValue& q = *h.add_quantiles();
        q.set_ratio(0.5);
        q.set_value(demand);
      }
    }
    monitor_.queue.PushDroppingOldest(message);
  }

  v1::GetStatusResponse Status() {
    v1::GetStatusResponse out;
    EXPECT_THAT(Call(&Scaler::GetStatus, v1::GetStatusRequest(), &out),
                cloudscale::testing::IsOk());
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

  cloudscale::testing::TempDir dir_;
  std::unique_ptr<Clock> clock_;
  NullMetricSink metrics_;
  FakeMonitor monitor_;
  FakePredictor predictor_;
  FakeLbctl lbctl_;
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

}  // namespace cloudscale::scaler::testing
