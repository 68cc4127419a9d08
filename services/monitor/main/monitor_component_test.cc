// The monitor served over gRPC: watch streams, reads, refusals, stop.

#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "common/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/monitor/main/component_fixture.h"
#include "services/monitor/main/monitor_config.h"

namespace cloudscale::monitor {
namespace {

using ::cloudscale::testing::IsOk;
using ::cloudscale::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST(MonitorConfigTest, MemoryOfAContainerIsItsGroupsWhoeverMadeIt) {
  hypervisor::Capabilities capabilities;
  const auto source = [&](const char* backend) {
    capabilities.backend = backend;
    return MakeSamplingConfig({}, capabilities).backend_memory_source;
  };
  EXPECT_EQ(source("cgroup-v1"), GuestSource::kCgroup);
  EXPECT_EQ(source("libvirt-lxc"), GuestSource::kCgroup);
  EXPECT_EQ(source("libvirt-qemu"), GuestSource::kBalloon);
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
