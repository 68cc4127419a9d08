#include "services/monitor/rpc/monitor_handlers.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/rpc/main.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "common/status/violations.h"
#include "services/monitor/rpc/convert.h"

namespace cloudscale::monitor {
namespace {

using cloudscale::rpc::FromProto;
using cloudscale::rpc::ToGrpcStatus;
using cloudscale::rpc::ToProto;

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;
constexpr int kMaxFilterVms = 1000;

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

size_t PageSize(int32_t asked, Violations& faults) {
  if (asked < 0) {
    faults.Add("page_size", absl::StrCat(asked), "0 (default 100) or 1 to 1000");
    return 0;
  }
  return static_cast<size_t>(asked == 0 ? kDefaultPageSize : std::min(asked, kMaxPageSize));
}

void RequireVm(const std::string& uuid, Violations& faults) {
  if (!IsUuid(uuid)) {
    faults.Add("vm_uuid", uuid.substr(0, 64), "lower-case UUID");
  }
}

absl::Status UnknownVm(const std::string& uuid) {
  return absl::NotFoundError(absl::StrCat("vm ", uuid, " is not on this host"));
}

// Lets the metrics follow the streams of `state`.
void CountStreams(MetricSink& metrics, MonitorState& state, const char* stream,
                  rpc::WatchOptions& options) {
  options.on_dropped = [&metrics, stream](int64_t lost) {
    metrics.Count("cloudscale_monitor_watch_dropped_total", {{"stream", stream}},
                  static_cast<double>(lost));
  };
  options.on_closed = [&metrics, hub = state.hub()] {
    metrics.Set("cloudscale_monitor_watch_streams", {}, static_cast<double>(hub->size()));
  };
}

}  // namespace

MonitorHandlers::MonitorHandlers(MonitorState& state, MetricSink& metrics,
                                 std::function<common::v1::LinkState()> link, absl::Time started_at)
    : state_(state), metrics_(metrics), link_(std::move(link)), started_at_(started_at) {}

std::string MonitorHandlers::HostId() const {
  const auto batch = state_.newest();
  return batch == nullptr ? state_.config().host_id : batch->snapshot().header().host_id();
}

void MonitorHandlers::FillHost(v1::Host* out) const {
  out->set_host_id(HostId());
  out->set_hostname(state_.config().hostname);
  out->set_hypervisor(state_.config().backend);
  for (const std::string& capability : state_.config().capabilities) {
    out->add_capabilities(capability);
  }
  if (const auto batch = state_.newest(); batch != nullptr) {
    *out->mutable_latest() = batch->snapshot().host();
    *out->mutable_header() = batch->snapshot().header();
  }
  *out->add_links() = link_();
}

void MonitorHandlers::FillVm(const v1::ObservationBatch& batch, const v1::VmSample& sample,
                             v1::Vm* out) const {
  const common::v1::StreamHeader& header = batch.snapshot().header();
  out->set_vm_uuid(sample.vm_uuid());
  out->set_name(sample.name());
  out->set_host_id(header.host_id());
  *out->mutable_latest() = sample;
  *out->mutable_header() = header;
  state_.forecasts().AddTo(sample.vm_uuid(), header.sequence(), state_.config().period, out);
}

grpc::ServerUnaryReactor* MonitorHandlers::GetStatus(grpc::CallbackServerContext* context,
                                                     const v1::GetStatusRequest* /*request*/,
                                                     v1::GetStatusResponse* response) {
  const MonitorState::Progress progress = state_.progress();
  response->mutable_build()->set_service("cloudscale-monitor");
  response->mutable_build()->set_version(cloudscale::rpc::kVersion);
  *response->mutable_build()->mutable_started_at() = ToProto(started_at_);
  response->set_host_id(HostId());
  response->set_is_serving(progress.is_serving);
  *response->mutable_sampling_period() = ToProto(state_.config().period);
  if (const auto batch = state_.newest(); batch != nullptr) {
    response->set_sequence(batch->snapshot().header().sequence());
  }
  response->set_missed_tick_count(progress.missed_tick_count);
  for (const auto& [quality, count] : progress.quality_counts) {
    (*response->mutable_quality_counts())[quality] = count;
  }
  *response->add_links() = link_();
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* MonitorHandlers::ListHosts(grpc::CallbackServerContext* context,
                                                     const v1::ListHostsRequest* request,
                                                     v1::ListHostsResponse* response) {
  Violations faults;
  PageSize(request->page_size(), faults);
  if (!request->page_token().empty()) {
    faults.Add("page_token", request->page_token().substr(0, 64), "empty: there is one page");
  }
  if (!faults.empty()) {
    return Answer(context, faults.ToStatus());
  }
  FillHost(response->add_hosts());
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* MonitorHandlers::GetHost(grpc::CallbackServerContext* context,
                                                   const v1::GetHostRequest* request,
                                                   v1::GetHostResponse* response) {
  const std::string own = HostId();
  if (!request->host_id().empty() && request->host_id() != own) {
    return Answer(context, absl::NotFoundError(absl::StrCat(
                               "no host ", request->host_id().substr(0, 128), "; there is ", own)));
  }
  FillHost(response->mutable_host());
  return Answer(context, absl::OkStatus());
}

absl::Status MonitorHandlers::DoListVms(const v1::ListVmsRequest& request,
                                        v1::ListVmsResponse* response) const {
  Violations faults;
  const size_t limit = PageSize(request.page_size(), faults);
  if (!request.page_token().empty() && !IsUuid(request.page_token())) {
    faults.Add("page_token", request.page_token().substr(0, 64), "a next_page_token");
  }
  std::set<int> states;
  for (const int state : request.states()) {
    if (state == v1::VM_STATE_UNSPECIFIED || !v1::VmState_IsValid(state)) {
      faults.Add("states", absl::StrCat(state), "a state other than unspecified");
    }
    states.insert(state);
  }
  CS_RETURN_IF_ERROR(faults.ToStatus());
  const auto batch = state_.newest();
  if (batch == nullptr || (!request.host_id().empty() && request.host_id() != HostId())) {
    return absl::OkStatus();
  }
  for (const v1::VmSample& sample : batch->snapshot().vms()) {
    if (sample.vm_uuid() <= request.page_token() ||
        (!states.empty() && !states.contains(sample.state()))) {
      continue;
    }
    if (static_cast<size_t>(response->vms_size()) == limit) {
      response->set_next_page_token(response->vms(response->vms_size() - 1).vm_uuid());
      break;
    }
    FillVm(*batch, sample, response->add_vms());
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* MonitorHandlers::ListVms(grpc::CallbackServerContext* context,
                                                   const v1::ListVmsRequest* request,
                                                   v1::ListVmsResponse* response) {
  return Answer(context, DoListVms(*request, response));
}

absl::Status MonitorHandlers::DoGetVm(const v1::GetVmRequest& request,
                                      v1::GetVmResponse* response) const {
  Violations faults;
  RequireVm(request.vm_uuid(), faults);
  CS_RETURN_IF_ERROR(faults.ToStatus());
  const auto batch = state_.newest();
  if (batch != nullptr) {
    for (const v1::VmSample& sample : batch->snapshot().vms()) {
      if (sample.vm_uuid() == request.vm_uuid()) {
        FillVm(*batch, sample, response->mutable_vm());
        return absl::OkStatus();
      }
    }
  }
  return UnknownVm(request.vm_uuid());
}

grpc::ServerUnaryReactor* MonitorHandlers::GetVm(grpc::CallbackServerContext* context,
                                                 const v1::GetVmRequest* request,
                                                 v1::GetVmResponse* response) {
  return Answer(context, DoGetVm(*request, response));
}

absl::Status MonitorHandlers::DoListSamples(const v1::ListSamplesRequest& request,
                                            v1::ListSamplesResponse* response) const {
  Violations faults;
  RequireVm(request.vm_uuid(), faults);
  const size_t limit = PageSize(request.page_size(), faults);
  int64_t after = 0;
  if (!request.page_token().empty() &&
      (!absl::SimpleAtoi(request.page_token(), &after) || after < 0)) {
    faults.Add("page_token", request.page_token().substr(0, 64), "a next_page_token");
  }
  const absl::Time start =
      request.has_start_time() ? FromProto(request.start_time()) : absl::InfinitePast();
  const absl::Time end =
      request.has_end_time() ? FromProto(request.end_time()) : absl::InfiniteFuture();
  if (start > end) {
    faults.Add("start_time", absl::FormatTime(start, absl::UTCTimeZone()), "at most end_time");
  }
  CS_RETURN_IF_ERROR(faults.ToStatus());
  if (!state_.KnowsHistory(request.vm_uuid())) {
    return UnknownVm(request.vm_uuid());
  }
  std::vector<HistoryPoint> points =
      state_.ListHistory(request.vm_uuid(), after, start, end, limit + 1);
  if (points.size() > limit) {
    points.pop_back();
    response->set_next_page_token(absl::StrCat(points.back().sequence));
  }
  const auto batch = state_.newest();
  for (const HistoryPoint& point : points) {
    v1::TimedVmSample* out = response->add_samples();
    SampleHeader header;
    header.host_id = batch->snapshot().header().host_id();
    header.boot_id = batch->snapshot().header().boot_id();
    header.sequence = point.sequence;
    header.sample_time = point.sample_time;
    header.monotonic_time = point.monotonic_time;
    ToWire(header, out->mutable_header());
    ToWire(point.ToSample(request.vm_uuid()), out->mutable_sample());
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* MonitorHandlers::ListSamples(grpc::CallbackServerContext* context,
                                                       const v1::ListSamplesRequest* request,
                                                       v1::ListSamplesResponse* response) {
  return Answer(context, DoListSamples(*request, response));
}

grpc::ServerWriteReactor<v1::WatchSnapshotsResponse>* MonitorHandlers::WatchSnapshots(
    grpc::CallbackServerContext* /*context*/, const v1::WatchSnapshotsRequest* request) {
  Violations faults;
  rpc::WatchOptions options = rpc::ParseWatch(*request, faults);
  if (request->vm_uuids_size() > kMaxFilterVms) {
    faults.Add("vm_uuids", absl::StrCat(request->vm_uuids_size(), " entries"), "at most 1000");
  }
  if (!faults.empty()) {
    return new rpc::RefusedStream<v1::WatchSnapshotsResponse>(faults.ToStatus());
  }
  const std::set<std::string> wanted(request->vm_uuids().begin(), request->vm_uuids().end());
  CountStreams(metrics_, state_, "snapshots", options);
  auto* stream = state_.hub()->Open<v1::WatchSnapshotsResponse>(
      std::move(options), {},
      [wanted](const v1::ObservationBatch& batch, v1::WatchSnapshotsResponse* out) {
        if (wanted.empty()) {
          *out->mutable_snapshot() = batch.snapshot();
          return;
        }
        *out->mutable_snapshot()->mutable_header() = batch.snapshot().header();
        *out->mutable_snapshot()->mutable_host() = batch.snapshot().host();
        for (const v1::VmSample& sample : batch.snapshot().vms()) {
          if (wanted.contains(sample.vm_uuid())) {
            *out->mutable_snapshot()->add_vms() = sample;
          }
        }
      });
  metrics_.Set("cloudscale_monitor_watch_streams", {}, static_cast<double>(state_.hub()->size()));
  return stream;
}

grpc::ServerWriteReactor<v1::WatchObservationsResponse>* MonitorHandlers::WatchObservations(
    grpc::CallbackServerContext* /*context*/, const v1::WatchObservationsRequest* request) {
  Violations faults;
  rpc::WatchOptions options = rpc::ParseWatch(*request, faults);
  if (!faults.empty()) {
    return new rpc::RefusedStream<v1::WatchObservationsResponse>(faults.ToStatus());
  }
  CountStreams(metrics_, state_, "observations", options);
  auto* stream = state_.hub()->Open<v1::WatchObservationsResponse>(
      std::move(options), {},
      [](const v1::ObservationBatch& batch, v1::WatchObservationsResponse* out) {
        *out->mutable_observation() = batch;
      });
  metrics_.Set("cloudscale_monitor_watch_streams", {}, static_cast<double>(state_.hub()->size()));
  return stream;
}

}  // namespace cloudscale::monitor
