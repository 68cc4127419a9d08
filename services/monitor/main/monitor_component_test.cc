// The monitor over real gRPC on loopback: a scripted hypervisor, a simulated clock, and a predictor
// that comes and goes.

#include "services/monitor/main/monitor_component.h"

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cloudscale/guest/v1/guest_report_service.grpc.pb.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "cloudscale/predictor/v1/predictor_service.grpc.pb.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "common/sync/mutex.h"
#include "common/testing/status_matchers.h"
#include "common/time/sim_clock.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "services/monitor/main/monitor_config.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kMiB = 1024 * 1024;

std::string Uuid(int index) { return absl::StrFormat("%08x-0000-4000-8000-000000000000", index); }

// A hypervisor whose VMs each use half a core. Tests change it between ticks.
class ScriptedHost {
 public:
  explicit ScriptedHost(const Clock& clock) : clock_(clock) {}

  void SetVmCount(int count) {
    MutexLock lock(&mutex_);
    vm_count_ = count;
  }
  void SetFailing(bool is_failing) {
    MutexLock lock(&mutex_);
    is_failing_ = is_failing;
  }

  absl::StatusOr<hypervisor::HostReading> Read() {
    MutexLock lock(&mutex_);
    if (is_failing_) {
      return absl::UnavailableError("scripted failure");
    }
    hypervisor::HostReading reading;
    reading.host_id = "scripted";
    reading.boot_id = "boot";
    reading.sample_time = clock_.WallNow();
    reading.monotonic_time = clock_.MonoNow();
    reading.cpu_capacity_cores = 512;
    reading.memory_capacity_bytes = 1 << 30;
    for (int i = 0; i < vm_count_; ++i) {
      hypervisor::VmReading vm;
      vm.uuid = Uuid(i);
      vm.name = absl::StrCat("vm", i);
      vm.state = hypervisor::VmState::kRunning;
      vm.incarnation = "1";
      vm.vcpu_count = 2;
      vm.cpu_time = reading.monotonic_time.since_start() / 2;
      vm.memory_current_bytes = 1024 * kMiB;
      vm.memory_maximum_bytes = 1024 * kMiB;
      vm.memory_used_bytes = 256 * kMiB;
      reading.vms.push_back(vm);
    }
    return reading;
  }

 private:
  const Clock& clock_;
  Mutex mutex_;
  int vm_count_ ABSL_GUARDED_BY(mutex_) = 2;
  bool is_failing_ ABSL_GUARDED_BY(mutex_) = false;
};

class ScriptedReader final : public hypervisor::HostReader {
 public:
  explicit ScriptedReader(ScriptedHost& host) : host_(host) {}
  hypervisor::Capabilities capabilities() const override {
    hypervisor::Capabilities out;
    out.backend = "fake";
    out.cpu_cap = true;
    return out;
  }
  absl::StatusOr<hypervisor::HostReading> Read() override { return host_.Read(); }

 private:
  ScriptedHost& host_;
};

// Answers each batch with a CPU forecast per VM; can be told not to answer.
class FakePredictor final : public predictor::v1::PredictorService::Service {
 public:
  explicit FakePredictor(bool is_answering) : is_answering_(is_answering) {}

  grpc::Status StreamTelemetry(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<predictor::v1::StreamTelemetryResponse,
                               predictor::v1::StreamTelemetryRequest>* stream) override {
    predictor::v1::StreamTelemetryRequest request;
    while (stream->Read(&request)) {
      const int64_t sequence = request.batch().header().sequence();
      {
        MutexLock lock(&mutex_);
        sequences_.push_back(sequence);
        if (refused_sequence_ == sequence) {
          return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "scripted refusal");
        }
      }
      if (!is_answering_) {
        continue;
      }
      predictor::v1::StreamTelemetryResponse response;
      response.mutable_batch()->set_acknowledged_sequence(sequence);
      for (const auto& sample : request.batch().samples()) {
        Fill(sample.vm_uuid(), sequence, 0.75, response.mutable_batch()->add_forecasts());
      }
      Fill("", sequence, 1.5, response.mutable_batch()->add_host_forecasts());
      // One that the monitor must refuse.
      Fill(Uuid(0), sequence + 1, -1, response.mutable_batch()->add_forecasts());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  // Ends the stream with INVALID_ARGUMENT at the batch of this number.
  void Refuse(int64_t sequence) {
    MutexLock lock(&mutex_);
    refused_sequence_ = sequence;
  }

  std::vector<int64_t> sequences() const {
    MutexLock lock(&mutex_);
    return sequences_;
  }

 private:
  static void Fill(const std::string& uuid, int64_t sequence, double value,
                   common::v1::Forecast* out) {
    out->set_vm_uuid(uuid);
    out->set_resource(common::v1::RESOURCE_CPU);
    out->set_based_on_sequence(sequence);
    out->set_model("fake");
    auto* horizon = out->add_horizons();
    *horizon->mutable_horizon() = rpc::ToProto(absl::Seconds(10));
    horizon->set_expected(value);
  }

  const bool is_answering_;
  mutable Mutex mutex_;
  std::vector<int64_t> sequences_ ABSL_GUARDED_BY(mutex_);
  int64_t refused_sequence_ ABSL_GUARDED_BY(mutex_) = -1;
};

// A predictor process on a port of its own.
struct PredictorProcess {
  PredictorProcess(const std::string& address, bool is_answering) : service(is_answering) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
  }
  ~PredictorProcess() {
    if (server != nullptr) {
      server->Shutdown(std::chrono::system_clock::now());
    }
  }
  int port = 0;
  FakePredictor service;
  std::unique_ptr<grpc::Server> server;
};

