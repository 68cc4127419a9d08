#include "services/monitor/rpc/report_intake.h"

#include "absl/strings/str_cat.h"
#include "common/logging/log.h"
#include "common/rpc/time_conversion.h"
#include "common/status/violations.h"
#include "services/monitor/rpc/convert.h"

namespace cloudscale::monitor {
namespace {

constexpr size_t kMaxReasonLength = 500;

const char* ReasonName(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kPermissionDenied:
      return "other_vm";
    case absl::StatusCode::kNotFound:
      return "unknown_vm";
    case absl::StatusCode::kResourceExhausted:
      return "flood";
    default:
      return "invalid";
  }
}

}  // namespace

absl::Status ReportIntake::Take(absl::string_view vm_uuid,
                                const guest::v1::StreamReportsRequest& request, Progress& progress,
                                guest::v1::StreamReportsResponse* answer) {
  const absl::Status status = TakeAll(vm_uuid, request, progress);
  answer->Clear();
  answer->set_acknowledged_sequence(progress.acknowledged_sequence);
  *answer->mutable_period() = rpc::ToProto(state_.config().period);
  answer->set_refused_count(progress.refused_count);
  answer->set_refused_reason(progress.refused_reason);
  return status;
}

absl::Status ReportIntake::TakeAll(absl::string_view vm_uuid,
                                   const guest::v1::StreamReportsRequest& request,
                                   Progress& progress) {
  absl::Status end;
  state_.WithGuestReports([&](GuestReportStore& store) {
    if (request.reports_size() < 1 || request.reports_size() > kMaxReports) {
      Violations faults;
      faults.Add("reports", absl::StrCat(request.reports_size(), " entries"),
                 absl::StrCat("1 to ", kMaxReports, " entries"));
      end = faults.ToStatus();
      CountRefusal(store, vm_uuid, end, progress);
      return;
    }
    const MonoTime now = clock_.MonoNow();
    const absl::Time wall = clock_.WallNow();
    for (const guest::v1::GuestReport& report : request.reports()) {
      const absl::Status status = store.Take(now, wall, vm_uuid, FromWire(report));
      if (status.ok()) {
        metrics_.Count("cloudscale_monitor_guest_reports_total", {{"result", "taken"}}, 1);
      } else {
        CountRefusal(store, vm_uuid, status, progress);
      }
      if (status.code() == absl::StatusCode::kPermissionDenied) {
        end = status;
        return;
      }
      if (status.code() == absl::StatusCode::kNotFound) {
        return;
      }
      progress.acknowledged_sequence = report.sequence();
    }
  });
  return end;
}

void ReportIntake::CountRefusal(GuestReportStore& store, absl::string_view vm_uuid,
                                const absl::Status& status, Progress& progress) {
  const char* reason = ReasonName(status.code());
  metrics_.Count("cloudscale_monitor_guest_reports_total", {{"result", "refused"}}, 1);
  metrics_.Count("cloudscale_monitor_guest_refusals_total", {{"reason", reason}}, 1);
  ++progress.refused_count;
  progress.refused_reason = std::string(status.message().substr(0, kMaxReasonLength));
  if (store.NoteRefusal(vm_uuid, status.code())) {
    LogLine(LogLevel::kWarning, "guest_report_refused")
        .Field("vm", vm_uuid)
        .Field("kind", reason)
        .Field("reason", progress.refused_reason);
  }
}

void ReportIntake::CountNonsense(absl::string_view vm_uuid) {
  Progress nobody;
  state_.WithGuestReports([&](GuestReportStore& store) {
    CountRefusal(store, vm_uuid, absl::InvalidArgumentError("no StreamReportsRequest"), nobody);
  });
}

}  // namespace cloudscale::monitor
