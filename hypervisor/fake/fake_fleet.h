#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trace/trace.h"
#include "hypervisor/fake/fake_types.h"

namespace cloudscale::hypervisor::fake {

// Ready-made sets of VMs for demonstrations, replays and simulations. All are pure functions of
// their arguments.

// In the form of a UUID; the same seed and name give the same one.
[[nodiscard]] std::string MakeVmUuid(uint64_t seed, absl::string_view name);

// Five VMs of two vCPUs and 2 GiB with different shapes of demand: two web sites half a day apart,
// batch jobs, bursts, and a slow trend. Together ten vCPUs, for a host of eight cores that rarely
// needs more than five at a time.
[[nodiscard]] std::vector<FakeVmSpec> DefaultFleet(uint64_t seed);

struct TraceFleetOptions {
  uint64_t seed = 1;
  int64_t vcpu_count = 2;
  int64_t memory_bytes = 2 * kGiB;
};

// One VM per trace, named after it. A trace whose resource is "mem" or whose name ends in "_mem"
// drives the memory beside an idle CPU of a tenth; any other drives the CPU. INVALID_ARGUMENT when
// two traces have the same name or there is none.
[[nodiscard]] absl::StatusOr<std::vector<FakeVmSpec>> FleetFromTraces(
    const std::vector<trace::Trace>& traces, const TraceFleetOptions& options);

}  // namespace cloudscale::hypervisor::fake
