#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace cloudscale::rpc {

// The one place where the two status types meet. Field violations (see common/status/violations.h)
// travel as a `cloudscale.common.v1.BadRequest` inside the error details, in the form that grpcurl
// and client libraries decode, and come back.
[[nodiscard]] grpc::Status ToGrpcStatus(const absl::Status& status);
[[nodiscard]] absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace cloudscale::rpc
