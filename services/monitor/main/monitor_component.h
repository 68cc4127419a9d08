#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/component.h"
#include "hypervisor/host_reader.h"

namespace cloudscale::monitor {

// The monitor as a component: samples `reader` once per period on the clock of `env`, serves
// MonitorService and GuestReportService, and streams to the predictor named in `config`. It is
// ready after the first complete snapshot and stays so while the hypervisor answers at least once
// in `SamplingConfig::stale_after_periods`; the predictor's absence is a link state, not
// unreadiness.
//
// INVALID_ARGUMENT with all faults of `config` (except `server` and `hypervisor`, which belong to
// those who made `reader` and the server).
[[nodiscard]] absl::StatusOr<std::unique_ptr<cloudscale::rpc::Component>> MakeMonitorComponent(
    const config::v1::MonitorConfig& config, std::unique_ptr<hypervisor::HostReader> reader,
    const cloudscale::rpc::Environment& env);

}  // namespace cloudscale::monitor
