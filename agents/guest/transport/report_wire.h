#pragma once

#include <string>

#include "agents/guest/report.h"
#include "cloudscale/guest/v1/guest_report_service.pb.h"

namespace cloudscale::guest {

inline constexpr char kAgentVersion[] = "0.1.0";

[[nodiscard]] guest::v1::GuestReport ToWire(const std::string& vm_uuid, const Report& report);

}  // namespace cloudscale::guest
