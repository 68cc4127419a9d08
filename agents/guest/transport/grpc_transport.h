#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agents/guest/report.h"
#include "agents/guest/transport/report_transport.h"
#include "cloudscale/guest/v1/guest_report_service.grpc.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace cloudscale::guest {

// Reports through the gRPC library, which knows TLS and costs ten times the rest of the agent.
// Thread safety: as `ReportTransport`.
class GrpcTransport final : public ReportTransport {
 public:
  GrpcTransport(std::shared_ptr<grpc::Channel> channel, std::string vm_uuid);
  ~GrpcTransport() override;

  void Open() override;
  absl::StatusOr<ReportAnswer> Exchange(const std::vector<Report>& reports) override;
  absl::Status Tend() override { return absl::OkStatus(); }  // the library has its own threads
  void Close() override;
  void Cancel() override { context_->TryCancel(); }

 private:
  using Stream =
      grpc::ClientReaderWriter<guest::v1::StreamReportsRequest, guest::v1::StreamReportsResponse>;

  absl::Status Finish();

  const std::string vm_uuid_;
  const std::unique_ptr<guest::v1::GuestReportService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace cloudscale::guest
