#pragma once

#include "absl/status/statusor.h"
#include "cloudscale/common/v1/types.pb.h"
#include "cloudscale/guest/v1/guest_report_service.pb.h"
#include "cloudscale/monitor/v1/monitor.pb.h"
#include "cloudscale/predictor/v1/predictor.pb.h"
#include "services/monitor/guest_reports.h"
#include "services/monitor/sample.h"

namespace cloudscale::monitor {

// Between the domain's structs and the wire. Absent stays absent in both directions.

[[nodiscard]] common::v1::SampleQuality ToWire(Quality quality);
[[nodiscard]] v1::VmState ToWire(hypervisor::VmState state);
void ToWire(const SampleHeader& header, common::v1::StreamHeader* out);
void ToWire(const VmSample& sample, v1::VmSample* out);
void ToWire(const HostSnapshot& snapshot, v1::HostSnapshot* out);

// The hot path to the predictor: only what models need. Values without a trusted or late quality
// are absent already.
void ToWire(const HostSnapshot& snapshot, predictor::v1::TelemetryBatch* out);

// Structure only; values are checked by `ValidateGuestReport`.
[[nodiscard]] GuestReport FromWire(const guest::v1::GuestReport& report);

}  // namespace cloudscale::monitor
