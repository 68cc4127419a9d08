#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "cloudscale/config/v1/config.pb.h"
#include "common/rpc/component.h"
#include "common/status/violations.h"

namespace cloudscale::sla {

// Adds all faults of `config`, by field path; also of the objectives' file when one is named. The
// server's part is not looked at.
void ValidateSlaConfig(const config::v1::SlaConfig& config, Violations* violations);

// The SLA service over `config`, which must be valid. Opens and restores the state: errors of
// `sqlite::Database::Open`. `environment` outlives the component.
absl::StatusOr<std::unique_ptr<rpc::Component>> MakeSlaComponent(
    const config::v1::SlaConfig& config, const rpc::Environment& environment);

}  // namespace cloudscale::sla
