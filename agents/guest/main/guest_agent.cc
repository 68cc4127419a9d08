#include "agents/guest/main/guest_agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "agents/guest/proc_parse.h"
#include "common/logging/log.h"
#include "common/random/rng.h"

namespace cloudscale::guest {
namespace {

constexpr absl::Duration kMinPeriod = absl::Milliseconds(100);
constexpr absl::Duration kMaxPeriod = absl::Seconds(60);
// The longest that a wish of the monitor goes unnoticed.
constexpr absl::Duration kLookPeriod = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::string> FindVmUuid(const AgentConfig& config, const std::string& sys_root) {
  absl::StatusOr<std::string> uuid =
      config.vm_uuid.empty() ? ReadMachineUuid(sys_root) : ParseUuid(config.vm_uuid);
  if (!uuid.ok()) {
    return absl::Status(uuid.status().code(),
                        absl::StrCat("vm_uuid must be configured: ", uuid.status().message()));
  }
  return uuid;
}

GuestAgent::GuestAgent(const AgentConfig& config, std::string vm_uuid, Clock& clock, uint64_t seed,
                       std::unique_ptr<ReportTransport> transport)
    : clock_(clock),
      period_(config.period),
      reader_(config.proc_path),
      client_(clock, Rng(seed).Fork(vm_uuid), std::move(transport),
              {.vm_uuid = vm_uuid,
               .buffer_reports = config.buffer_reports,
               .backoff = {.initial = absl::Milliseconds(200), .max = absl::Seconds(10)}}) {}

GuestAgent::~GuestAgent() { Stop(); }

void GuestAgent::Start() {
  client_.Start();
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

void GuestAgent::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) {
    thread_.join();
  }
  client_.Stop();
}

absl::Status GuestAgent::Readiness() const {
  const ReportClient::Stats now = client_.stats();
  if (!now.last_error.ok()) {
    return now.last_error;
  }
  return now.acknowledged_reports > 0 ? absl::OkStatus()
                                      : absl::UnavailableError("no report acknowledged yet");
}

void GuestAgent::Run(std::stop_token stop) {
  MonoTime next = clock_.MonoNow();
  MonoTime wake = next;
  while (clock_.SleepUntil(wake, stop)) {
    const absl::Duration wanted = client_.wanted_period().value_or(period_);
    if (wanted != period_ && wanted >= kMinPeriod && wanted <= kMaxPeriod) {
      next = std::min(next, clock_.MonoNow() + wanted);
      period_ = wanted;
    }
    if (clock_.MonoNow() >= next) {
      SampleOnce();
      // On a fixed grid; times that were missed, as while the machine was paused, are left out.
      next = std::max(next + period_, clock_.MonoNow());
    }
    // Awake often enough to notice soon that the monitor wants another period.
    wake = std::min(next, clock_.MonoNow() + kLookPeriod);
  }
}

void GuestAgent::SampleOnce() {
  absl::StatusOr<ReportBuilder::Built> built = builder_.Build(reader_.Read(), clock_.WallNow());
  const std::string fault =
      built.ok() ? absl::StrJoin(built->faults, "; ") : std::string(built.status().message());
  if (fault != last_fault_ && !fault.empty()) {
    LogLine(LogLevel::kWarning, built.ok() ? "proc_file_unreadable" : "no_report")
        .Field("reason", fault);
  }
  last_fault_ = fault;
  if (built.ok()) {
    client_.Submit(std::move(built->report));
  }
}

}  // namespace cloudscale::guest
