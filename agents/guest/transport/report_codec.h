#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "agents/guest/report.h"
#include "agents/guest/transport/report_transport.h"

namespace cloudscale::guest {

inline constexpr char kAgentVersion[] = "0.1.0";

// The two messages of GuestReportService, written and read by hand: protobuf's library would be
// the largest part of a program that must be tiny. A test holds them against the generated code.
// Pure. Thread safety: thread-safe.

// A StreamReportsRequest.
[[nodiscard]] std::string EncodeRequest(const std::string& vm_uuid,
                                        const std::vector<Report>& reports);

// A StreamReportsResponse. INVALID_ARGUMENT when the bytes are none; unknown fields are passed
// over; of a field that is repeated the last counts; a reason is cut at 500 bytes.
[[nodiscard]] absl::StatusOr<ReportAnswer> DecodeResponse(absl::string_view bytes);

}  // namespace cloudscale::guest
