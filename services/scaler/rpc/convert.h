#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cloudscale/scaler/v1/action.pb.h"
#include "cloudscale/scaler/v1/decision.pb.h"
#include "cloudscale/scaler/v1/policy.pb.h"
#include "common/status/violations.h"
#include "services/scaler/decision.h"
#include "services/scaler/journal.h"
#include "services/scaler/policy.h"

// Between the contract and the domain. `ToProto` is total; `FromProto` is where foreign input is
// checked.
namespace cloudscale::scaler {

[[nodiscard]] cloudscale::common::v1::Resource ToProto(Resource resource);
// `unspecified` for RESOURCE_UNSPECIFIED; adds a fault for unknown numbers.
[[nodiscard]] Resource FromProto(cloudscale::common::v1::Resource resource, Resource unspecified);

[[nodiscard]] cloudscale::common::v1::StreamHeader ToProto(const ObservationHeader& header);
[[nodiscard]] cloudscale::common::v1::Padding ToProto(const Padding& padding);
[[nodiscard]] cloudscale::common::v1::Forecast ToProto(const Forecast& forecast,
                                                       const std::string& vm_uuid,
                                                       Resource resource);
[[nodiscard]] v1::Reason ToProto(const Reason& reason);
[[nodiscard]] v1::Decision ToProto(const Decision& decision);
[[nodiscard]] v1::Action ToProto(const ActionRecord& record);

// An overlay without selector, etag and the output-only fields.
[[nodiscard]] v1::Policy ToProto(const PolicyOverlay& overlay);
// All values with their sources.
[[nodiscard]] v1::Policy ToProto(const EffectivePolicy& policy);
// Checks everything below `prefix` ("" at the root); the result is meaningless after a fault.
[[nodiscard]] PolicyOverlay FromProto(const v1::Policy& policy, absl::string_view prefix,
                                      Violations& violations);

}  // namespace cloudscale::scaler
