#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/component.h"
#include "common/status/violations.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::scaler {

// Adds all faults of `config` by field path; `server` and `hypervisor` are their owners' business.
void ValidateScalerConfig(const config::v1::ScalerConfig& config, Violations* violations);

// The scaler as a component: serves ScalerService, MigrationService and ReservationService, takes
// observations from the monitor named in `config`, asks the predictor for retrains, and acts
// through `actuator`. An empty `journal_path` keeps the journal in memory only and is taken only
// with an in-process monitor. Ready while samples arrive: the newest is younger than
// `limits.max_sample_age` plus ten sampling periods' worth of slack on the clock of `env`; losing
// the monitor changes no VM.
//
// INVALID_ARGUMENT with all faults; FAILED_PRECONDITION, DATA_LOSS or UNAVAILABLE when the journal
// cannot be used.
[[nodiscard]] absl::StatusOr<std::unique_ptr<rpc::Component>> MakeScalerComponent(
    const config::v1::ScalerConfig& config, std::unique_ptr<hypervisor::VmActuator> actuator,
    const rpc::Environment& env);

}  // namespace cloudscale::scaler