class MonitorComponentTest : public ::testing::Test {
 protected:
  ~MonitorComponentTest() override { Shutdown(); }

  void Start(const config::v1::MonitorConfig& config, grpc::Server* in_process = nullptr) {
    rpc::Environment env{.clock = clock_, .metrics = metrics_, .seed = 1, .channel = {}};
    env.channel = [in_process](const std::string& address) {
      if (in_process != nullptr) {
        return in_process->InProcessChannel({});
      }
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 50);
      arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
      arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
      return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    };
    auto component = MakeMonitorComponent(config, std::make_unique<ScriptedReader>(host_), env);
    CS_ASSERT_OK(component.status());
    component_ = *std::move(component);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (grpc::Service* service : component_->services()) {
      builder.RegisterService(service);
    }
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    CS_ASSERT_OK(component_->Start());
    const std::string address = absl::StrCat("127.0.0.1:", port);
    // A small window, so that a reader that does not read is soon felt by the server.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65536);
    const auto channel =
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::MonitorService::NewStub(channel);
    guest_stub_ = guest::v1::GuestReportService::NewStub(channel);
    WaitForSequence(1);
  }

  void Shutdown() {
    if (component_ != nullptr) {
      component_->Stop();
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5));
      server_.reset();
      component_.reset();
    }
  }

  // Lets one period pass and waits until its snapshot is out.
  void Tick() {
    const int64_t before = Status().sequence();
    clock_.WaitForSleepers(1);
    clock_.Advance(absl::Seconds(1));
    WaitForSequence(before + 1);
  }
  void WaitForSequence(int64_t sequence) {
    ASSERT_TRUE(WaitUntil([&] { return Status().sequence() >= sequence; }));
  }
  static bool WaitUntil(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) {
        return false;
      }
      std::this_thread::yield();
    }
    return true;
  }

  v1::GetStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetStatusResponse response;
    stub_->GetStatus(&context, {}, &response);
    return response;
  }
  common::v1::LinkState Link() { return Status().links(0); }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (v1::MonitorService::Stub::*method)(grpc::ClientContext*,
                                                                     const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    return rpc::FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }

  static guest::v1::GuestReport Report(int64_t sequence, int vm = 0) {
    guest::v1::GuestReport report;
    report.set_vm_uuid(Uuid(vm));
    report.set_boot_id("guest-boot");
    report.set_sequence(sequence);
    *report.mutable_sample_time() = rpc::ToProto(SimClock().WallNow());
    *report.mutable_uptime() = rpc::ToProto(absl::Seconds(100 + sequence));
    report.set_memory_total_bytes(1000 * kMiB);
    report.set_memory_available_bytes(300 * kMiB);
    report.set_memory_free_bytes(100 * kMiB);
    return report;
  }

  SimClock clock_;
  NullMetricSink metrics_;
  ScriptedHost host_{clock_};
  std::unique_ptr<rpc::Component> component_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::MonitorService::Stub> stub_;
  std::unique_ptr<guest::v1::GuestReportService::Stub> guest_stub_;
};

