#include "common/rpc/time_conversion.h"

#include <algorithm>

namespace cloudscale::rpc {
namespace {

// The ranges that protobuf's JSON form accepts: years 1 to 9999, and about 10000 years either way.
constexpr int64_t kMinTimestampSeconds = -62135596800;
constexpr int64_t kMaxTimestampSeconds = 253402300799;
constexpr int64_t kMaxDurationSeconds = 315576000000;

}  // namespace

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp out;
  const int64_t seconds =
      std::clamp(absl::ToUnixSeconds(time), kMinTimestampSeconds, kMaxTimestampSeconds);
  out.set_seconds(seconds);
  const absl::Duration rest = time - absl::FromUnixSeconds(seconds);
  out.set_nanos(
      static_cast<int32_t>(std::clamp<int64_t>(absl::ToInt64Nanoseconds(rest), 0, 999'999'999)));
  return out;
}

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration out;
  absl::Duration rest;
  const int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &rest);
  out.set_seconds(std::clamp(seconds, -kMaxDurationSeconds, kMaxDurationSeconds));
  if (out.seconds() == seconds) {
    out.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
  }
  return out;
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace cloudscale::rpc
