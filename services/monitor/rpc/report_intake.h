#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cloudscale/guest/v1/guest_report_service.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/time/clock.h"
#include "services/monitor/rpc/monitor_state.h"

namespace cloudscale::monitor {

// Where the reports of guests come in, whatever brought them: a gRPC stream or a serial channel.
// Each is checked by the store and counted; the first of a kind that a VM has refused is logged,
// further ones of that VM are not, so that a guest cannot fill the log. Thread safety:
// thread-safe.
class ReportIntake {
 public:
  // At most this many reports in one message.
  static constexpr int kMaxReports = 60;

  // What one sender has been told so far.
  struct Progress {
    int64_t acknowledged_sequence = 0;
    int64_t refused_count = 0;
    std::string refused_reason;
  };

  // All must outlive the intake.
  ReportIntake(MonitorState& state, const Clock& clock, MetricSink& metrics)
      : state_(state), clock_(clock), metrics_(metrics) {}

  // Takes one message of the VM `vm_uuid`, as whom the sender is known. Refusals that sending again
  // cannot mend (bad values, too many) are acknowledged; a VM that is not known yet is not.
  // INVALID_ARGUMENT when it has no or too many reports; PERMISSION_DENIED when one speaks for
  // another VM, and what follows it is not looked at. `answer` is filled in every case.
  absl::Status Take(absl::string_view vm_uuid, const guest::v1::StreamReportsRequest& request,
                    Progress& progress, guest::v1::StreamReportsResponse* answer);

  // Counts a message of `vm_uuid` that makes no sense at all.
  void CountNonsense(absl::string_view vm_uuid);

 private:
  absl::Status TakeAll(absl::string_view vm_uuid, const guest::v1::StreamReportsRequest& request,
                       Progress& progress);
  void CountRefusal(GuestReportStore& store, absl::string_view vm_uuid, const absl::Status& status,
                    Progress& progress);

  MonitorState& state_;
  const Clock& clock_;
  MetricSink& metrics_;
};

}  // namespace cloudscale::monitor
