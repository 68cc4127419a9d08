#include "agents/guest/main/guest_agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agents/guest/proc_parse.h"
#include "common/logging/log.h"
#include "common/random/rng.h"
#include "common/rpc/channel.h"
#include "common/rpc/time_conversion.h"
#include "common/status/macros.h"

namespace cloudscale::guest {
namespace {

constexpr absl::Duration kMinPeriod = absl::Milliseconds(100);
constexpr absl::Duration kMaxPeriod = absl::Seconds(60);
constexpr absl::Duration kDefaultPeriod = absl::Seconds(1);
constexpr int64_t kDefaultBufferReports = 60;

void ValidateTls(const config::v1::GuestAgentConfig& config, Violations* violations) {
  const config::v1::TlsConfig& tls = config.tls();
  if (config.has_tls()) {
    RequireNotEmpty(*violations, "tls.cert_file", tls.cert_file());
    RequireNotEmpty(*violations, "tls.key_file", tls.key_file());
    RequireNotEmpty(*violations, "tls.ca_file", tls.ca_file());
  } else if (!config.monitor_address().empty() && !rpc::IsLoopback(config.monitor_address())) {
    violations->Add("tls", "", "certificate files, as monitor_address is not on loopback");
  }
}

}  // namespace

void ValidateGuestAgentConfig(const config::v1::GuestAgentConfig& config, Violations* violations) {
  if (!config.vm_uuid().empty() && !ParseUuid(config.vm_uuid()).ok()) {
    violations->Add("vm_uuid", config.vm_uuid(), "a UUID, or empty for the machine's own");
  }
  if (!absl::StrContains(config.monitor_address(), ':')) {
    violations->Add("monitor_address", config.monitor_address(), "host:port or unix:path");
  }
  ValidateTls(config, violations);
  if (config.has_period()) {
    RequireInRange(*violations, "period", absl::ToDoubleSeconds(rpc::FromProto(config.period())),
                   absl::ToDoubleSeconds(kMinPeriod), absl::ToDoubleSeconds(kMaxPeriod));
  }
  if (config.buffer_reports() != 0) {
    RequireInRange(*violations, "buffer_reports", config.buffer_reports(), 1, 3600);
  }
}

absl::StatusOr<std::unique_ptr<GuestAgent>> GuestAgent::Create(
    const config::v1::GuestAgentConfig& config, const rpc::Environment& environment,
    const std::string& sys_root) {
  Violations violations;
  ValidateGuestAgentConfig(config, &violations);
  CS_RETURN_IF_ERROR(violations.ToStatus());
  absl::StatusOr<std::string> uuid =
      config.vm_uuid().empty() ? ReadMachineUuid(sys_root) : ParseUuid(config.vm_uuid());
  if (!uuid.ok()) {
    return absl::Status(uuid.status().code(),
                        absl::StrCat("vm_uuid must be configured: ", uuid.status().message()));
  }
  return std::unique_ptr<GuestAgent>(new GuestAgent(config, environment, *std::move(uuid)));
}

GuestAgent::GuestAgent(const config::v1::GuestAgentConfig& config,
                       const rpc::Environment& environment, std::string vm_uuid)
    : environment_(environment),
      vm_uuid_(std::move(vm_uuid)),
      monitor_address_(config.monitor_address()),
      buffer_reports_(config.buffer_reports() == 0 ? kDefaultBufferReports
                                                   : config.buffer_reports()),
      period_(config.has_period() ? rpc::FromProto(config.period()) : kDefaultPeriod),
      reader_(config.proc_path().empty() ? "/proc" : config.proc_path()) {}

GuestAgent::~GuestAgent() { Stop(); }

absl::Status GuestAgent::Start() {
  client_ = std::make_unique<ReportClient>(
      environment_.clock, Rng(environment_.seed).Fork(vm_uuid_),
      environment_.channel(monitor_address_),
      ReportClient::Config{
          .vm_uuid = vm_uuid_,
          .buffer_reports = buffer_reports_,
          .backoff = {.initial = absl::Milliseconds(200), .max = absl::Seconds(10)}});
  client_->Start();
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
  return absl::OkStatus();
}

void GuestAgent::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) {
    thread_.join();
  }
  if (client_ != nullptr) {
    client_->Stop();
  }
}

absl::Status GuestAgent::Readiness() const {
  if (client_ == nullptr) {
    return absl::UnavailableError("not started");
  }
  const ReportClient::Stats now = client_->stats();
  if (!now.last_error.ok()) {
    return now.last_error;
  }
  return now.acknowledged_reports > 0 ? absl::OkStatus()
                                      : absl::UnavailableError("no report acknowledged yet");
}

ReportClient::Stats GuestAgent::stats() const {
  return client_ == nullptr ? ReportClient::Stats() : client_->stats();
}

void GuestAgent::Run(std::stop_token stop) {
  Clock& clock = environment_.clock;
  MonoTime next = clock.MonoNow();
  MonoTime wake = next;
  while (clock.SleepUntil(wake, stop)) {
    const absl::Duration wanted = client_->wanted_period().value_or(period_);
    if (wanted != period_ && wanted >= kMinPeriod && wanted <= kMaxPeriod) {
      next = std::min(next, clock.MonoNow() + wanted);
      period_ = wanted;
    }
    if (clock.MonoNow() >= next) {
      SampleOnce();
      // On a fixed grid; times that were missed, as while the machine was paused, are left out.
      next = std::max(next + period_, clock.MonoNow());
    }
    // Awake often enough to notice soon that the monitor wants another period.
    wake = std::min(next, clock.MonoNow() + kDefaultPeriod);
  }
}

void GuestAgent::SampleOnce() {
  absl::StatusOr<ReportBuilder::Built> built =
      builder_.Build(reader_.Read(), environment_.clock.WallNow());
  const std::string fault =
      built.ok() ? absl::StrJoin(built->faults, "; ") : std::string(built.status().message());
  if (fault != last_fault_ && !fault.empty()) {
    LogLine(LogLevel::kWarning, built.ok() ? "proc_file_unreadable" : "no_report")
        .Field("reason", fault);
  }
  last_fault_ = fault;
  if (built.ok()) {
    client_->Submit(std::move(built->report));
  }
}

}  // namespace cloudscale::guest
