#pragma once

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace cloudscale::rpc {

// Total conversions: values outside what the target can hold are clamped to its ends.
[[nodiscard]] google::protobuf::Timestamp ToProto(absl::Time time);
[[nodiscard]] google::protobuf::Duration ToProto(absl::Duration duration);
[[nodiscard]] absl::Time FromProto(const google::protobuf::Timestamp& time);
[[nodiscard]] absl::Duration FromProto(const google::protobuf::Duration& duration);

}  // namespace cloudscale::rpc
