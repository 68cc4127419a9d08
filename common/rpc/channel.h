#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cloudscale/config/v1/common.pb.h"
#include "grpcpp/channel.h"

namespace cloudscale::rpc {

// True for `localhost`, 127.0.0.0/8, `[::1]` and `unix:` addresses. `address` is host:port.
[[nodiscard]] bool IsLoopback(const std::string& address);

// A lazily connecting channel with keepalive. Without certificate files only loopback peers are
// allowed: INVALID_ARGUMENT otherwise. Files are re-read when they change, so certificates rotate
// without a restart.
[[nodiscard]] absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(
    const std::string& address, const config::v1::TlsConfig* tls);

}  // namespace cloudscale::rpc
