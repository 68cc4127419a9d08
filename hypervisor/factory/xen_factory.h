#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cloudscale/config/v1/common.pb.h"
#include "common/status/violations.h"
#include "common/time/clock.h"
#include "hypervisor/factory/backend.h"

namespace cloudscale::hypervisor {

void ValidateXenConfig(const config::v1::XenConfig& config, absl::string_view prefix,
                       Violations* violations);

// The Xen host whose Dom-0 this is. Xen's libraries are loaded when the first half is made, which
// is UNAVAILABLE without them and outside a Dom-0. `clock` must outlive what it hands out;
// `call_limit` bounds each call.
[[nodiscard]] std::unique_ptr<Backend> MakeXenBackend(const config::v1::XenConfig& config,
                                                      const std::string& host_id, Clock& clock,
                                                      absl::Duration call_limit);

}  // namespace cloudscale::hypervisor
