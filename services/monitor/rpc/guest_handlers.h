#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cloudscale/guest/v1/guest_report_service.grpc.pb.h"
#include "common/metrics/metric_sink.h"
#include "common/sync/mutex.h"
#include "services/monitor/rpc/monitor_state.h"
#include "services/monitor/rpc/report_intake.h"

namespace cloudscale::monitor {

class GuestStream;

// The handlers of GuestReportService. A stream belongs to the VM that its first report names; with
// TLS that must be the VM in the peer's certificate. A second stream of a VM ends the first with
// ABORTED, so that a restarted agent never waits for its dead predecessor. What is taken and what
// refused is `ReportIntake`'s. Thread safety: thread-safe.
class GuestHandlers final : public guest::v1::GuestReportService::CallbackService {
 public:
  // All must outlive the handlers and their streams.
  GuestHandlers(MonitorState& state, ReportIntake& intake, MetricSink& metrics);
  ~GuestHandlers() override;

  grpc::ServerBidiReactor<guest::v1::StreamReportsRequest, guest::v1::StreamReportsResponse>*
  StreamReports(grpc::CallbackServerContext* context) override;

  // Ends all streams and refuses new ones with UNAVAILABLE.
  void CloseAll();

 private:
  friend class GuestStream;
  // Shared with the streams, which may end after the handlers.
  struct Registry {
    Mutex mutex;
    std::map<const GuestStream*, GuestStream*> open ABSL_GUARDED_BY(mutex);
    std::map<std::string, GuestStream*> by_vm ABSL_GUARDED_BY(mutex);
    bool is_closed ABSL_GUARDED_BY(mutex) = false;
  };

  MonitorState& state_;
  ReportIntake& intake_;
  MetricSink& metrics_;
  const std::shared_ptr<Registry> registry_;
};

// OK when a peer with these certificate names may speak for the VM: one of them is the UUID, or
// ends in `/vm/<uuid>`. PERMISSION_DENIED otherwise.
[[nodiscard]] absl::Status CheckGuestIdentity(const std::vector<std::string>& peer_names,
                                              absl::string_view vm_uuid);

}  // namespace cloudscale::monitor
