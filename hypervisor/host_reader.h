#pragma once

#include "absl/status/statusor.h"
#include "hypervisor/types.h"

namespace cloudscale::hypervisor {

// Reads the state of one host. The monitor links only this half of a backend.
// Thread safety: confined to one thread at a time.
class HostReader {
 public:
  virtual ~HostReader() = default;

  [[nodiscard]] virtual Capabilities capabilities() const = 0;

  // All VMs at one instant. A VM that vanishes during the call is left out or listed in
  // `unreadable`; it never fails the whole reading. UNAVAILABLE when the hypervisor does not
  // answer, DEADLINE_EXCEEDED when it does not in time.
  virtual absl::StatusOr<HostReading> Read() = 0;
};

}  // namespace cloudscale::hypervisor
