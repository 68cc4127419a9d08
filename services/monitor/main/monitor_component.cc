#include "services/monitor/main/monitor_component.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "services/monitor/clients/predictor_link.h"
#include "services/monitor/main/monitor_config.h"
#include "services/monitor/rpc/convert.h"
#include "services/monitor/rpc/guest_channels.h"
#include "services/monitor/rpc/guest_handlers.h"
#include "services/monitor/rpc/monitor_handlers.h"
#include "services/monitor/rpc/monitor_state.h"
#include "services/monitor/rpc/report_intake.h"
#include "services/monitor/sampling_engine.h"
#include "services/monitor/tick_schedule.h"

namespace cloudscale::monitor {
namespace {

using cloudscale::rpc::Component;
using cloudscale::rpc::Environment;

// How often open streams are looked at for a heartbeat; the shortest allowed period.
constexpr absl::Duration kBeatPeriod = absl::Seconds(1);

class MonitorComponent final : public Component {
 public:
  MonitorComponent(const config::v1::MonitorConfig& config,
                   std::unique_ptr<hypervisor::HostReader> reader, const Environment& env)
      : env_(env),
        reader_(std::move(reader)),
        engine_(MakeSamplingConfig(config, reader_->capabilities())),
        state_(MakeStateConfig(config, reader_->capabilities())),
        link_config_(MakeLinkConfig(config)),
        link_(link_config_, env.seed,
              [this](const predictor::v1::ForecastBatch& batch) { TakeForecasts(batch); }),
        handlers_(
            state_, env.metrics, [this] { return link_.state(); }, env.clock.WallNow()),
        intake_(state_, env.clock, env.metrics),
        guest_handlers_(state_, intake_, env.metrics),
        guest_channels_(state_, intake_, env.metrics, MakeChannelsConfig(config)) {}

  ~MonitorComponent() override { Stop(); }

  absl::string_view name() const override { return "monitor"; }
  std::vector<grpc::Service*> services() override { return {&handlers_, &guest_handlers_}; }
  std::vector<std::string> service_names() const override {
    return {v1::MonitorService::service_full_name(),
            guest::v1::GuestReportService::service_full_name()};
  }

  absl::Status Start() override;
  void Stop() override;
  absl::Status Readiness() const override;

 private:
  void Sample(std::stop_token stop);
  void Beat(std::stop_token stop);
  void SampleOnce(int64_t sequence, int64_t missed_count);
  void TakeForecasts(const predictor::v1::ForecastBatch& batch);
  void ReportMetrics(const HostSnapshot& snapshot, int64_t missed_count);
  void NoteRefutedGuests(const HostSnapshot& snapshot);
  void CountUpTo(const char* name, const MetricSink::Labels& labels, int64_t total, int64_t& seen);

  const Environment env_;
  const std::unique_ptr<hypervisor::HostReader> reader_;  // sampling thread only
  SamplingEngine engine_;                                 // sampling thread only
  MonitorState state_;
  const PredictorLink::Config link_config_;
  PredictorLink link_;
  MonitorHandlers handlers_;
  ReportIntake intake_;
  GuestHandlers guest_handlers_;
  GuestChannels guest_channels_;

