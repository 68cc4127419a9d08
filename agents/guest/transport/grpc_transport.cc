#include "agents/guest/transport/grpc_transport.h"

#include <utility>

#include "agents/guest/transport/report_codec.h"
#include "common/rpc/status_conversion.h"

namespace cloudscale::guest {

using guest::v1::StreamReportsRequest;
using guest::v1::StreamReportsResponse;

GrpcTransport::GrpcTransport(std::shared_ptr<grpc::Channel> channel, std::string vm_uuid)
    : vm_uuid_(std::move(vm_uuid)),
      stub_(guest::v1::GuestReportService::NewStub(std::move(channel))) {}

GrpcTransport::~GrpcTransport() { Close(); }

void GrpcTransport::Open() {
  context_ = std::make_unique<grpc::ClientContext>();
  stream_ = stub_->StreamReports(context_.get());
}

absl::StatusOr<ReportAnswer> GrpcTransport::Exchange(const std::vector<Report>& reports) {
  StreamReportsRequest request;
  StreamReportsResponse response;
  if (!request.ParseFromString(EncodeRequest(vm_uuid_, reports))) {
    return absl::InternalError("own message makes no sense");
  }
  if (!stream_->Write(request) || !stream_->Read(&response)) {
    return Finish();
  }
  return DecodeResponse(response.SerializeAsString());
}

absl::Status GrpcTransport::Finish() {
  const absl::Status status = rpc::FromGrpcStatus(stream_->Finish());
  stream_.reset();
  return status.ok() ? absl::UnavailableError("the monitor ended the stream") : status;
}

void GrpcTransport::Close() {
  if (stream_ != nullptr) {
    context_->TryCancel();
    Finish().IgnoreError();
  }
}

}  // namespace cloudscale::guest
