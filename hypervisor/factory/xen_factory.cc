#include "hypervisor/factory/xen_factory.h"

#include <utility>

#include "common/status/macros.h"
#include "hypervisor/bounded/bounded_backend.h"
#include "hypervisor/xen/xen_host_reader.h"
#include "hypervisor/xen/xen_module.h"
#include "hypervisor/xen/xen_options.h"
#include "hypervisor/xen/xen_vm_actuator.h"

namespace cloudscale::hypervisor {
namespace {

constexpr double kMaxReserveBytes = 1e15;

class XenBackend final : public Backend {
 public:
  XenBackend(xen::XenOptions options, Clock& clock, absl::Duration call_limit)
      : options_(std::move(options)), clock_(clock), call_limit_(call_limit) {}

  // The first one is made here, so that a host without Xen is refused at the start.
  absl::StatusOr<std::unique_ptr<HostReader>> MakeReader() override {
    const BoundedCalls<HostReader>::Make make =
        [&clock = clock_, options = options_]() -> absl::StatusOr<std::unique_ptr<HostReader>> {
      CS_ASSIGN_OR_RETURN(auto calls, xen::OpenXen());
      return xen::XenHostReader::Create(clock, std::move(calls), options);
    };
    CS_ASSIGN_OR_RETURN(const auto first, make());
    return std::make_unique<BoundedHostReader>(make, first->capabilities(), call_limit_);
  }
  absl::StatusOr<std::unique_ptr<VmActuator>> MakeActuator() override {
    const BoundedCalls<VmActuator>::Make make =
        [options = options_]() -> absl::StatusOr<std::unique_ptr<VmActuator>> {
      CS_ASSIGN_OR_RETURN(auto calls, xen::OpenXen());
      return xen::XenVmActuator::Create(std::move(calls), options);
    };
    CS_ASSIGN_OR_RETURN(const auto first, make());
    return std::make_unique<BoundedVmActuator>(make, first->capabilities(), call_limit_);
  }

 private:
  const xen::XenOptions options_;
  Clock& clock_;
  const absl::Duration call_limit_;
};

}  // namespace

void ValidateXenConfig(const config::v1::XenConfig& config, absl::string_view prefix,
                       Violations* violations) {
  Violations v;
  if (config.has_reserve_bytes()) {
    RequireInRange(v, "reserve_bytes", static_cast<double>(config.reserve_bytes()), 0,
                   kMaxReserveBytes);
  }
  violations->AddAll(prefix, v);
}

std::unique_ptr<Backend> MakeXenBackend(const config::v1::XenConfig& config,
                                        const std::string& host_id, Clock& clock,
                                        absl::Duration call_limit) {
  xen::XenOptions options;
  options.host_id = host_id;
  if (!config.pool().empty()) {
    options.pool = config.pool();
  }
  if (config.has_reserve_bytes()) {
    options.reserve_bytes = config.reserve_bytes();
  }
  return std::make_unique<XenBackend>(std::move(options), clock, call_limit);
}

}  // namespace cloudscale::hypervisor
