#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "cloudscale/lbctl/v1/balancer_service.pb.h"
#include "common/status/violations.h"

namespace cloudscale::lbctl {

// The form of each request: adds all faults, names as in the API.
void Check(const v1::SetWeightRequest& request, Violations& violations);
void Check(const v1::SetServerStateRequest& request, Violations& violations);
void Check(const v1::DrainServerRequest& request, Violations& violations);
void Check(const v1::SetServerAddressRequest& request, Violations& violations);
void Check(const v1::AddServerRequest& request, Violations& violations);
void Check(const v1::RemoveServerRequest& request, Violations& violations);
void Check(const v1::WatchStatsRequest& request, Violations& violations);
void Check(const v1::ApplyPlanRequest& request, Violations& violations);
void Check(const v1::ReconcileRequest& request, Violations& violations);
void Check(const v1::ReportCapacityRequest& request, Violations& violations);

// All faults of one request.
template <typename Request>
[[nodiscard]] Violations FaultsOf(const Request& request) {
  Violations violations;
  Check(request, violations);
  return violations;
}

// Brings an IPv4 or IPv6 address to the form that the system prints; empty when it is none.
[[nodiscard]] std::string NormalAddress(const std::string& address);

}  // namespace cloudscale::lbctl
