#include "common/rpc/status_conversion.h"

#include "absl/strings/str_cat.h"
#include "cloudscale/common/v1/types.pb.h"
#include "common/status/violations.h"

namespace cloudscale::rpc {
namespace {

static_assert(static_cast<int>(absl::StatusCode::kCancelled) == grpc::CANCELLED);
static_assert(static_cast<int>(absl::StatusCode::kInvalidArgument) == grpc::INVALID_ARGUMENT);
static_assert(static_cast<int>(absl::StatusCode::kNotFound) == grpc::NOT_FOUND);
static_assert(static_cast<int>(absl::StatusCode::kFailedPrecondition) == grpc::FAILED_PRECONDITION);
static_assert(static_cast<int>(absl::StatusCode::kAborted) == grpc::ABORTED);
static_assert(static_cast<int>(absl::StatusCode::kUnavailable) == grpc::UNAVAILABLE);
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) == grpc::UNAUTHENTICATED);

// gRPC sends messages as a header; a very long one makes the peer drop the whole answer.
constexpr size_t kMaxMessageLength = 2048;

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  const std::string message(status.message().substr(0, kMaxMessageLength));
  const auto code = static_cast<grpc::StatusCode>(status.code());
  common::v1::BadRequest bad_request;
  for (const FieldViolation& v : Violations::FromStatus(status)) {
    auto* out = bad_request.add_violations();
    out->set_field(v.field);
    out->set_value(v.value);
    out->set_allowed(v.allowed);
    out->set_description(absl::StrCat(v.field, " is '", v.value, "', allowed: ", v.allowed));
  }
  if (bad_request.violations_size() == 0) {
    return grpc::Status(code, message);
  }
  common::v1::ErrorStatus details;
  details.set_code(code);
  details.set_message(message);
  details.add_details()->PackFrom(bad_request);
  return grpc::Status(code, message, details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  common::v1::ErrorStatus details;
  common::v1::BadRequest bad_request;
  if (!status.error_details().empty() && details.ParseFromString(status.error_details()) &&
      details.details_size() > 0 && details.details(0).UnpackTo(&bad_request) &&
      bad_request.violations_size() > 0) {
    Violations violations;
    for (const auto& v : bad_request.violations()) {
      violations.Add(v.field(), v.value(), v.allowed());
    }
    return violations.ToStatus();
  }
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace cloudscale::rpc
