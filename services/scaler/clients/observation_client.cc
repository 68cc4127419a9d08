#include "services/scaler/clients/observation_client.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "cloudscale/monitor/v1/monitor_service.grpc.pb.h"
#include "common/logging/log.h"
#include "common/rpc/status_conversion.h"
#include "common/rpc/time_conversion.h"

namespace cloudscale::scaler {
namespace {

namespace cv1 = cloudscale::common::v1;
namespace mv1 = cloudscale::monitor::v1;

constexpr int kMaxHorizons = 8;
constexpr int kMaxQuantiles = 16;

// Absent unless it is a number that a resource can have.
template <typename T>
std::optional<double> Sane(bool has, T value) {
  const auto x = static_cast<double>(value);
  return has && std::isfinite(x) && x >= 0 ? std::make_optional(x) : std::nullopt;
}

SampleQuality QualityFromProto(cv1::SampleQuality quality) {
  return cv1::SampleQuality_IsValid(quality) ? static_cast<SampleQuality>(quality)
                                             : SampleQuality::kUnknown;
}

VmRunState StateFromProto(mv1::VmState state) {
  switch (state) {
    case mv1::VM_STATE_RUNNING:
    case mv1::VM_STATE_BOOTING:
      return VmRunState::kRunning;
    case mv1::VM_STATE_MIGRATING_IN:
    case mv1::VM_STATE_MIGRATING_OUT:
      return VmRunState::kMigrating;
    default:
      return VmRunState::kNotRunning;
  }
}

VmObservation VmFromProto(const mv1::VmSample& in) {
  VmObservation vm;
  vm.uuid = in.vm_uuid();
  vm.name = in.name();
  vm.state = StateFromProto(in.state());
  vm.vcpu_count = std::max(0, in.vcpu_count());
  vm.cpu_usage = Sane(in.has_cpu_usage_cores(), in.cpu_usage_cores());
  vm.cpu_demand = Sane(in.has_cpu_demand_cores(), in.cpu_demand_cores());
  vm.cpu_cap = Sane(in.has_cpu_cap_cores(), in.cpu_cap_cores());
  vm.cpu_throttled_ratio = Sane(in.has_cpu_throttled_ratio(), in.cpu_throttled_ratio());
  vm.cpu_weight = Sane(in.has_cpu_weight(), in.cpu_weight());
  vm.cpu_quality = QualityFromProto(in.cpu_quality());
  vm.memory_used = Sane(in.has_memory_used_bytes(), in.memory_used_bytes());
  vm.memory_demand = Sane(in.has_memory_demand_bytes(), in.memory_demand_bytes());
  vm.memory_target = Sane(in.has_memory_target_bytes(), in.memory_target_bytes());
  vm.memory_allocated = Sane(in.has_memory_allocated_bytes(), in.memory_allocated_bytes());
  vm.memory_maximum = Sane(in.has_memory_max_bytes(), in.memory_max_bytes());
  vm.guest_total = Sane(in.has_memory_guest_total_bytes(), in.memory_guest_total_bytes());
  vm.guest_available =
      Sane(in.has_memory_guest_available_bytes(), in.memory_guest_available_bytes());
  // The host kernel sees a process group from inside and outside at once. The statistics of a
  // balloon driver are the hypervisor's own number, so there only an agent is a second source.
  vm.has_guest_report = in.guest_source() == mv1::GUEST_SOURCE_CGROUP ||
                        (in.guest_source() == mv1::GUEST_SOURCE_AGENT &&
                         vm.guest_total.has_value() && vm.guest_available.has_value());
  vm.memory_pressure_some_ratio =
      Sane(in.has_memory_pressure_some_ratio(), in.memory_pressure_some_ratio());
  if (in.counters().has_oom_kill_count()) {
    vm.oom_kill_count = in.counters().oom_kill_count();
  }
  if (in.counters().has_swap_in_bytes()) {
    vm.swap_in_bytes = in.counters().swap_in_bytes();
  }
  vm.memory_quality = QualityFromProto(in.memory_quality());
  return vm;
}

Forecast ForecastFromProto(const mv1::AgedForecast& in) {
  const cv1::Forecast& f = in.forecast();
  Forecast out;
  out.model = f.model();
  out.reason = f.reason();
  out.made_at = rpc::FromProto(f.made_at());
  out.based_on_sequence = f.based_on_sequence();
  out.age = rpc::FromProto(in.age());
  out.is_warm = f.is_warm();
  for (int i = 0; i < std::min(f.horizons_size(), kMaxHorizons); ++i) {
    HorizonForecast h;
    h.horizon = rpc::FromProto(f.horizons(i).horizon());
    h.expected = f.horizons(i).expected();
    for (int q = 0; q < std::min(f.horizons(i).quantiles_size(), kMaxQuantiles); ++q) {
      h.quantiles.push_back(
          {f.horizons(i).quantiles(q).ratio(), f.horizons(i).quantiles(q).value()});
    }
    out.horizons.push_back(std::move(h));
  }
  out.padding.total = f.padding().total();
  for (const cv1::PaddingPart& part : f.padding().parts()) {
    if (part.kind() != cv1::PADDING_KIND_UNSPECIFIED && cv1::PaddingKind_IsValid(part.kind())) {
      out.padding.parts.push_back(
          {static_cast<PaddingKind>(static_cast<int>(part.kind()) - 1), part.value()});
    }
  }
  if (f.has_advised_allocation()) {
    out.advised_allocation = f.advised_allocation();
  }
  if (f.has_target_violation_ratio()) {
    out.target_violation_ratio = f.target_violation_ratio();
  }
  return out;
}

PredictorLink LinkFromProto(const cv1::LinkState& link) {
  switch (link.health()) {
    case cv1::LINK_HEALTH_OFF:
      return PredictorLink::kOff;
    case cv1::LINK_HEALTH_UP:
      return PredictorLink::kUp;
    default:
      // Also unspecified: not knowing must not look like "none is wanted".
      return PredictorLink::kDown;
  }
}

}  // namespace

absl::StatusOr<HostObservation> FromProto(const mv1::ObservationBatch& batch) {
  const mv1::HostSnapshot& snapshot = batch.snapshot();
  if (snapshot.header().sequence() < 1 || snapshot.header().boot_id().empty()) {
    return absl::InvalidArgumentError("observation without sequence or boot id");
  }
  if (snapshot.vms_size() > static_cast<int>(HostObservation::kMaxVms)) {
    return absl::InvalidArgumentError(absl::StrCat("observation of ", snapshot.vms_size(),
                                                   " vms, at most ", HostObservation::kMaxVms));
  }
  HostObservation out;
  out.header.host_id = snapshot.header().host_id();
  out.header.boot_id = snapshot.header().boot_id();
  out.header.sequence = snapshot.header().sequence();
  out.header.sample_time = rpc::FromProto(snapshot.header().sample_time());
  out.header.monotonic_time = rpc::FromProto(snapshot.header().monotonic_time());
  out.cpu_capacity_cores = Sane(true, snapshot.host().cpu_capacity_cores()).value_or(0);
  out.memory_capacity_bytes = Sane(true, snapshot.host().memory_total_bytes()).value_or(0);
  out.memory_free_bytes =
      Sane(snapshot.host().has_memory_free_bytes(), snapshot.host().memory_free_bytes());
  out.predictor_link = LinkFromProto(batch.predictor_link());
  std::map<std::string, size_t> index;
  for (const mv1::VmSample& sample : snapshot.vms()) {
    if (!out.vms.empty() && sample.vm_uuid() <= out.vms.back().uuid) {
      return absl::InvalidArgumentError(
          absl::StrCat("vms are not in order of uuid: ", sample.vm_uuid()));
    }
    index[sample.vm_uuid()] = out.vms.size();
    out.vms.push_back(VmFromProto(sample));
  }
  for (const mv1::AgedForecast& aged : batch.forecasts()) {
    const auto it = index.find(aged.forecast().vm_uuid());
    if (it == index.end()) {
      continue;
    }
    VmObservation& vm = out.vms[it->second];
    if (aged.forecast().resource() == cv1::RESOURCE_CPU) {
      vm.cpu_forecast = ForecastFromProto(aged);
    } else if (aged.forecast().resource() == cv1::RESOURCE_MEMORY) {
      vm.memory_forecast = ForecastFromProto(aged);
    }
  }
  return out;
}

ObservationClient::ObservationClient(Clock& clock, Backoff backoff, std::string address,
                                     Sink on_observation)
    : clock_(clock),
      backoff_(std::move(backoff)),
      address_(std::move(address)),
      on_observation_(std::move(on_observation)) {
  link_.set_peer("monitor");
  link_.set_address(address_);
  link_.set_health(address_.empty() ? cv1::LINK_HEALTH_OFF : cv1::LINK_HEALTH_CONNECTING);
}

void ObservationClient::Start(std::shared_ptr<grpc::Channel> channel) {
  channel_ = std::move(channel);
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

void ObservationClient::Stop() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
}

cv1::LinkState ObservationClient::link() const {
  MutexLock lock(&mutex_);
  cv1::LinkState link = link_;
  if (last_answer_) {
    *link.mutable_last_answer_age() = rpc::ToProto(clock_.MonoNow() - *last_answer_);
  }
  return link;
}

int64_t ObservationClient::refused_count() const {
  MutexLock lock(&mutex_);
  return refused_;
}

void ObservationClient::Note(cv1::LinkHealth health, const std::string& detail) {
  MutexLock lock(&mutex_);
  link_.set_health(health);
  link_.set_detail(detail);
  if (health == cv1::LINK_HEALTH_UP) {
    last_answer_ = clock_.MonoNow();
  }
}

absl::Status ObservationClient::ReadStream(const std::stop_token& stop) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  const auto stub = mv1::MonitorService::NewStub(channel_);
  const auto reader = stub->WatchObservations(&context, mv1::WatchObservationsRequest());
  mv1::WatchObservationsResponse message;
  while (reader->Read(&message)) {
    backoff_.Reset();
    Note(cv1::LINK_HEALTH_UP, "");
    if (message.is_heartbeat()) {
      continue;
    }
    absl::StatusOr<HostObservation> observation = FromProto(message.observation());
    if (observation.ok()) {
      on_observation_(*std::move(observation));
    } else {
      MutexLock lock(&mutex_);
      if (refused_++ == 0) {
        LogLine(LogLevel::kWarning, "observation_refused").Field("error", observation.status());
      }
    }
  }
  return rpc::FromGrpcStatus(reader->Finish());
}

void ObservationClient::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const absl::Status status = ReadStream(stop);
    if (stop.stop_requested()) {
      return;
    }
    const std::string why = status.ok() ? "the stream ended" : std::string(status.ToString());
    Note(cv1::LINK_HEALTH_CONNECTING, why);
    LogLine(LogLevel::kWarning, "monitor_stream_lost").Field("address", address_).Field("why", why);
    // The wait is real time, whatever the clock's speed.
    clock_.SleepUntil(clock_.MonoNow() + backoff_.NextDelay() * clock_.speed(), stop);
  }
}

}  // namespace cloudscale::scaler
