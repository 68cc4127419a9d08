#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "hypervisor/libvirt/handles.h"
#include "hypervisor/types.h"

// libvirt's statistics as a reading. Pure.
namespace cloudscale::hypervisor::libvirt {

// How old a guest's own figures may be: it may hang while its old figures stay.
inline constexpr absl::Duration kMaxGuestFiguresAge = absl::Minutes(1);

struct DomainStatistics {
  VmReading vm;  // state, CPU, memory, network, disk
  // Runnable but not running, held back by a cap or by others, summed over the vCPUs.
  std::optional<absl::Duration> delay;
};

// Of one domain's bulk statistics (`virConnectGetAllDomainStats`). `now` dates the guest's figures.
[[nodiscard]] DomainStatistics ParseStatistics(const virTypedParameter* parameters, int count,
                                               absl::Time now);

[[nodiscard]] VmState StateOf(int64_t state, int64_t reason);

}  // namespace cloudscale::hypervisor::libvirt
