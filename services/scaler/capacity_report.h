#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cloudscale::scaler {

// What a VM may use, in cores above 0.
struct VmGrant {
  std::string vm_uuid;
  double granted_cores = 0;
  std::optional<double> coming_cores;  // an announced shrink
  friend bool operator==(const VmGrant&, const VmGrant&) = default;
};

// What the VMs of this host may use, for the load balancer. Numbers grow; an answer to one report
// answers all before it.
struct CapacityReport {
  int64_t number = 0;
  std::vector<VmGrant> vms;  // in order of uuid
};

}  // namespace cloudscale::scaler
