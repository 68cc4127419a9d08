#pragma once

#include <map>
#include <optional>
#include <string>

#include "services/scaler/policy.h"

namespace cloudscale::scaler {

// All policies in force on the host. Immutable once handed to the engine.
struct PolicySet {
  PolicyOverlay defaults;                           // from the configuration
  std::map<std::string, PolicyOverlay> configured;  // per VM, from the configuration
  std::optional<PolicyOverlay> host;                // stored host default
  std::map<std::string, PolicyOverlay> vms;         // stored, by uuid; they hide `configured`
  Mode host_mode = Mode::kRecommend;

  [[nodiscard]] PolicyLayers LayersFor(const std::string& vm_uuid) const {
    PolicyLayers layers{.defaults = &defaults, .host_mode = host_mode};
    if (host) {
      layers.host = &*host;
    }
    if (const auto it = vms.find(vm_uuid); it != vms.end()) {
      layers.vm = &it->second;
    } else if (const auto conf = configured.find(vm_uuid); conf != configured.end()) {
      layers.vm = &conf->second;
    }
    return layers;
  }
};

}  // namespace cloudscale::scaler