TEST_F(MonitorComponentTest, StreamsOneObservationPerTick) {
  Start({});
  EXPECT_THAT(component_->Readiness(), IsOk());
  grpc::ClientContext context;
  auto stream = stub_->WatchObservations(&context, {});
  stream->WaitForInitialMetadata();
  v1::WatchObservationsResponse message;
  for (int64_t tick = 2; tick <= 4; ++tick) {
    Tick();
    ASSERT_TRUE(stream->Read(&message));
    EXPECT_EQ(message.sequence(), tick);
    EXPECT_EQ(message.dropped_count(), 0);
    const v1::HostSnapshot& snapshot = message.observation().snapshot();
    EXPECT_EQ(snapshot.header().sequence(), tick);
    EXPECT_EQ(snapshot.header().host_id(), "scripted");
    ASSERT_EQ(snapshot.vms_size(), 2);
    EXPECT_NEAR(snapshot.vms(0).cpu_usage_cores(), 0.5, 1e-9);
    EXPECT_EQ(snapshot.vms(0).cpu_quality(), common::v1::SAMPLE_QUALITY_FRESH);
    EXPECT_EQ(message.observation().predictor_link().health(), common::v1::LINK_HEALTH_OFF);
  }
  context.TryCancel();
}

TEST_F(MonitorComponentTest, ResumesFromTheBufferAndTellsWhatIsGone) {
  config::v1::MonitorConfig config;
  config.mutable_server()->mutable_limits()->set_max_watch_queue_length(4);
  Start(config);
  for (int i = 0; i < 9; ++i) {
    Tick();
  }
  grpc::ClientContext context;
  v1::WatchSnapshotsRequest request;
  request.set_resume_from(3);
  request.add_vm_uuids(Uuid(1));
  auto stream = stub_->WatchSnapshots(&context, request);
  v1::WatchSnapshotsResponse message;
  std::vector<int64_t> sequences;
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(stream->Read(&message));
    sequences.push_back(message.sequence());
    EXPECT_EQ(message.dropped_count(), i == 0 ? 4 : 0) << "3 to 6 are no longer kept";
    ASSERT_EQ(message.snapshot().vms_size(), 1);
    EXPECT_EQ(message.snapshot().vms(0).vm_uuid(), Uuid(1));
  }
  EXPECT_THAT(sequences, ElementsAre(7, 8, 9, 10));
  context.TryCancel();
}

TEST_F(MonitorComponentTest, P17SlowReaderLosesTheOldestAndIsToldHowMany) {
  host_.SetVmCount(1000);
  config::v1::MonitorConfig config;
  config.mutable_server()->mutable_limits()->set_max_watch_queue_length(3);
  Start(config);
  grpc::ClientContext context;
  auto stream = stub_->WatchSnapshots(&context, {});
  stream->WaitForInitialMetadata();
  constexpr int64_t kTicks = 40;
  for (int64_t i = 0; i < kTicks; ++i) {
    Tick();
  }
  int64_t received = 0;
  int64_t dropped = 0;
  v1::WatchSnapshotsResponse message;
  while (received + dropped < kTicks && stream->Read(&message)) {
    if (!message.is_heartbeat()) {
      ++received;
      dropped += message.dropped_count();
    }
  }
  EXPECT_EQ(received + dropped, kTicks);
  EXPECT_GT(dropped, 0);
  EXPECT_EQ(message.sequence(), kTicks + 1) << "the newest is always kept";
  context.TryCancel();
}

TEST_F(MonitorComponentTest, SilentStreamBeats) {
  Start({});
  Tick();
  grpc::ClientContext context;
  v1::WatchSnapshotsRequest request;
  *request.mutable_heartbeat_period() = rpc::ToProto(absl::Seconds(1));
  auto stream = stub_->WatchSnapshots(&context, request);
  v1::WatchSnapshotsResponse message;
  ASSERT_TRUE(stream->Read(&message)) << "no tick happens meanwhile";
  EXPECT_TRUE(message.is_heartbeat());
  EXPECT_EQ(message.sequence(), 2) << "repeats the newest";
  EXPECT_FALSE(message.has_snapshot());
  Tick();
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_FALSE(message.is_heartbeat());
  EXPECT_EQ(message.sequence(), 3);
  EXPECT_EQ(message.dropped_count(), 0);
  context.TryCancel();
}

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

TEST_F(MonitorComponentTest, P1HypervisorFailureIsMarkedAndUnready) {
  Start({});
  Tick();
  host_.SetFailing(true);
  for (int i = 0; i < 5; ++i) {
    Tick();
  }
  v1::ListVmsResponse vms;
  CS_ASSERT_OK(Call(&v1::MonitorService::Stub::ListVms, v1::ListVmsRequest(), &vms));
  ASSERT_EQ(vms.vms_size(), 2);
  EXPECT_EQ(vms.vms(0).latest().cpu_quality(), common::v1::SAMPLE_QUALITY_STALE);
  EXPECT_FALSE(vms.vms(0).latest().has_cpu_usage_cores());
  EXPECT_THAT(component_->Readiness(), StatusIs(absl::StatusCode::kUnavailable));
  host_.SetFailing(false);
  Tick();
  EXPECT_THAT(component_->Readiness(), IsOk());
}

