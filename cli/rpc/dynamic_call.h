#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"

namespace cloudscale::cli {

class Session;

// The next request as JSON; nullopt after the last. An error ends the call without sending it.
using NextRequest = std::function<absl::StatusOr<std::optional<std::string>>()>;
// Gets each answer as JSON, in one line when the method streams.
using OnResponse = std::function<void(const std::string& json)>;

// Calls `method` of the server at `address`, whose descriptors came from its reflection. Unary and
// server-streaming methods take one request (none means an empty one; a second one is
// INVALID_ARGUMENT); the others take all of them, and answers are told as they come. `--timeout`
// bounds unary calls only. Bad JSON is INVALID_ARGUMENT with what is wrong and where.
absl::Status CallDynamic(Session& session, const std::string& address,
                         const google::protobuf::MethodDescriptor& method,
                         const NextRequest& next_request, const OnResponse& on_response);

}  // namespace cloudscale::cli
