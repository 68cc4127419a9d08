#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agents/guest/report.h"
#include "agents/guest/transport/cancellation.h"
#include "agents/guest/transport/report_transport.h"

namespace cloudscale::guest {

class H2Connection;

// GuestReportService.StreamReports over a socket, without the gRPC library: HTTP/2 by prior
// knowledge (nghttp2), in the clear. One connection and one call per stream. Answers above 4 KiB
// end the stream. Thread safety: as `ReportTransport`.
class H2Transport final : public ReportTransport {
 public:
  struct Config {
    std::string address;  // as `ResolveAddress` takes it; looked up at each stream
    std::string vm_uuid;
    std::string hosts_path = "/etc/hosts";
  };

  explicit H2Transport(Config config);
  ~H2Transport() override;

  void Open() override;
  absl::StatusOr<ReportAnswer> Exchange(const std::vector<Report>& reports) override;
  absl::Status Tend() override;
  void Close() override;
  void Cancel() override { cancellation_.Cancel(); }

 private:
  absl::Status Connect();

  const Config config_;
  Cancellation cancellation_;
  std::unique_ptr<H2Connection> connection_;  // null until the first exchange
};

}  // namespace cloudscale::guest
