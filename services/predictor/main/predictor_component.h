#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/component.h"
#include "common/status/violations.h"

namespace cloudscale::predictor {

// Adds all faults of `config`, by field path below it, but for those of `server`.
void ValidatePredictorConfig(const config::v1::PredictorConfig& config, Violations* violations);

// The predictor as a component. INVALID_ARGUMENT with the faults of the configuration. Its `Start`
// fails when the file of the checkpoints cannot be opened; a damaged one is put aside.
[[nodiscard]] absl::StatusOr<std::unique_ptr<rpc::Component>> MakePredictorComponent(
    const config::v1::PredictorConfig& config, const rpc::Environment& environment);

}  // namespace cloudscale::predictor