TEST_F(MonitorComponentTest, MissedTicksAreCountedAndSkipped) {
  Start({});
  Tick();
  clock_.WaitForSleepers(1);
  clock_.Advance(absl::Seconds(6));
  WaitForSequence(8);
  EXPECT_EQ(Status().missed_tick_count(), 5);
  EXPECT_EQ(Status().sequence(), 8);
}

TEST_F(MonitorComponentTest, ListsVmsAndSamplesInPages) {
  host_.SetVmCount(5);
  Start({});
  for (int i = 0; i < 4; ++i) {
    Tick();
  }
  std::vector<std::string> uuids;
  v1::ListVmsRequest list;
  list.set_page_size(2);
  do {
    v1::ListVmsResponse page;
    CS_ASSERT_OK(Call(&v1::MonitorService::Stub::ListVms, list, &page));
    for (const v1::Vm& vm : page.vms()) {
      uuids.push_back(vm.vm_uuid());
    }
    list.set_page_token(page.next_page_token());
  } while (!list.page_token().empty());
  EXPECT_THAT(uuids, ElementsAre(Uuid(0), Uuid(1), Uuid(2), Uuid(3), Uuid(4)));

  std::vector<int64_t> sequences;
  v1::ListSamplesRequest samples;
  samples.set_vm_uuid(Uuid(3));
  samples.set_page_size(2);
  do {
    v1::ListSamplesResponse page;
    CS_ASSERT_OK(Call(&v1::MonitorService::Stub::ListSamples, samples, &page));
    for (const v1::TimedVmSample& sample : page.samples()) {
      sequences.push_back(sample.header().sequence());
    }
    samples.set_page_token(page.next_page_token());
  } while (!samples.page_token().empty());
  EXPECT_THAT(sequences, ElementsAre(1, 2, 3, 4, 5));
}

TEST_F(MonitorComponentTest, P14BadInputNamesFieldValueAndRange) {
  Start({});
  v1::ListSamplesRequest samples;
  samples.set_vm_uuid("VM-1");
  samples.set_page_size(-4);
  v1::ListSamplesResponse none;
  const absl::Status status = Call(&v1::MonitorService::Stub::ListSamples, samples, &none);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Violations::FromStatus(status),
              ElementsAre(FieldViolation{"vm_uuid", "VM-1", "lower-case UUID"},
                          FieldViolation{"page_size", "-4", "0 (default 100) or 1 to 1000"}));
  v1::GetVmRequest unknown;
  unknown.set_vm_uuid(Uuid(99));
  v1::GetVmResponse vm;
  EXPECT_THAT(Call(&v1::MonitorService::Stub::GetVm, unknown, &vm),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(Uuid(99))));
  v1::GetHostRequest host;
  host.set_host_id("elsewhere");
  v1::GetHostResponse got;
  EXPECT_THAT(Call(&v1::MonitorService::Stub::GetHost, host, &got),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("scripted")));

  grpc::ClientContext context;
  v1::WatchObservationsRequest watch;
  watch.set_resume_from(0);
  *watch.mutable_heartbeat_period() = rpc::ToProto(absl::Hours(1));
  auto stream = stub_->WatchObservations(&context, watch);
  v1::WatchObservationsResponse message;
  EXPECT_FALSE(stream->Read(&message));
  const absl::Status refused = rpc::FromGrpcStatus(stream->Finish());
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(Violations::FromStatus(refused).size(), 2u);
}

TEST_F(MonitorComponentTest, GuestReportReachesTheNextSnapshot) {
  Start({});
  grpc::ClientContext context;
  auto stream = guest_stub_->StreamReports(&context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  *request.add_reports() = Report(2);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.acknowledged_sequence(), 2);
  EXPECT_EQ(answer.refused_count(), 0) << answer.refused_reason();
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer)) << "a repeat is no fault";
  EXPECT_EQ(answer.acknowledged_sequence(), 2);
  EXPECT_EQ(answer.refused_count(), 0);
  Tick();
  v1::GetVmRequest get;
  get.set_vm_uuid(Uuid(0));
  v1::GetVmResponse vm;
  CS_ASSERT_OK(Call(&v1::MonitorService::Stub::GetVm, get, &vm));
  EXPECT_EQ(vm.vm().latest().memory_used_bytes(), 700 * kMiB);
  EXPECT_EQ(vm.vm().latest().guest_source(), v1::GUEST_SOURCE_AGENT);
  EXPECT_EQ(rpc::FromProto(vm.vm().latest().guest_report_age()), absl::Seconds(1));
  context.TryCancel();
}

