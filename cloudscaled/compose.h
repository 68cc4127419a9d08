#pragma once

#include <string>

#include "cloudscale/config/v1/config.pb.h"
#include "common/status/violations.h"

namespace cloudscale::cloudscaled {

// What runs when no configuration is given: a simulated host with five VMs, sixty times as fast as
// real time, acting on its own (mode AUTO). Nothing outside the process is touched.
[[nodiscard]] config::v1::CloudscaledConfig EmbeddedDefault();

// The configurations of the single services, wired to each other inside the process.
struct Composition {
  config::v1::HypervisorConfig hypervisor;
  std::string host_id;
  double time_factor = 1;  // speed of the clock; other than 1 only on a simulated host
  config::v1::MonitorConfig monitor;
  config::v1::PredictorConfig predictor;
  config::v1::ScalerConfig scaler;
  config::v1::SlaConfig sla;
  config::v1::LbctlConfig lbctl;
};

// Derives them: host id, hypervisor, in-process addresses and files below `state_directory` are
// filled in where the configuration leaves them open.
[[nodiscard]] Composition Compose(const config::v1::CloudscaledConfig& config);

// Adds all faults by field path, those of the services below `monitor.`, `scaler.` and so on.
void ValidateCloudscaled(const config::v1::CloudscaledConfig& config, Violations* violations);

}  // namespace cloudscale::cloudscaled
