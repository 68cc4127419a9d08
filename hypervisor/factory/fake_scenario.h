#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cloudscale/config/v1/common.pb.h"
#include "common/status/violations.h"
#include "hypervisor/fake/fake_types.h"

namespace cloudscale::hypervisor {

// The scenario of a simulated host whose configuration names none: five VMs that differ in shape,
// so that periodic, bursty, shifting and flat demand can be watched side by side.
[[nodiscard]] config::v1::FakeScenario DefaultFakeScenario();

void ValidateFakeConfig(const config::v1::FakeConfig& config, absl::string_view prefix,
                        Violations* violations);

// The VMs of `config`, with their traces read and patterns made.
[[nodiscard]] absl::StatusOr<std::vector<fake::FakeVmSpec>> MakeFakeVms(
    const config::v1::FakeConfig& config);

}  // namespace cloudscale::hypervisor