  // Monotonic nanoseconds of the last complete snapshot; negative before the first.
  std::atomic<int64_t> last_good_ns_{-1};
  bool was_failing_ = false;                // sampling thread only
  std::map<std::string, int64_t> counted_;  // sampling thread only: totals already reported
  std::set<std::string> refuted_;           // sampling thread only: VMs whose lie was logged
  std::jthread sampler_;
  std::jthread beater_;
};

absl::Status MonitorComponent::Start() {
  link_.Start(link_config_.address.empty() ? nullptr : env_.channel(link_config_.address));
  sampler_ = std::jthread([this](std::stop_token stop) { Sample(std::move(stop)); });
  beater_ = std::jthread([this](std::stop_token stop) { Beat(std::move(stop)); });
  guest_channels_.Start();
  return absl::OkStatus();
}

void MonitorComponent::Stop() {
  for (std::jthread* thread : {&sampler_, &beater_}) {
    thread->request_stop();
  }
  for (std::jthread* thread : {&sampler_, &beater_}) {
    if (thread->joinable()) {
      thread->join();
    }
  }
  guest_channels_.Stop();
  link_.Stop();
  state_.hub()->Close();
  guest_handlers_.CloseAll();
}

absl::Status MonitorComponent::Readiness() const {
  const int64_t last_good = last_good_ns_.load();
  if (last_good < 0) {
    return absl::UnavailableError("no complete snapshot yet");
  }
  const SamplingConfig& config = engine_.config();
  const absl::Duration age = env_.clock.MonoNow().since_start() - absl::Nanoseconds(last_good);
  // One more than a series may lack before it is stale, so that both tell the same story.
  if (age > config.period * (config.stale_after_periods + 1)) {
    return absl::UnavailableError(
        absl::StrCat("last complete snapshot is ", absl::FormatDuration(age), " old"));
  }
  return absl::OkStatus();
}

void MonitorComponent::Sample(std::stop_token stop) {
  TickSchedule schedule(engine_.config().period, env_.clock.MonoNow());
  while (env_.clock.SleepUntil(schedule.next(), stop)) {
    const int64_t sequence = schedule.Take(env_.clock.MonoNow());
    SampleOnce(sequence, schedule.missed_count());
  }
}

void MonitorComponent::Beat(std::stop_token stop) {
  // Real time: a heartbeat tells a waiting peer, not a model, that the stream lives.
  const std::unique_ptr<Clock> clock = MakeRealClock();
  while (clock->SleepUntil(clock->MonoNow() + kBeatPeriod, stop)) {
    state_.hub()->Beat(clock->MonoNow());
  }
}

void MonitorComponent::SampleOnce(int64_t sequence, int64_t missed_count) {
  const MonoTime before = env_.clock.MonoNow();
  const absl::StatusOr<hypervisor::HostReading> reading = reader_->Read();
  Tick tick;
  tick.sequence = sequence;
  tick.mono = env_.clock.MonoNow();
  tick.wall = env_.clock.WallNow();
  tick.read_duration = tick.mono - before;
  if (reading.ok() == was_failing_) {
    was_failing_ = !reading.ok();
    LogLine(was_failing_ ? LogLevel::kWarning : LogLevel::kInfo,
            was_failing_ ? "hypervisor_lost" : "hypervisor_back")
        .Field("error", reading.status());
  }
  HostSnapshot snapshot;
  state_.WithGuestReports(
      [&](GuestReportStore& store) { snapshot = engine_.Step(tick, reading, store.held()); });
  if (snapshot.is_complete) {
    last_good_ns_.store(absl::ToInt64Nanoseconds(tick.mono.since_start()));
  }
  if (last_good_ns_.load() < 0) {
    return;  // nothing is known yet, not even which host this is
  }
  predictor::v1::TelemetryBatch telemetry;
  ToWire(snapshot, &telemetry);
  link_.Push(std::move(telemetry));
  MonitorState::Progress progress;
  progress.missed_tick_count = missed_count;
  progress.is_serving = Readiness().ok();
  for (size_t i = 0; i < kQualityCount; ++i) {
    const auto quality = static_cast<Quality>(i);
    const int64_t count = engine_.stats().cpu[quality] + engine_.stats().memory[quality];
    if (count > 0) {
      progress.quality_counts[std::string(QualityName(quality))] = count;
    }
  }
  state_.Publish(tick.mono, snapshot, link_.state(), std::move(progress));
  ReportMetrics(snapshot, missed_count);
}

void MonitorComponent::TakeForecasts(const predictor::v1::ForecastBatch& batch) {
  if (batch.forecasts_size() == 0 && batch.host_forecasts_size() == 0) {
    return;
  }
  const auto newest = state_.newest();
  const std::string host_id = newest == nullptr ? "" : newest->snapshot().header().host_id();
  state_.forecasts().Update(host_id, {batch.forecasts().begin(), batch.forecasts().end()},
                            {batch.host_forecasts().begin(), batch.host_forecasts().end()});
}

void MonitorComponent::CountUpTo(const char* name, const MetricSink::Labels& labels, int64_t total,
                                 int64_t& seen) {
  if (total > seen) {
    env_.metrics.Count(name, labels, static_cast<double>(total - seen));
    seen = total;
  }
}

void MonitorComponent::ReportMetrics(const HostSnapshot& snapshot, int64_t missed_count) {
  MetricSink& metrics = env_.metrics;
  const SamplingStats& stats = engine_.stats();
  metrics.Count("cloudscale_monitor_ticks_total", {}, 1);
  metrics.ObserveSeconds("cloudscale_monitor_read_seconds", {},
                         absl::ToDoubleSeconds(snapshot.host.sampling_duration));
  metrics.Set("cloudscale_monitor_vms", {}, static_cast<double>(snapshot.vms.size()));
  CountUpTo("cloudscale_monitor_missed_ticks_total", {}, missed_count, counted_["missed"]);
  CountUpTo("cloudscale_monitor_failed_readings_total", {}, stats.failed_reading_count,
            counted_["failed"]);
  CountUpTo("cloudscale_monitor_wall_jumps_total", {}, stats.wall_jump_count, counted_["jumps"]);
  CountUpTo("cloudscale_monitor_ignored_vms_total", {}, stats.ignored_vm_count,
            counted_["ignored"]);
  for (size_t i = 0; i < kQualityCount; ++i) {
    const auto quality = static_cast<Quality>(i);
    const std::string name(QualityName(quality));
    CountUpTo("cloudscale_monitor_samples_total", {{"series", "cpu"}, {"quality", name}},
              stats.cpu[quality], counted_[absl::StrCat("cpu.", name)]);
    CountUpTo("cloudscale_monitor_samples_total", {{"series", "memory"}, {"quality", name}},
              stats.memory[quality], counted_[absl::StrCat("memory.", name)]);
  }
  NoteRefutedGuests(snapshot);
  const PredictorLink::Stats link = link_.stats();
  CountUpTo("cloudscale_monitor_telemetry_sent_total", {}, link.sent, counted_["sent"]);
  CountUpTo("cloudscale_monitor_telemetry_dropped_total", {}, link.dropped, counted_["dropped"]);
  CountUpTo("cloudscale_monitor_predictor_connects_total", {}, link.connects, counted_["connects"]);
  CountUpTo("cloudscale_monitor_forecasts_total", {{"result", "taken"}},
            state_.forecasts().taken_count(), counted_["forecasts_taken"]);
  CountUpTo("cloudscale_monitor_forecasts_total", {{"result", "refused"}},
            state_.forecasts().refused_count(), counted_["forecasts_refused"]);
  metrics.Set("cloudscale_monitor_predictor_up", {},
              link_.state().health() == common::v1::LINK_HEALTH_UP ? 1 : 0);
}

// A lie is logged once in the life of a VM and counted each time.
void MonitorComponent::NoteRefutedGuests(const HostSnapshot& snapshot) {
  std::set<std::string> present;
  for (const VmSample& vm : snapshot.vms) {
    present.insert(vm.uuid);
    if (!vm.is_guest_refuted) {
      continue;
    }
    env_.metrics.Count("cloudscale_monitor_refuted_guest_samples_total", {}, 1);
    if (refuted_.insert(vm.uuid).second) {
      LogLine(LogLevel::kWarning, "guest_report_refuted")
          .Field("vm", vm.uuid)
          .Field("reason", "the guest claims more memory than the VM can have");
    }
  }
  std::erase_if(refuted_, [&](const std::string& uuid) { return !present.contains(uuid); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Component>> MakeMonitorComponent(
    const config::v1::MonitorConfig& config, std::unique_ptr<hypervisor::HostReader> reader,
    const Environment& env) {
  Violations faults;
  ValidateMonitorConfig(config, "", faults);
  if (!faults.empty()) {
    return faults.ToStatus();
  }
  return std::make_unique<MonitorComponent>(config, std::move(reader), env);
}

}  // namespace cloudscale::monitor
