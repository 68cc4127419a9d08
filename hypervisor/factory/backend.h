#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cloudscale/config/v1/common.pb.h"
#include "common/status/violations.h"
#include "common/time/clock.h"
#include "hypervisor/host_reader.h"
#include "hypervisor/vm_actuator.h"

namespace cloudscale::hypervisor {

// All faults of a hypervisor configuration by field path below `prefix`, without effect on the
// host. Trace files are looked for but not read. `needs_actuator`: a simulated host lives in one
// process, so a scaler alone cannot use it.
void ValidateHypervisorConfig(const config::v1::HypervisorConfig& config, absl::string_view prefix,
                              bool needs_actuator_alone, Violations* violations);

// One configured host: hands out the reading and the changing half. Thread safety: confined to one
// thread; what it hands out may go to different threads.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual absl::StatusOr<std::unique_ptr<HostReader>> MakeReader() = 0;
  virtual absl::StatusOr<std::unique_ptr<VmActuator>> MakeActuator() = 0;
};

// `config` must have passed validation. `clock` must outlive the backend and what it hands out.
// Broken trace files are reported with file and line.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(
    const config::v1::HypervisorConfig& config, const std::string& host_id, Clock& clock);

}  // namespace cloudscale::hypervisor
