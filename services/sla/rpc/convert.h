#pragma once

#include <optional>
#include <string>

#include "cloudscale/sla/v1/sla.pb.h"
#include "common/status/violations.h"
#include "services/sla/latency_report.h"
#include "services/sla/objective.h"
#include "services/sla/sla_engine.h"
#include "services/sla/violation.h"

namespace cloudscale::sla {

// Between the domain's structs and the wire. `FromWire` is total: what is wrong shows in the values
// and is found by the domain's validators; defaults of absent fields are filled in.
[[nodiscard]] Objective FromWire(const v1::Objective& objective);
[[nodiscard]] LatencyReport FromWire(const v1::LatencyReport& report);
[[nodiscard]] Violation FromWire(const v1::Violation& violation, int64_t number);

[[nodiscard]] v1::Objective ToWire(const Objective& objective);
[[nodiscard]] v1::Violation ToWire(const Violation& violation);
[[nodiscard]] v1::Compliance ToWire(const Compliance& compliance);
[[nodiscard]] v1::ComplianceBucket ToWire(absl::Time start, const ComplianceBucket& in,
                                          const Objective& objective);
[[nodiscard]] v1::Application ToWire(const ApplicationView& application);

// nullopt when `etag` is empty; a revision that never exists when it is none of ours.
[[nodiscard]] std::optional<int64_t> RevisionOf(const std::string& etag);

}  // namespace cloudscale::sla
