#include "services/sla/rpc/latency_inputs.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/logging/log.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"
#include "services/sla/rpc/sla_core.h"

namespace cloudscale::sla {
namespace {

constexpr int kDefaultQueueLines = 20000;
constexpr int kDefaultNoticesPerSecond = 1000;
constexpr absl::string_view kNotice("\n", 1);
// A report may be no longer, whatever the pause between two ticks.
constexpr absl::Duration kMaxSlice = absl::Minutes(5);

std::string LogAddress(const config::v1::HaproxyLogConfig& config) {
  return config.listen_address().empty() ? "127.0.0.1:5514" : config.listen_address();
}

std::string NoticeAddress(const config::v1::UdpListenerConfig& config) {
  return config.listen_address().empty() ? "127.0.0.1:7000" : config.listen_address();
}

int32_t OrDefault(int32_t value, int32_t fallback) { return value == 0 ? fallback : value; }

absl::Duration SliceOf(const config::v1::HaproxyLogConfig& config) {
  return config.has_slice() ? rpc::FromProto(config.slice()) : absl::Seconds(1);
}

Backoff::Config BackoffOf(const config::v1::ClientConfig& config) {
  Backoff::Config out;
  if (config.has_backoff_min()) {
    out.initial = rpc::FromProto(config.backoff_min());
  }
  if (config.has_backoff_max()) {
    out.max = rpc::FromProto(config.backoff_max());
  }
  return out;
}

}  // namespace

void ValidateInputs(const config::v1::SlaConfig& config, Violations& v) {
  const config::v1::HaproxyLogConfig& log = config.haproxy_log();
  RequireDatagramAddress(v, "haproxy_log.listen_address", LogAddress(log));
  RequireInRange(v, "haproxy_log.slice", absl::ToDoubleSeconds(SliceOf(log)), 0.1, 1);
  RequireInRange(v, "haproxy_log.queue_lines", OrDefault(log.queue_lines(), kDefaultQueueLines),
                 100, 1000000);
  const config::v1::UdpListenerConfig& udp = config.udp();
  const std::string address = NoticeAddress(udp);
  if (address.front() == '/') {
    v.Add("udp.listen_address", address, "a loopback address and port, as 127.0.0.1:7000");
  } else {
    RequireDatagramAddress(v, "udp.listen_address", address);
  }
  if (udp.application().size() > 64) {
    v.Add("udp.application", udp.application(), "1 to 64 characters");
  }
  RequireInRange(v, "udp.max_datagrams_per_second",
                 OrDefault(udp.max_datagrams_per_second(), kDefaultNoticesPerSecond), 1, 100000);
}

LatencyInputs::LatencyInputs(const config::v1::SlaConfig& config,
                             const rpc::Environment& environment)
    : config_(config),
      environment_(environment),
      slice_(SliceOf(config.haproxy_log())),
      lines_(
          static_cast<size_t>(OrDefault(config.haproxy_log().queue_lines(), kDefaultQueueLines))),
      log_reports_(kSourceHaproxyLog, environment.clock.WallNow()),
      stats_(config.haproxy_log().includes_transfer()),
      stats_reports_(kSourceHaproxyStatistics, environment.clock.WallNow()),
      notice_gate_(OrDefault(config.udp().max_datagrams_per_second(), kDefaultNoticesPerSecond)),
      notice_reports_(kSourceUdp, environment.clock.WallNow()),
      slice_start_(environment.clock.WallNow()),
      slice_end_(environment.clock.MonoNow() + slice_) {}

absl::StatusOr<std::unique_ptr<LatencyInputs>> LatencyInputs::Open(
    const config::v1::SlaConfig& config, const rpc::Environment& environment) {
  auto out = std::unique_ptr<LatencyInputs>(new LatencyInputs(config, environment));
  if (config.haproxy_log().is_enabled()) {
    CS_ASSIGN_OR_RETURN(out->log_listener_,
                        DatagramListener::Open(LogAddress(config.haproxy_log())));
    LogLine(LogLevel::kInfo, "haproxy_log_listens").Field("address", out->log_listener_->address());
  }
  if (config.udp().is_enabled()) {
    CS_ASSIGN_OR_RETURN(out->notice_listener_, DatagramListener::Open(NoticeAddress(config.udp())));
    LogLine(LogLevel::kInfo, "udp_listens").Field("address", out->notice_listener_->address());
  }
  if (!config.lbctl_address().empty()) {
    out->stats_client_ = std::make_unique<BalancerStatsClient>(
        config.lbctl_address(), BackoffOf(config.client()), environment);
  }
  return out;
}

void LatencyInputs::Start() {
  if (log_listener_ != nullptr) {
    log_listener_->Start([this](absl::string_view datagram) { OnLogLine(datagram); });
  }
  if (notice_listener_ != nullptr) {
    notice_listener_->Start([this](absl::string_view datagram) { OnNotice(datagram); });
  }
  if (stats_client_ != nullptr) {
    stats_client_->Start();
  }
}

void LatencyInputs::Stop() {
  if (log_listener_ != nullptr) {
    log_listener_->Stop();
  }
  if (notice_listener_ != nullptr) {
    notice_listener_->Stop();
  }
  if (stats_client_ != nullptr) {
    stats_client_->Stop();
  }
}

void LatencyInputs::OnLogLine(absl::string_view datagram) {
  absl::StatusOr<HaproxyRequest> request = ParseHaproxyLogLine(datagram);
  if (request.ok()) {
    lines_.PushDroppingOldest(*std::move(request));  // counts what it drops
  } else if (!absl::IsNotFound(request.status()) && log_counts_.malformed++ == 0) {
    LogLine(LogLevel::kWarning, "haproxy_log_line_not_understood")
        .Field("status", request.status());
  }
}

void LatencyInputs::OnNotice(absl::string_view datagram) {
  if (datagram != kNotice) {
    ++notice_counts_.malformed;
  } else if (notice_gate_.Pass(environment_.clock.MonoNow())) {
    ++notices_;
  } else {
    ++notice_counts_.dropped;
  }
}

void LatencyInputs::CollectLines(absl::Time now) {
  // No more than were there at the begin: what comes meanwhile is for the next tick.
  for (size_t left = lines_.size(); left > 0; --left) {
    const std::optional<HaproxyRequest> request = lines_.TryPop();
    if (!request.has_value()) {
      break;
    }
    const RequestOutcome outcome = OutcomeOf(*request);
    if (outcome == RequestOutcome::kIgnored) {
      continue;
    }
    const auto* targets = members_.Find(request->backend, request->server);
    if (targets == nullptr) {
      ++log_counts_.unknown;
      continue;
    }
    ++log_counts_.taken;
    log_counts_.last = now;
    const auto seconds = WaitSeconds(*request, config_.haproxy_log().includes_transfer());
    for (const RequestTarget& target : *targets) {
      if (outcome == RequestOutcome::kFailed) {
        log_reports_.AddFailures(target, 1);
      } else if (seconds.has_value()) {
        log_reports_.AddLatency(target, *seconds);
      }
    }
  }
}

void LatencyInputs::CollectStatistics(absl::Time now) {
  while (const std::optional<BalancerSample> sample = stats_client_->Take()) {
    for (const ServerInterval& interval : stats_.Add(*sample)) {
      const auto* targets = members_.Find(interval.backend, interval.server);
      if (targets == nullptr) {
        ++stats_counts_.unknown;
        continue;
      }
      ++stats_counts_.taken;
      stats_counts_.last = now;
      for (const RequestTarget& target : *targets) {
        stats_reports_.AddLatencies(target, interval.mean_seconds, interval.served_count);
        stats_reports_.AddFailures(target, interval.failed_count);
      }
    }
  }
}

void LatencyInputs::CollectNotices(absl::Time now) {
  const int64_t count = notices_.exchange(0);
  if (count > 0) {
    notice_counts_.taken += count;
    notice_counts_.last = now;
    const std::string& name = config_.udp().application();
    notice_reports_.AddNotices({.application = name.empty() ? "default" : name, .vm_uuid = ""},
                               count);
  }
}

void LatencyInputs::Flush(ReportCollector& collector, const char* source, SlaCore& core,
                          absl::Time now) {
  const absl::Time start = std::clamp(slice_start_, now - kMaxSlice, now);
  for (const LatencyReport& report : collector.Take(start, now)) {
    (void)core.Take(report, source, now);  // counted there
  }
}

void LatencyInputs::Tick(SlaCore& core, absl::Time now) {
  if (members_version_ != core.engine().objectives_version()) {
    members_version_ = core.engine().objectives_version();
    members_ = MemberIndex(core.engine().List("", "", std::numeric_limits<size_t>::max()));
  }
  CollectLines(now);
  if (stats_client_ != nullptr) {
    CollectStatistics(now);
  }
  CollectNotices(now);
  if (environment_.clock.MonoNow() < slice_end_) {
    return;
  }
  Flush(log_reports_, kSourceHaproxyLog, core, now);
  Flush(stats_reports_, kSourceHaproxyStatistics, core, now);
  Flush(notice_reports_, kSourceUdp, core, now);
  slice_start_ = now;
  slice_end_ = environment_.clock.MonoNow() + slice_;
  Tell(kSourceHaproxyLog, log_counts_, LogDropped(), log_told_);
  Tell(kSourceHaproxyStatistics, stats_counts_,
       stats_client_ == nullptr ? 0 : stats_client_->dropped_count(), stats_told_);
  Tell(kSourceUdp, notice_counts_, NoticesDropped(), notice_told_);
}

int64_t LatencyInputs::LogDropped() const {
  return lines_.dropped_count() + (log_listener_ == nullptr ? 0 : log_listener_->dropped_count());
}

int64_t LatencyInputs::NoticesDropped() const {
  return notice_counts_.dropped +
         (notice_listener_ == nullptr ? 0 : notice_listener_->dropped_count());
}

void LatencyInputs::Tell(const char* source, const Counts& counts, int64_t dropped, Told& told) {
  const auto add = [&](const char* outcome, int64_t count, int64_t& before) {
    if (count > before) {
      environment_.metrics.Count("cloudscale_sla_inputs_total",
                                 {{"source", source}, {"outcome", outcome}},
                                 static_cast<double>(count - before));
      before = count;
    }
  };
  add("taken", counts.taken, told.taken);
  add("unknown", counts.unknown, told.unknown);
  add("malformed", counts.malformed, told.malformed);
  add("dropped", dropped, told.dropped);
}

std::vector<v1::InputState> LatencyInputs::states() const {
  std::vector<v1::InputState> out;
  const auto add = [&](const char* source, const std::string& address, const Counts& counts,
                       int64_t dropped) {
    v1::InputState& state = out.emplace_back();
    state.set_source(source);
    state.set_address(address);
    state.set_taken_count(counts.taken);
    state.set_unknown_count(counts.unknown);
    state.set_malformed_count(counts.malformed);
    state.set_dropped_count(dropped);
    if (counts.last.has_value()) {
      *state.mutable_last_input_at() = rpc::ToProto(*counts.last);
    }
  };
  if (log_listener_ != nullptr) {
    add(kSourceHaproxyLog, log_listener_->address(), log_counts_, LogDropped());
  }
  if (stats_client_ != nullptr) {
    add(kSourceHaproxyStatistics, stats_client_->address(), stats_counts_,
        stats_client_->dropped_count());
  }
  if (notice_listener_ != nullptr) {
    add(kSourceUdp, notice_listener_->address(), notice_counts_, NoticesDropped());
  }
  return out;
}

std::vector<common::v1::LinkState> LatencyInputs::links() const {
  std::vector<common::v1::LinkState> out;
  if (stats_client_ != nullptr) {
    out.push_back(stats_client_->link());
  }
  return out;
}

}  // namespace cloudscale::sla