TEST_F(MonitorComponentTest, P8BadReportsAreRefusedWithTheReason) {
  Start({});
  grpc::ClientContext context;
  auto stream = guest_stub_->StreamReports(&context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  request.mutable_reports(0)->set_memory_available_bytes(-5);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.refused_count(), 1);
  EXPECT_THAT(answer.refused_reason(), HasSubstr("memory_available_bytes"));
  EXPECT_EQ(answer.acknowledged_sequence(), 1) << "sending it again would not help";

  request.Clear();
  *request.add_reports() = Report(2, /*vm=*/1);
  ASSERT_TRUE(stream->Write(request));
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);

  grpc::ClientContext other;
  stream = guest_stub_->StreamReports(&other);
  ASSERT_TRUE(stream->Write({}));
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_THAT(rpc::FromGrpcStatus(stream->Finish()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reports")));
}

TEST_F(MonitorComponentTest, ReportOfAVmNotYetKnownIsNotAcknowledged) {
  Start({});
  grpc::ClientContext context;
  auto stream = guest_stub_->StreamReports(&context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(7, /*vm=*/2);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.acknowledged_sequence(), 0);
  host_.SetVmCount(3);
  Tick();
  ASSERT_TRUE(stream->Write(request) && stream->Read(&answer));
  EXPECT_EQ(answer.acknowledged_sequence(), 7);
  context.TryCancel();
}

TEST_F(MonitorComponentTest, SecondGuestStreamEndsTheFirst) {
  Start({});
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  guest::v1::StreamReportsResponse answer;
  grpc::ClientContext old_context;
  auto old_stream = guest_stub_->StreamReports(&old_context);
  ASSERT_TRUE(old_stream->Write(request) && old_stream->Read(&answer));
  grpc::ClientContext new_context;
  auto new_stream = guest_stub_->StreamReports(&new_context);
  ASSERT_TRUE(new_stream->Write(request) && new_stream->Read(&answer));
  EXPECT_FALSE(old_stream->Read(&answer));
  EXPECT_EQ(old_stream->Finish().error_code(), grpc::StatusCode::ABORTED);
  new_context.TryCancel();
}

TEST_F(MonitorComponentTest, StopEndsOpenStreams) {
  Start({});
  grpc::ClientContext watch_context;
  auto watch = stub_->WatchObservations(&watch_context, {});
  watch->WaitForInitialMetadata();
  grpc::ClientContext guest_context;
  auto guest = guest_stub_->StreamReports(&guest_context);
  guest::v1::StreamReportsRequest request;
  *request.add_reports() = Report(1);
  guest::v1::StreamReportsResponse answer;
  ASSERT_TRUE(guest->Write(request) && guest->Read(&answer));
  component_->Stop();
  component_->Stop();
  v1::WatchObservationsResponse message;
  while (watch->Read(&message)) {
  }
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_FALSE(guest->Read(&answer));
  EXPECT_EQ(guest->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(MonitorConfigTest, P1OnlyGroupsAndSimulationsMayStandStill) {
  hypervisor::Capabilities capabilities;
  const auto distrusted = [&](const char* backend) {
    capabilities.backend = backend;
    return MakeSamplingConfig({}, capabilities).standing_samples_distrusted;
  };
  EXPECT_EQ(distrusted("cgroup-v2"), 3);
  EXPECT_EQ(distrusted("fake"), 3);
  EXPECT_GT(distrusted("libvirt-qemu"), 1'000'000);
  EXPECT_GT(distrusted("xen-credit2"), 1'000'000);
}

TEST(MonitorConfigTest, P14AllFaultsAtOnce) {
  SimClock clock;
  NullMetricSink metrics;
  ScriptedHost host(clock);
  config::v1::MonitorConfig config;
  *config.mutable_sampling_period() = rpc::ToProto(absl::Milliseconds(5));
  config.set_history_samples(3);
  config.mutable_guest_reports()->set_max_reports_per_second(1000);
  const rpc::Environment env{.clock = clock, .metrics = metrics, .seed = 1, .channel = {}};
  const absl::Status status =
      MakeMonitorComponent(config, std::make_unique<ScriptedReader>(host), env).status();
  std::vector<std::string> fields;
  for (const FieldViolation& fault : Violations::FromStatus(status)) {
    fields.push_back(fault.field);
  }
  EXPECT_THAT(fields, ElementsAre("sampling_period", "history_samples",
                                  "guest_reports.max_reports_per_second"));
}

}  // namespace
}  // namespace cloudscale::monitor
